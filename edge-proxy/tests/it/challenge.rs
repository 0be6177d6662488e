//! A certificate authority asks whether a hostname leads here, as RFC 8555 §8.3 and RFC 8737 say.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;

use crate::support::{Region, Routes, connect, raw, raw_tls, until};

const KEY_AUTHORIZATION: &str = "t0ken.thumbprint";
/// id-pe-acmeIdentifier, DER (RFC 8737 §6.1).
const ACME_IDENTIFIER: [u8; 10] = [0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 1, 0x1f];

/// Takes whatever certificate comes: it is nobody's. rustls reads no certificate that says critically what it does not
/// know, so whether the key signs is for a real authority to see (`tests/e2e/tests/it/domains.rs`).
#[derive(Debug)]
struct Authority(Arc<CryptoProvider>);

impl ServerCertVerifier for Authority {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn authority() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Authority(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    Arc::new(config)
}

async fn publish(region: &Region) {
    region.edge.publish(&with_challenges(region));
    until("the edge knows what it is to answer", async || {
        let routes = region.edge.running.state.routes.load();
        routes.challenges().key_authorization("new.test").is_some()
    })
    .await;
}

fn with_challenges(region: &Region) -> Routes {
    let routes = region
        .routes
        .clone()
        .service(region.service, &[&region.instance]);
    let routes = routes.challenge("app.test", "t0ken", KEY_AUTHORIZATION);
    routes.challenge("new.test", "t0ken", KEY_AUTHORIZATION)
}

#[tokio::test]
async fn over_http_the_key_authorization_comes_without_a_redirect_also_for_hosts_without_a_route() {
    let region = Region::start().await;
    publish(&region).await;
    for host in ["app.test", "new.test"] {
        let path = "/.well-known/acme-challenge/t0ken";
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(region.edge.http, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.ends_with(&format!("\r\n\r\n{KEY_AUTHORIZATION}")),
            "{answer}"
        );
    }
    let other = "GET /.well-known/acme-challenge/other HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    let answer = raw(region.edge.http, other.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
}

#[tokio::test]
async fn over_tls_a_certificate_names_the_key_authorization_and_users_are_served_as_before() {
    let region = Region::start().await;
    publish(&region).await;
    for host in ["app.test", "new.test"] {
        let mut tls = connect(authority(), region.edge.https, host).await.unwrap();
        let (_, session) = tls.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"acme-tls/1"[..]));
        let certificate = session.peer_certificates().unwrap()[0].to_vec();
        let holds = |part: &[u8]| certificate.windows(part.len()).any(|window| window == part);
        assert!(holds(&ACME_IDENTIFIER) && holds(host.as_bytes()));
        assert!(holds(&Sha256::digest(KEY_AUTHORIZATION)));
        assert_eq!(tls.read(&mut [0; 16]).await.unwrap(), 0);
    }
    assert!(
        raw_tls(&region.ca, region.edge.https, "app.test")
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_authority_that_asks_for_what_nobody_has_ordered_gets_nothing() {
    let region = Region::start().await;
    let refused = connect(authority(), region.edge.https, "app.test")
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("UnrecognisedName"),
        "{refused}"
    );
}
