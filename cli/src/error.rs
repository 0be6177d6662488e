//! Every way a command can end other than well: with an exit code that scripts can rely on and a
//! sentence that says what to do next.

use std::{path::PathBuf, process::ExitCode};

use api::client;
use serde_json::json;

use crate::{address::Address, output::clean};

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused or could not be reached.
    #[error(transparent)]
    Api(#[from] client::Error),
    /// No credentials for this API.
    #[error("not signed in to {0}")]
    NotSignedIn(Address),
    /// No API's address is known.
    #[error("no Railhead is known on this machine yet")]
    NoAddress,
    /// The command line can't be carried out as it stands.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What would be right.
        advice: String,
    },
    /// Something with that name is not there.
    #[error("there is no {kind} \"{name}\" in {place}")]
    NotFound {
        /// Such as "service".
        kind: &'static str,
        /// As typed.
        name: String,
        /// Such as "shop/production".
        place: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The user did not confirm.
    #[error("nothing was changed: {0}")]
    NotConfirmed(String),
    /// A deployment ended other than live.
    #[error("{message}")]
    Failed {
        /// What failed and why.
        message: String,
        /// Such as `dockerfile_failed`, when the platform gave one.
        code: Option<String>,
        /// Where to look.
        advice: String,
    },
    /// A file could not be used.
    #[error("could not {action} {}: {reason}", path.display())]
    File {
        /// Such as "read".
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The reader of our output is gone; there is nobody to tell.
    #[error("the output was closed")]
    OutputClosed,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Ctrl-C while something was watched that goes on by itself.
    #[error("stopped watching; deployment {number} goes on")]
    Unwatched {
        /// Its number.
        number: i64,
        /// Its id.
        id: domain::id::DeploymentId,
    },
}

/// The result of a command.
pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    /// A usage error with what would be right.
    pub fn usage(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            advice: advice.into(),
        }
    }

    /// A failed file operation.
    pub fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
        reason: &impl std::fmt::Display,
    ) -> Self {
        Self::File {
            action,
            path: path.into(),
            reason: reason.to_string(),
        }
    }

    /// 1 failed, 2 usage, 3 not signed in, 4 not allowed, 5 not found; 130 after Ctrl-C.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Api(error) => match error.status().map(|status| status.as_u16()) {
                Some(401) => 3,
                Some(403) => 4,
                Some(404) => 5,
                _ => 1,
            },
            Self::NotSignedIn(_) | Self::NoAddress => 3,
            Self::Usage { .. } => 2,
            Self::NotFound { .. } => 5,
            Self::OutputClosed => 0,
            Self::Interrupted | Self::Unwatched { .. } => 130,
            Self::NotConfirmed(_) | Self::Failed { .. } | Self::File { .. } => 1,
        }
    }

    /// What to do next; empty when there is nothing to add.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        match self {
            Self::Api(error) => crate::advice::of_api(error),
            Self::NotSignedIn(address) => vec![
                format!("railhead login --api {address}"),
                "in CI, set RAILHEAD_TOKEN to an API token (railhead token create)".to_owned(),
            ],
            Self::NoAddress => vec![
                "railhead login --api https://railhead.example.com  (ask your platform team for the address)".to_owned(),
                "with a platform CA of your own, add --ca FILE".to_owned(),
            ],
            Self::Usage { advice, .. } | Self::Failed { advice, .. } => vec![advice.clone()],
            Self::NotFound { kind, known, .. } if known.is_empty() => {
                vec![format!("there is no {kind} there at all yet")]
            }
            Self::NotFound { known, .. } => vec![format!("there is: {}", known.join(", "))],
            Self::Unwatched { id, .. } => vec![
                format!("to watch again: railhead deployment get {id} --follow"),
                format!("to stop it: railhead cancel {id}"),
            ],
            _ => Vec::new(),
        }
    }

    /// For people: the message, what to do, the request to ask about.
    #[must_use]
    pub fn text(&self, colour: bool) -> String {
        let paint = |text: &str, style: console::Style| {
            style.force_styling(colour).apply_to(text).to_string()
        };
        let mut text = format!(
            "{} {}\n",
            paint("error:", console::Style::new().red().bold()),
            harmless(&self.to_string())
        );
        for line in self.details() {
            text.push_str(&format!("  {}\n", harmless(&line)));
        }
        for line in self.advice() {
            let arrow = paint("→", console::Style::new().cyan());
            text.push_str(&format!("  {arrow} {line}\n"));
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let (code, request_id) = match self {
            Self::Api(client::Error::Refused { problem, .. }) => {
                (Some(&problem.code), Some(&problem.request_id))
            }
            Self::Failed { code, .. } => (code.as_ref(), None),
            _ => (None, None),
        };
        json!({ "error": {
            "message": self.to_string(),
            "code": code,
            "request_id": request_id,
            "advice": self.advice(),
            "exit_code": self.exit_code(),
        }})
    }

    fn details(&self) -> Vec<String> {
        let problem = match self {
            Self::Api(client::Error::Refused { problem, .. }) => problem,
            Self::Failed {
                code: Some(code), ..
            } => return vec![format!("code {code}")],
            _ => return Vec::new(),
        };
        let fields = problem
            .errors
            .iter()
            .filter(|fault| !problem.detail.contains(&fault.reason))
            .map(|fault| format!("{}: {}", fault.field, fault.reason));
        let request = format!("code {}, request {}", problem.code, problem.request_id);
        fields.chain([request]).collect()
    }
}

