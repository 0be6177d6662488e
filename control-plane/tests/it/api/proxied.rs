//! Behind a load balancer: the client that it names is the one in the audit log and the one whose
//! attempts to sign in are counted; nobody else can name one.

use std::{net::Ipv4Addr, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::world::{Server, World};

const SIGN_IN: &str = r#"{"email":"nobody@example.test","password":"wrong"}"#;

/// Version 2, TCP over IPv4.
fn header(client: Ipv4Addr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client.octets());
    header.extend([127, 0, 0, 1, 0x12, 0x67, 0x01, 0xbb]);
    header
}

/// The status of an attempt to sign in on a connection that begins with these bytes.
async fn sign_in(server: &Server, begins_with: &[u8]) -> std::io::Result<u16> {
    let ca = server.state.keys.authority.pem().as_bytes();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca).unwrap())
        .unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = server.url.trim_start_matches("https://");
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(begins_with).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let request = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{SIGN_IN}",
        SIGN_IN.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.split(' ').nth(1).unwrap().parse().unwrap())
}

async fn sources(world: &World) -> Vec<Option<String>> {
    sqlx::query_scalar("select host(actor_address) from audit_event order by at, id")
        .fetch_all(world.pool())
        .await
        .unwrap()
}

async fn behind_a_balancer(world: &World) -> Server {
    let loopback = vec!["127.0.0.1/32".parse().unwrap()];
    world
        .other_server(|config| config.trusted_proxies = loopback)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_balancer_says_who_the_client_is() {
    let world = World::with("[limits]\nlogins_per_minute = 2").await;
    let server = behind_a_balancer(&world).await;
    let [one, other] = [Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(203, 0, 113, 8)];
    for (client, status) in [(one, 401), (one, 401), (one, 429), (other, 401)] {
        assert_eq!(sign_in(&server, &header(client)).await.unwrap(), status);
    }
    let v1 = b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 443\r\n";
    assert_eq!(sign_in(&server, v1).await.unwrap(), 401);
    let expected = ["203.0.113.7", "203.0.113.7", "203.0.113.8", "203.0.113.9"];
    assert_eq!(sources(&world).await, expected.map(|a| Some(a.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_says_who_the_client_is() {
    let world = World::new().await;
    let forged = header(Ipv4Addr::new(203, 0, 113, 7));
    assert!(sign_in(&world.server, &forged).await.is_err());
    assert!(sources(&world).await.is_empty());
    assert_eq!(sign_in(&world.server, b"").await.unwrap(), 401);
    assert_eq!(sources(&world).await, [Some("127.0.0.1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_balancer_must_say_who_the_client_is() {
    let world = World::new().await;
    let server = behind_a_balancer(&world).await;
    assert!(sign_in(&server, b"").await.is_err());
    assert!(sources(&world).await.is_empty());
}
