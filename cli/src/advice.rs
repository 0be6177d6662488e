//! What to do next about an error of the API or of the way to it.

use api::{Code, client::Error};

/// One line per thing to try, the likeliest first.
#[must_use]
pub fn of_api(error: &Error) -> Vec<String> {
    match error {
        Error::Unreachable { address, reason } => unreachable(address, reason),
        Error::Untrusted { .. } => vec![
            "if the platform has a CA of its own, give its certificate once: railhead login --ca FILE".to_owned(),
            "if you did so before, the platform's CA may have been replaced: ask your platform team for the new file".to_owned(),
            "if neither, somebody may be in between: do not type your password".to_owned(),
        ],
        Error::Silent { .. } => vec!["try again; if it stays so, the platform is overloaded or its database does not answer".to_owned()],
        Error::Foreign { address, status } => foreign(address, status.as_u16()),
        Error::Decode { .. } => vec!["this railhead and the platform may differ in version: railhead --version, railhead api GET /v1/version".to_owned()],
        Error::Refused { problem, .. } if problem.is(Code::InvalidCredentials) => vec!["check both, and that --api is the platform where you have an account".to_owned()],
        Error::Refused { problem, .. } => of_status(problem.status),
        _ => Vec::new(),
    }
}

fn unreachable(address: &url::Url, reason: &str) -> Vec<String> {
    let mut lines = Vec::new();
    if reason.contains("refused") {
        lines
            .push("nothing listens there: is the platform running, and the port right?".to_owned());
    } else if reason.contains("lookup") || reason.contains("name") {
        lines.push(format!(
            "the name {} is not known to DNS here: is it spelt right, are you on the right network or VPN?",
            address.host_str().unwrap_or_default()
        ));
    } else if reason.contains("corrupt message") || reason.contains("invalidcontenttype") {
        lines.push("what listens there does not speak TLS: is the port right?".to_owned());
    } else {
        lines.push("is the address right, are you on the right network or VPN?".to_owned());
    }
    lines.push("another address: --api URL, RAILHEAD_API or railhead login --api URL".to_owned());
    if std::env::var_os("HTTPS_PROXY").is_some() || std::env::var_os("https_proxy").is_some() {
        lines.push(
            "HTTPS_PROXY is set: add the address to NO_PROXY if it must be reached directly"
                .to_owned(),
        );
    }
    lines
}

fn foreign(address: &url::Url, status: u16) -> Vec<String> {
    if (500..=599).contains(&status) {
        vec!["a proxy before the platform, or the platform itself, is in trouble: try again in a moment".to_owned()]
    } else {
        vec![format!(
            "{address} is probably not a Railhead API: check --api, RAILHEAD_API and railhead whoami"
        )]
    }
}

/// The detail says what happened; this says what to do with this command line.
fn of_status(status: u16) -> Vec<String> {
    let line = match status {
        401 => "sign in again: railhead login (or check RAILHEAD_TOKEN)",
        403 => "railhead whoami shows your roles",
        404 => "if this folder is linked to it, link it again: railhead link",
        412 => "look again, then repeat",
        413 => {
            "leave out what the build does not need: .railheadignore has the format of .gitignore"
        }
        429 => "wait a moment, then repeat",
        500..=599 => {
            "try again in a moment; if it stays so, give your platform team the request id"
        }
        _ => return Vec::new(),
    };
    vec![line.to_owned()]
}
