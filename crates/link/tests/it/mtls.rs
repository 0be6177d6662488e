use domain::ring::Ring;
use std::sync::Arc;

use link::{
    identity::{Credentials, Identity},
    tls::{self, Peers},
};
use protocol::{
    feed::FeedName,
    join::{self, Role, SpiffeId},
};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::pki::{Life, Pki, spiffe_id};

fn node(pki: &Pki, role: Role, life: Life) -> Identity {
    let id = spiffe_id(role);
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::new(Vec::<String>::new()).unwrap();
    let csr = request.serialize_request(&key).unwrap().pem().unwrap();
    let identity = join::Identity {
        node_id: id.node_id,
        region: id.region.clone(),
        role: id.role,
        certificate: pki.node(&csr, &id, life),
        ca: pki.pem(),
        feed_keys: Vec::new(),
    };
    Identity::new(Credentials::new(identity, Arc::new(key)).unwrap())
}

/// Who the server and the client say the other is, after a byte went each way.
async fn meet(
    (server, clients): (&Identity, Peers),
    (client, servers): (&Identity, Peers),
) -> std::io::Result<(SpiffeId, SpiffeId)> {
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(server, clients).unwrap()));
    let connector = TlsConnector::from(Arc::new(tls::client_config(client, servers).unwrap()));
    let (near, far) = tokio::io::duplex(64 << 10);
    let accept = async {
        let mut stream = acceptor.accept(near).await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        let peer = tls::peer_spiffe_id(stream.get_ref().1.peer_certificates().unwrap());
        Ok::<_, std::io::Error>(peer.unwrap())
    };
    let connect = async {
        let name = ServerName::try_from("node.invalid").unwrap();
        let mut stream = connector.connect(name, far).await?;
        stream.read_u8().await?;
        let peer = tls::peer_spiffe_id(stream.get_ref().1.peer_certificates().unwrap());
        Ok(peer.unwrap())
    };
    tokio::try_join!(accept, connect)
}

#[tokio::test]
async fn nodes_of_one_platform_know_each_other() {
    let pki = Pki::new();
    let agent = node(&pki, Role::Agent, Life::FRESH);
    let edge = node(&pki, Role::Edge, Life::FRESH);
    let edges = Peers {
        role: Some(Role::Edge),
        region: Some(edge.region()),
        ..Peers::default()
    };
    let exactly = Peers {
        node_id: Some(agent.node_id()),
        ..Peers::default()
    };
    let (client, server) = meet((&agent, edges), (&edge, exactly)).await.unwrap();
    assert_eq!((client, server), (edge.spiffe_id(), agent.spiffe_id()));
}

#[tokio::test]
async fn expiry_refuses_neither_side() {
    let pki = Pki::new();
    let agent = node(&pki, Role::Agent, Life::EXPIRED);
    let edge = node(&pki, Role::Edge, Life::EXPIRED);
    meet((&agent, Peers::default()), (&edge, Peers::default()))
        .await
        .unwrap();
}

/// As when the control plane, which renews them, has been away for so long.
#[tokio::test]
async fn certificates_of_thirty_days_ago_refuse_nobody() {
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
    let pki = Pki::new();
    for days in [1, 2, 7, 30] {
        let life = Life {
            began_ago: DAY * days,
            lasts: DAY,
        };
        let (agent, edge) = (node(&pki, Role::Agent, life), node(&pki, Role::Edge, life));
        let other = node(&pki, Role::Edge, life);
        let any = Peers::default;
        meet((&agent, any()), (&edge, any())).await.unwrap();
        meet((&other, any()), (&edge, any())).await.unwrap();
    }
}

