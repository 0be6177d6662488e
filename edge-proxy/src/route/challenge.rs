//! What certificate authorities are answered that ask whether a hostname leads here. Any edge answers, from its routes:
//! which one the authority meets is up to DNS.

use std::{collections::HashMap, sync::Arc};

use protocol::item::ChallengeItem;

use super::hostname;

/// Where HTTP-01 looks (RFC 8555 §8.3).
const PATH: &str = "/.well-known/acme-challenge/";

/// By hostname: one at a time of each.
#[derive(Debug, Default)]
pub struct Challenges(HashMap<String, Challenge>);

#[derive(Debug)]
struct Challenge {
    token: String,
    key_authorization: Arc<str>,
}

impl Challenges {
    /// Adds what the feed says; what is no host name is left out.
    pub fn add(&mut self, item: &ChallengeItem) {
        let Some(host) = hostname::normalize(&item.hostname) else {
            return;
        };
        let challenge = Challenge {
            token: item.token.clone(),
            key_authorization: item.key_authorization.as_str().into(),
        };
        self.0.insert(host.into_owned(), challenge);
    }

    /// The answer to a request for this path (with its query) of a normalized host. None for all that is the
    /// tenant's own business: an application may answer challenges of its own.
    #[must_use]
    pub fn answer(&self, host: &str, path_and_query: &str) -> Option<Arc<str>> {
        let token = path_and_query.strip_prefix(PATH)?;
        let challenge = self.0.get(host)?;
        (challenge.token == token).then(|| Arc::clone(&challenge.key_authorization))
    }

    /// What a handshake for this host in lower case has to prove (RFC 8737 §3).
    #[must_use]
    pub fn key_authorization(&self, host: &str) -> Option<&str> {
        self.0
            .get(host)
            .map(|challenge| &*challenge.key_authorization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_of_the_very_host_is_answered() {
        let mut challenges = Challenges::default();
        challenges.add(&ChallengeItem {
            hostname: "A.test".into(),
            token: "t0ken".into(),
            key_authorization: "t0ken.thumb".into(),
        });
        let answer = |host, path| challenges.answer(host, path);
        let path = "/.well-known/acme-challenge/t0ken";
        assert_eq!(answer("a.test", path).as_deref(), Some("t0ken.thumb"));
        for (host, path) in [
            ("b.test", path),
            ("a.test", "/.well-known/acme-challenge/other"),
            ("a.test", "/.well-known/acme-challenge/"),
            ("a.test", "/.well-known/acme-challenge/t0ken/x"),
            ("a.test", "/t0ken"),
        ] {
            assert_eq!(answer(host, path), None, "{host} {path}");
        }
        assert_eq!(challenges.key_authorization("a.test"), Some("t0ken.thumb"));
    }
}
