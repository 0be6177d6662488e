use proptest::prelude::*;
use proxy_header::ProxiedAddress;
use tokio::io::AsyncWriteExt as _;

use super::*;

const V1_LINE: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n";
const V2_WHOLE: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x12\x67\x01\xbb";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";
const BALANCER: &str = "10.0.0.9:50000";

fn trusted() -> TrustedProxies {
    TrustedProxies::new(&["10.0.0.0/24".parse().unwrap()])
}

/// The client and what it sent, as the listener sees them.
async fn receive(peer: &str, sent: &[u8]) -> Result<(SocketAddr, Vec<u8>), Error> {
    let (mut near, mut far) = tokio::io::duplex(1 << 17);
    far.write_all(sent).await.unwrap();
    drop(far);
    let client = trusted().client(&mut near, peer.parse().unwrap()).await?;
    let mut rest = Vec::new();
    near.read_to_end(&mut rest).await?;
    Ok((client, rest))
}

#[tokio::test]
async fn a_trusted_balancer_names_the_client_in_either_version() {
    for header in [V1_LINE, V2_WHOLE] {
        let sent = [header, b"hello"].concat();
        let (client, rest) = receive(BALANCER, &sent).await.unwrap();
        assert_eq!(client, "203.0.113.7:4711".parse().unwrap());
        assert_eq!(rest, b"hello");
    }
}

#[tokio::test]
async fn a_mapped_address_of_a_balancer_is_its_address() {
    let (client, _) = receive("[::ffff:10.0.0.9]:50000", V2_WHOLE).await.unwrap();
    assert_eq!(client.ip().to_string(), "203.0.113.7");
}

#[tokio::test]
async fn a_balancer_that_speaks_for_itself_is_the_client() {
    for header in [V2_LOCAL, b"PROXY UNKNOWN\r\n"] {
        let (client, rest) = receive(BALANCER, header).await.unwrap();
        assert_eq!((client, rest), (BALANCER.parse().unwrap(), vec![]));
    }
}

#[tokio::test]
async fn a_strangers_header_is_left_to_who_reads_on_and_refuses_it() {
    let (client, rest) = receive("192.0.2.1:9", V2_WHOLE).await.unwrap();
    let stranger = "192.0.2.1:9".parse().unwrap();
    assert_eq!((client, rest.as_slice()), (stranger, V2_WHOLE));
}

#[tokio::test]
async fn a_balancer_without_a_whole_header_is_refused() {
    let endless = [V1, &[b'1'; 200]].concat();
    let huge = [V2, b"\x21\x11\xff\xff", &[0; 70_000]].concat();
    for sent in [
        &b"\x16\x03\x01 a client hello"[..],
        &V2_WHOLE[..20],
        &V1_LINE[..12],
        &endless,
        &huge,
        b"PROXY TCP4 nonsense\r\n",
    ] {
        let refused = receive(BALANCER, sent).await;
        assert!(matches!(refused, Err(Error::Header(_))), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_balancer_that_stops_in_mid_header_is_let_go() {
    let (mut near, mut far) = tokio::io::duplex(1024);
    far.write_all(&V2_WHOLE[..20]).await.unwrap();
    let balancer = BALANCER.parse().unwrap();
    let refused = trusted().client(&mut near, balancer).await;
    assert!(matches!(refused, Err(Error::TimedOut)));
    drop(far);
}

fn receive_now(sent: &[u8]) -> Result<(SocketAddr, Vec<u8>), Error> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(receive(BALANCER, sent))
}

proptest! {
    #[test]
    fn every_header_is_taken_whole_and_nothing_after_it(
        source: SocketAddr,
        destination: SocketAddr,
        is_v2: bool,
        rest: Vec<u8>,
    ) {
        prop_assume!(source.is_ipv4() == destination.is_ipv4());
        let source = SocketAddr::new(source.ip(), source.port());
        let destination = SocketAddr::new(destination.ip(), destination.port());
        let header = ProxyHeader::with_address(ProxiedAddress::stream(source, destination));
        let mut space = [0; 256];
        let length = match is_v2 {
            true => header.encode_to_slice_v2(&mut space),
            false => header.encode_to_slice_v1(&mut space),
        };
        let sent = [&space[..length.unwrap()], &rest].concat();
        let (client, found) = receive_now(&sent).unwrap();
        prop_assert_eq!((client, found), (source, rest));
    }

    #[test]
    fn no_bytes_of_a_balancer_do_harm(sent: Vec<u8>, is_v2: bool) {
        let begin = if is_v2 { V2 } else { V1 };
        let _ = receive_now(&[begin, &sent].concat());
    }
}