#[tokio::test]
async fn strangers_and_the_wrong_nodes_are_refused() {
    let pki = Pki::new();
    let agent = node(&pki, Role::Agent, Life::FRESH);
    let edge = node(&pki, Role::Edge, Life::FRESH);
    let stranger = node(&Pki::new(), Role::Edge, Life::FRESH);
    let expired_stranger = node(&Pki::new(), Role::Edge, Life::EXPIRED);
    let any = Peers::default;
    let agents = || Peers {
        role: Some(Role::Agent),
        ..any()
    };
    let elsewhere = || Peers {
        region: Some("eu-west".parse().unwrap()),
        ..any()
    };
    assert!(meet((&agent, any()), (&stranger, any())).await.is_err());
    assert!(meet((&stranger, any()), (&edge, any())).await.is_err());
    assert!(
        meet((&agent, any()), (&expired_stranger, any()))
            .await
            .is_err()
    );
    assert!(meet((&agent, agents()), (&edge, any())).await.is_err());
    assert!(meet((&edge, any()), (&agent, agents())).await.is_err());
    assert!(meet((&agent, elsewhere()), (&edge, any())).await.is_err());
    let other = Peers {
        node_id: Some(edge.node_id()),
        ..any()
    };
    assert!(meet((&agent, any()), (&edge, other)).await.is_err());
}

#[tokio::test]
async fn an_expelled_node_is_refused_whatever_its_certificate_says() {
    let pki = Pki::new();
    let agent = node(&pki, Role::Agent, Life::FRESH);
    let edge = node(&pki, Role::Edge, Life::FRESH);
    let any = Peers::default;
    let feed = FeedName::GlobalRoutes(Ring::All);
    agent.denied().replace(&feed, [edge.node_id()].into());
    assert!(meet((&agent, any()), (&edge, any())).await.is_err());
    assert!(meet((&edge, any()), (&agent, any())).await.is_err());
    agent.denied().replace(&feed, [].into());
    meet((&agent, any()), (&edge, any())).await.unwrap();
}

#[tokio::test]
async fn an_open_link_is_cut_when_its_node_is_expelled_and_no_other() {
    let pki = Pki::new();
    let agent = node(&pki, Role::Agent, Life::FRESH);
    let edges = [(); 2].map(|()| node(&pki, Role::Edge, Life::FRESH));
    let open = edges.each_ref().map(|edge| {
        let (near, far) = tokio::io::duplex(64);
        (agent.denied().guard(near, edge.node_id()), far)
    });
    let [(mut expelled, _far), (mut welcome, mut far)] = open;
    let waits = tokio::spawn(async move {
        let read = expelled.read_u8().await;
        (read, expelled.write_u8(1).await)
    });
    let feed = FeedName::Node(agent.node_id());
    agent.denied().replace(&feed, [edges[0].node_id()].into());
    let (read, written) = waits.await.unwrap();
    let aborted = std::io::ErrorKind::ConnectionAborted;
    assert_eq!(read.unwrap_err().kind(), aborted);
    assert_eq!(written.unwrap_err().kind(), aborted);

    far.write_u8(7).await.unwrap();
    assert_eq!(welcome.read_u8().await.unwrap(), 7);
    welcome.write_u8(8).await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), 8);
}

#[test]
fn an_identity_whose_parts_do_not_belong_together_is_refused() {
    let pki = Pki::new();
    let id = spiffe_id(Role::Edge);
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::new(Vec::<String>::new()).unwrap();
    let csr = request.serialize_request(&key).unwrap().pem().unwrap();
    let identity = join::Identity {
        node_id: id.node_id,
        region: id.region.clone(),
        role: id.role,
        certificate: pki.node(&csr, &id, Life::FRESH),
        ca: pki.pem(),
        feed_keys: Vec::new(),
    };
    let key = Arc::new(key);
    assert!(Credentials::new(identity.clone(), key.clone()).is_ok());
    let other_key = Arc::new(KeyPair::generate().unwrap());
    assert!(Credentials::new(identity.clone(), other_key).is_err());
    let other_role = join::Identity {
        role: Role::Agent,
        ..identity.clone()
    };
    assert!(Credentials::new(other_role, key.clone()).is_err());
    let no_key = join::Identity {
        feed_keys: vec!["rubbish".to_owned()],
        ..identity
    };
    assert!(Credentials::new(no_key, key).is_err());
}
