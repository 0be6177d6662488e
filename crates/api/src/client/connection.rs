//! The HTTP client below [`Client`](super::Client): TLS 1.2+ with either the system's authorities
//! or only the pinned ones, and keep-alives that notice a peer which is gone.

use std::time::Duration;

use reqwest::Certificate;

use super::Error;

pub(super) fn build(ca: Option<&str>, user_agent: &str) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(user_agent)
        .connect_timeout(Duration::from_secs(5))
        .tcp_keepalive(Duration::from_secs(30))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .http2_keep_alive_while_idle(true)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(pem) = ca {
        builder = builder.tls_certs_only(authorities(pem)?);
    }
    builder
        .build()
        .map_err(|error| Error::Authority(error.to_string()))
}

fn authorities(pem: &str) -> Result<Vec<Certificate>, Error> {
    let found = Certificate::from_pem_bundle(pem.as_bytes())
        .map_err(|error| Error::Authority(error.to_string()))?;
    if found.is_empty() {
        return Err(Error::Authority("there is no certificate in it".to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_refused() {
        for text in [
            "",
            "hello",
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(
                matches!(authorities(text), Err(Error::Authority(_))),
                "{text}"
            );
        }
    }
}