/// Messages quote what builds, programs and other people wrote.
fn harmless(message: &str) -> String {
    let lines: Vec<_> = message.lines().map(|line| clean(line, false)).collect();
    lines.join("\n")
}

impl From<&Error> for ExitCode {
    fn from(error: &Error) -> Self {
        Self::from(error.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, detail: &str) -> Error {
        let fault = json!({ "field": "network.port", "reason": "must be between 1 and 65535" });
        let errors = if status == 422 {
            vec![fault]
        } else {
            Vec::new()
        };
        let problem = json!({
            "type": format!("urn:railhead:problem:{code}"), "title": "Title", "status": status,
            "detail": detail, "code": code, "request_id": "req_1",
            "errors": errors,
        });
        Error::Api(client::Error::Refused {
            problem: serde_json::from_value(problem).unwrap(),
            retry_after: None,
        })
    }

    #[test]
    fn a_message_can_not_move_the_cursor() {
        let error = refused(409, "conflict", "first\x1b[2J\r\nsecond\x1b]0;title\x07");
        let text = error.text(false);
        assert!(text.starts_with("error: first\nsecond\n"), "{text:?}");
    }

    #[test]
    fn every_error_says_what_to_do_next() {
        let address: Address = "https://railhead.example.com".parse().unwrap();
        let url = address.url().clone();
        let errors = [
            Error::NoAddress,
            Error::NotSignedIn(address),
            client::Error::Untrusted {
                address: url.clone(),
                reason: "its certificate has expired".into(),
            }
            .into(),
            client::Error::Silent {
                address: url.clone(),
            }
            .into(),
            client::Error::Foreign {
                address: url,
                status: http::StatusCode::BAD_GATEWAY,
            }
            .into(),
            refused(
                401,
                "invalid_credentials",
                "No user has this e-mail address and password.",
            ),
            refused(403, "forbidden", "A viewer may not deploy."),
            refused(
                412,
                "version_mismatch",
                "The service changed since it was read.",
            ),
            refused(422, "invalid_field", "The specification can't be."),
            Error::Failed {
                message: "deployment 4 failed: RUN make: exit status 2".into(),
                code: Some("dockerfile_failed".into()),
                advice: "see railhead logs --build".into(),
            },
            Error::NotFound {
                kind: "service",
                name: "wbe".into(),
                place: "shop/production".into(),
                known: vec!["web".into(), "worker".into()],
            },
        ];
        let texts: Vec<String> = errors.iter().map(|error| error.text(false)).collect();
        insta::assert_snapshot!(texts.join("\n"));
    }
}
