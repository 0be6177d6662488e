//! What every command needs: the options, the credentials, the folder's link, and a client made
//! from them. An option or environment variable wins over the link, the link over the login.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use api::client::{Client, Config, Event, Observer};

use crate::{
    address::Address,
    args::GlobalArgs,
    credentials::{Credentials, Entry},
    error::{Error, Result},
    files, link,
    output::{Output, Waiting, span},
};

/// What every command needs.
pub struct Context {
    /// Options that all commands have.
    pub global: GlobalArgs,
    /// Where results go.
    pub output: Output,
    /// What is kept about APIs.
    pub credentials: Credentials,
    /// The nearest folder's link.
    pub link: Option<link::Found>,
    /// The folder that the command is about.
    pub folder: PathBuf,
    waiting: Waiting,
}

impl Context {
    /// Reads what is on disk.
    pub fn load(global: GlobalArgs, output: Output, folder: &Path) -> Result<Self> {
        let folder = folder
            .canonicalize()
            .map_err(|error| Error::file("find", folder, &error))?;
        Ok(Self {
            credentials: Credentials::load()?,
            link: link::find(&folder)?,
            waiting: Waiting::new(output.moves),
            global,
            output,
            folder,
        })
    }

    /// The API's address: `--api`, `RAILHEAD_API`, the link's, the last login's.
    pub fn address(&self) -> Result<Address> {
        match (&self.global.api, &self.link) {
            (None, Some(found)) => kept(&found.link.api),
            _ => self.chosen_address(),
        }
    }

    /// The API's address as the user chose it: `--api`, `RAILHEAD_API`, the last login's.
    pub fn chosen_address(&self) -> Result<Address> {
        match (&self.global.api, &self.credentials.current) {
            (Some(address), _) => Ok(address.clone()),
            (None, Some(current)) => kept(current),
            (None, None) => Err(Error::NoAddress),
        }
    }

    /// The authority to trust: `--ca`, `RAILHEAD_CA`, the pinned one; the system's when `None`.
    pub fn authority(&self, address: &Address) -> Result<Option<String>> {
        match &self.global.ca {
            Some(path) => files::read(path).map(Some),
            None => Ok(self.entry(address).and_then(|entry| entry.ca.clone())),
        }
    }

    /// A client that is signed in.
    pub fn client(&self) -> Result<Client> {
        let address = self.address()?;
        let kept = || self.entry(&address).and_then(|entry| entry.token.clone());
        let given = std::env::var("RAILHEAD_TOKEN").map(|token| token.trim().to_owned());
        let token = match given.ok().filter(|token| !token.is_empty()) {
            Some(token) => {
                self.check_is_the_users(&address)?;
                Some(token)
            }
            None => kept(),
        };
        let token = token.ok_or_else(|| Error::NotSignedIn(address.clone()))?;
        self.client_with(&address, Some(token))
    }

    /// A link may come with somebody else's repository: it must not choose where the token in the
    /// environment goes.
    fn check_is_the_users(&self, address: &Address) -> Result {
        if self.global.api.is_some() || self.entry(address).is_some() {
            return Ok(());
        }
        Err(Error::usage(
            format!(
                "RAILHEAD_TOKEN is set, and only this folder's link says that it is for {address}"
            ),
            format!("if that is right: RAILHEAD_API={address}"),
        ))
    }

    /// A client with this token, or none.
    pub fn client_with(&self, address: &Address, token: Option<String>) -> Result<Client> {
        let client = Client::new(Config {
            address: address.url().clone(),
            ca: self.authority(address)?,
            token,
            user_agent: concat!("railhead/", env!("CARGO_PKG_VERSION")).to_owned(),
            observer: self.observer(address),
        })?;
        self.output.detail(&format!("trace {}", client.trace()));
        Ok(client)
    }

    /// The link, unless `--api` means another API.
    pub fn usable_link(&self) -> Option<&link::Link> {
        let found = self.link.as_ref().map(|found| &found.link)?;
        let same = match &self.global.api {
            Some(address) => address.to_string() == found.api,
            None => true,
        };
        same.then_some(found)
    }

    fn entry(&self, address: &Address) -> Option<&Entry> {
        self.credentials.of(address)
    }

    fn observer(&self, address: &Address) -> Observer {
        let (output, waiting) = (self.output, self.waiting.clone());
        let host = address.url().host_str().unwrap_or_default().to_owned();
        Arc::new(move |event| match event {
            Event::Sending { .. } => waiting.begin(format!("waiting for {host}")),
            Event::Answered {
                method,
                path,
                status,
                request_id,
                elapsed,
            } => {
                waiting.end();
                let request = request_id.map_or(String::new(), |id| format!(", request {id}"));
                let elapsed = elapsed.as_millis();
                output.detail(&format!(
                    "{method} {path} → {status} in {elapsed} ms{request}"
                ));
            }
            Event::Retrying { error, after } => {
                output.detail(&format!("{error}; trying again in {}", span(*after)));
                waiting.begin(format!("{error}; trying again"));
            }
        })
    }
}

fn kept(address: &str) -> Result<Address> {
    address.parse().map_err(|error| {
        Error::usage(
            format!("the kept address of the API is unusable: {error}"),
            "railhead login --api https://…",
        )
    })
}
