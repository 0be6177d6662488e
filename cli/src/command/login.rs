//! `login`: first asks whether a Railhead is there at all, and only then for the password, so that
//! no password is typed for a stranger.

use std::path::PathBuf;

use ::api::{
    session::{CreateSession, Me, Session},
    version::Version,
};
use clap::Args;
use dialoguer::{Input, Password};

use crate::{
    address::Address,
    confirm::unanswered,
    context::Context,
    credentials::Entry,
    error::{Error, Result},
    files,
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// E-mail address to sign in with
    #[arg(long)]
    email: Option<String>,
    /// Read the password from the first line of this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Read an API token from standard input and keep it
    #[arg(long, conflicts_with_all = ["email", "password_file"])]
    with_token: bool,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let address = which_api(context)?;
    let anonymous = context.client_with(&address, None)?;
    let version: Version = anonymous.get("/v1/version").await?;
    context
        .output
        .detail(&format!("Railhead {} at {address}", version.version));

    context.output.note(&format!("signing in to {address}"))?;
    let (token, email) = if arguments.with_token {
        with_token(context, &address).await?
    } else {
        let answers = CreateSession {
            email: email(context, arguments.email)?,
            password: password(context, arguments.password_file)?,
        };
        let session: Session = anonymous.post("/v1/sessions", &answers).await?;
        (session.token, session.user.email)
    };
    keep(context, &address, token, &email)?;
    context
        .output
        .done(&format!("signed in to {address} as {email}"))
}

/// Not the folder's link: it may come with somebody else's repository, and a password is asked for.
fn which_api(context: &Context) -> Result<Address> {
    match context.chosen_address() {
        Err(Error::NoAddress) if context.output.can_ask => Input::<String>::new()
            .with_prompt("Address of the platform")
            .interact_text()
            .map_err(|error| unanswered(&error))?
            .parse()
            .map_err(|error: crate::address::Invalid| {
                Error::usage(
                    error.to_string(),
                    "railhead login --api https://railhead.example.com",
                )
            }),
        known => known,
    }
}

async fn with_token(context: &Context, address: &Address) -> Result<(String, String)> {
    let mut token = String::new();
    std::io::stdin()
        .read_line(&mut token)
        .map_err(|error| Error::file("read", "standard input", &error))?;
    let token = token.trim().to_owned();
    if token.is_empty() {
        return Err(Error::usage(
            "standard input holds no token",
            "railhead login --with-token < FILE",
        ));
    }
    let me: Me = context
        .client_with(address, Some(token.clone()))?
        .get("/v1/me")
        .await?;
    Ok((token, me.user.email))
}

fn email(context: &Context, given: Option<String>) -> Result<String> {
    match given {
        Some(email) => Ok(email),
        None if context.output.can_ask => Input::new()
            .with_prompt("E-mail")
            .interact_text()
            .map_err(|error| unanswered(&error)),
        None => Err(no_terminal()),
    }
}

fn password(context: &Context, file: Option<PathBuf>) -> Result<String> {
    match file {
        Some(path) => {
            let text = files::read(&path)?;
            Ok(text.lines().next().unwrap_or_default().to_owned())
        }
        None if context.output.can_ask => Password::new()
            .with_prompt("Password")
            .interact()
            .map_err(|error| unanswered(&error)),
        None => Err(no_terminal()),
    }
}

fn no_terminal() -> Error {
    Error::usage(
        "there is no terminal to ask for e-mail and password",
        "railhead login --email you@example.com --password-file FILE; in CI set RAILHEAD_TOKEN instead",
    )
}

fn keep(context: &Context, address: &Address, token: String, email: &str) -> Result {
    let mut credentials = context.credentials.clone();
    let entry = Entry {
        token: Some(token),
        email: Some(email.to_owned()),
        ca: context.authority(address)?,
    };
    credentials.sign_in(address, entry);
    credentials.save()
}
