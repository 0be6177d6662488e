//! What went wrong at an authority, and what that means for the order.

use std::path::PathBuf;

use super::order::{Code, Problem};
use crate::{secrets, store};

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was removed from the configuration while it had an order.
    #[error("the certificate authority \"{0}\" is not configured (any more)")]
    NotConfigured(String),
    /// The certificates that it is trusted by.
    #[error("certificates.authorities: root_file {} can't be used: {reason}", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key that binds the account to another one.
    #[error("certificates.authorities: external_account.key_file {} can't be used: {reason}", path.display())]
    ExternalAccount {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The HTTP client.
    #[error("the client for certificate authorities could not be made: {0}")]
    Client(reqwest::Error),
    /// It refuses, fails, or can't be reached.
    #[error("{authority}: {source}")]
    Authority {
        /// As the configuration calls it.
        authority: String,
        /// What it said.
        source: instant_acme::Error,
    },
    /// It could not be opened a moment ago.
    #[error("{authority}: {why}")]
    NotOpened {
        /// As the configuration calls it.
        authority: String,
        /// The reason.
        why: String,
    },
    /// It offers none of the ways by which this platform proves a hostname.
    #[error("{0} offers neither HTTP-01 nor TLS-ALPN-01 for this hostname")]
    NoChallenge(String),
    /// What it has issued is not what was asked for.
    #[error("{authority} issued a certificate that can't be used: {source}")]
    Issued {
        /// As the configuration calls it.
        authority: String,
        /// Why.
        source: super::chain::Error,
    },
    /// The request for a certificate.
    #[error("the request for a certificate could not be made: {0}")]
    Request(#[from] rcgen::Error),
    /// The account's credentials.
    #[error("the stored account can't be read: {0}")]
    Stored(#[from] serde_json::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Sealing and opening.
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
}

impl Error {
    /// Without the authority's name before it.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Authority { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }

    /// What an authority calls it.
    fn kind(&self) -> Option<&str> {
        match self {
            Self::Authority {
                source: instant_acme::Error::Api(problem),
                ..
            } => kind(problem),
            _ => None,
        }
    }

    /// Another nonce may do.
    pub(super) fn is_bad_nonce(&self) -> bool {
        self.kind() == Some("badNonce")
    }

    /// The certificate that the order was to replace has been replaced by another order.
    pub(super) fn is_already_replaced(&self) -> bool {
        self.kind() == Some("alreadyReplaced")
    }

    /// The platform has no account there any more.
    pub(crate) fn is_of_no_account(&self) -> bool {
        self.kind() == Some("accountDoesNotExist")
    }

    /// The order is gone: it has expired, or was the one of another account.
    pub(super) fn is_of_no_order(&self) -> bool {
        matches!(self.kind(), Some("malformed" | "unauthorized"))
    }
}

fn kind(problem: &instant_acme::Problem) -> Option<&str> {
    let kind = problem.r#type.as_deref()?;
    kind.strip_prefix("urn:ietf:params:acme:error:")
}

/// What an authority found when it asked for a hostname.
pub(super) fn of_validation(authority: &str, problem: &instant_acme::Problem) -> Problem {
    let code = match kind(problem) {
        Some("caa") => Code::Caa,
        Some("dns") => Code::Dns,
        Some("serverInternal") => Code::Unavailable,
        Some("rateLimited") => Code::RateLimited,
        _ => Code::Validation,
    };
    Problem::new(code, format!("{authority}: {}", said(problem)))
}

/// What the order's owner is told of an error; none when it is no matter of the order.
#[must_use]
pub fn problem_of(error: &Error) -> Option<Problem> {
    match error {
        Error::Store(_) | Error::Secrets(_) => None,
        Error::Authority {
            source: instant_acme::Error::Api(problem),
            authority,
        } => {
            let mut told = of_validation(authority, problem);
            if told.code == Code::Validation {
                told.code = Code::Refused;
            }
            Some(told)
        }
        Error::Authority { .. } | Error::NotOpened { .. } => {
            Some(Problem::new(Code::Unavailable, error.to_string()))
        }
        Error::NoChallenge(_) | Error::Issued { .. } | Error::Request(_) => {
            Some(Problem::new(Code::Refused, error.to_string()))
        }
        // With paths and addresses that are nobody's business.
        Error::NotConfigured(_)
        | Error::Root { .. }
        | Error::ExternalAccount { .. }
        | Error::Client(_)
        | Error::Stored(_) => {
            tracing::error!(%error, "a certificate authority can't be used as it is configured");
            Some(Problem::new(
                Code::Unavailable,
                "the platform can't ask its certificate authority; its operator finds the reason in the control planes' logs",
            ))
        }
    }
}

/// The sentence of its problem document; of a hostname's own, if it has one.
fn said(problem: &instant_acme::Problem) -> String {
    let of_name = problem
        .subproblems
        .first()
        .and_then(|sub| sub.detail.as_deref());
    let detail = of_name
        .or(problem.detail.as_deref())
        .or(problem.r#type.as_deref());
    detail.unwrap_or("no reason given").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(kind: &str, detail: &str) -> Error {
        let problem = serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"),
            "detail": detail,
            "status": 403,
        });
        Error::Authority {
            authority: "letsencrypt".into(),
            source: instant_acme::Error::Api(serde_json::from_value(problem).unwrap()),
        }
    }

    #[test]
    fn an_authoritys_reason_is_told_in_one_line_with_a_code_of_ours() {
        let told = problem_of(&api("caa", "CAA record for\n a.test\tforbids it")).unwrap();
        assert_eq!(told.code, Code::Caa);
        assert_eq!(
            told.message,
            "letsencrypt: CAA record for a.test forbids it"
        );
        let codes = [
            ("rateLimited", Code::RateLimited),
            ("serverInternal", Code::Unavailable),
            ("rejectedIdentifier", Code::Refused),
        ];
        for (kind, code) in codes {
            assert_eq!(problem_of(&api(kind, "")).unwrap().code, code, "{kind}");
        }
    }

    #[test]
    fn who_can_not_be_reached_is_unavailable_and_the_database_is_nobodys_order() {
        let silent = Error::Authority {
            authority: "x".into(),
            source: instant_acme::Error::Str("no answer"),
        };
        assert_eq!(problem_of(&silent).unwrap().code, Code::Unavailable);
        let store = Error::Store(store::Error::corrupt("x", "y"));
        assert_eq!(problem_of(&store), None);
        assert!(api("badNonce", "").is_bad_nonce() && !silent.is_bad_nonce());
    }
}
