//! Joining, and what is refused: tokens used twice, expired or wrong, stale reports, other nodes' feeds.

use std::sync::Arc;

use protocol::{
    PROTOCOL, PROTOCOL_HEADER,
    join::{Identity, JoinRequest, Role, SpiffeId},
    report::{AgentReport, Capacity, Report, RoleReport, Usage},
};
use reqwest::StatusCode;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_rustls::TlsConnector;

use super::platform::{DEADLINE, Platform, Replica};

/// A node's own client, without `link`: what a wrong node would send.
pub struct Wire {
    pub http: reqwest::Client,
    pub url: reqwest::Url,
}

impl Wire {
    fn anonymous(replica: &Replica) -> Self {
        Self::new(replica, None)
    }

    fn of(replica: &Replica, identity: &Identity, key: &rcgen::KeyPair) -> Self {
        let pem = format!("{}{}", identity.certificate, key.serialize_pem());
        Self::new(
            replica,
            Some(reqwest::Identity::from_pem(pem.as_bytes()).unwrap()),
        )
    }

    fn new(replica: &Replica, identity: Option<reqwest::Identity>) -> Self {
        let ca = replica.state.keys.authority.pem();
        let ca = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
        let mut builder = reqwest::Client::builder().tls_certs_only([ca]).no_proxy();
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        Self {
            http: builder.build().unwrap(),
            url: replica.url.clone(),
        }
    }

    async fn post(&self, path: &str, body: &impl serde::Serialize) -> (StatusCode, Value) {
        let request = self.http.post(self.url.join(path).unwrap()).json(body);
        Self::send(request).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        Self::send(self.http.get(self.url.join(path).unwrap())).await
    }

    async fn send(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
        Self::answer(request.header(PROTOCOL_HEADER, PROTOCOL)).await
    }

    /// What a request is answered, in whatever version it is; of a feed the status only.
    pub async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        if status.is_success() && answer.headers()["content-type"] == "application/x-ndjson" {
            return (status, Value::Null);
        }
        (status, answer.json().await.unwrap_or(Value::Null))
    }
}

fn request(token: &str, name: &str, key: &rcgen::KeyPair) -> JoinRequest {
    let csr = rcgen::CertificateParams::default()
        .serialize_request(key)
        .unwrap();
    JoinRequest {
        token: token.to_owned(),
        name: name.parse().unwrap(),
        csr: csr.pem().unwrap(),
    }
}

pub async fn joined(
    platform: &Platform,
    replica: &Replica,
    name: &str,
) -> (Identity, Wire, rcgen::KeyPair) {
    let token = platform.join_token("us-east", Role::Agent, 15).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let (status, body) = Wire::anonymous(replica)
        .post("/node/v1/join", &request(&token, name, &key))
        .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let identity: Identity = serde_json::from_value(body).unwrap();
    let wire = Wire::of(replica, &identity, &key);
    (identity, wire, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misuse_of_a_join_token_has_its_code_and_is_audited() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let wire = Wire::anonymous(&replica);
    let key = rcgen::KeyPair::generate().unwrap();
    let good = platform.join_token("us-east", Role::Agent, 15).await;
    let expired = platform.join_token("us-east", Role::Agent, -1).await;
    let mut wrong = good.clone();
    let at = good.find('.').unwrap() + 1;
    wrong.replace_range(at..at + 8, "00000000");
    let other = platform.join_token("us-east", Role::Agent, 15).await;
    let stranger = rcgen::KeyPair::generate().unwrap();
    for (token, name, key, code) in [
        ("rubbish", "n1", &key, "join_token_invalid"),
        (&wrong, "n1", &key, "join_token_invalid"),
        (&expired, "n1", &key, "join_token_expired"),
        (&good, "n1", &key, ""),
        (&good, "n1", &stranger, "join_token_used"),
        (&good, "n2", &key, "join_token_used"),
        (&other, "n1", &key, "node_name_taken"),
        (&other, "n2", &key, ""),
    ] {
        let (status, body) = wire.post("/node/v1/join", &request(token, name, key)).await;
        if code.is_empty() {
            assert_eq!(status, StatusCode::OK, "{body}");
        } else {
            assert_eq!(body["code"], code, "{body}");
        }
    }
    let audited: Vec<(String, Option<String>)> = sqlx::query_as(
        "select outcome, error_code from audit_event where action = 'node.join' order by at, id",
    )
    .fetch_all(&platform.pool)
    .await
    .unwrap();
    assert_eq!(audited.len(), 8);
    assert_eq!(
        audited[2],
        ("failure".into(), Some("join_token_expired".into()))
    );
    assert_eq!(audited[3], ("success".into(), None));
}

/// How the control plane answers the same request once more.
async fn join_again(wire: &Wire, request: &JoinRequest) -> Result<Identity, Value> {
    let (status, body) = wire.post("/node/v1/join", request).await;
    if status.is_success() {
        Ok(serde_json::from_value(body).unwrap())
    } else {
        Err(body["code"].clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_whose_answer_was_lost_is_answered_again_while_the_token_lives() {
    let platform = Platform::new().await;
    let replicas = [platform.replica().await, platform.replica().await];
    let [first, second] = replicas.each_ref().map(Wire::anonymous);
    let token = platform.join_token("us-east", Role::Agent, 15).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = request(&token, "n1", &key);
    let lost = join_again(&first, &request).await.unwrap();
    let identity = join_again(&second, &request).await.unwrap();
    assert_eq!(identity.node_id, lost.node_id);
    assert_ne!(identity.certificate, lost.certificate);
    let nodes: i64 = sqlx::query_scalar("select count(*) from node")
        .fetch_one(&platform.pool)
        .await
        .unwrap();
    assert_eq!(nodes, 1);
    let wire = Wire::of(&replicas[0], &identity, &key);
    let (status, body) = wire.post("/node/v1/report", &report("a", 1)).await;
    assert_eq!(status, StatusCode::OK, "{body}");

    let used = Err(Value::from("join_token_used"));
    for (change, back) in [
        (
            "update node set denied_at = now()",
            "update node set denied_at = null",
        ),
        ("update join_token set expires_at = now()", "select 1"),
    ] {
        sqlx::query(change).execute(&platform.pool).await.unwrap();
        let refused = join_again(&first, &request).await.map(|i| i.node_id);
        assert_eq!(refused, used, "after {change}");
        sqlx::query(back).execute(&platform.pool).await.unwrap();
    }
}

pub fn report(boot: &str, sequence: u64) -> Report {
    Report {
        boot_id: boot.into(),
        sequence,
        version: "0".into(),
        feeds: vec![],
        held: Default::default(),
        role: RoleReport::Agent(AgentReport {
            capacity: Capacity {
                cpu: domain::quantity::MilliCpu(1_000),
                memory: domain::quantity::Bytes::mebibytes(1_000),
            },
            usage: Usage::default(),
            address: "127.0.0.1:7444".parse().unwrap(),
            instances: vec![],
            builds: vec![],
            kept: None,
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_comes_late_is_refused() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let (_, wire, _) = joined(&platform, &replica, "n1").await;
    for (boot, sequence, expected) in [
        ("a", 5, StatusCode::OK),
        ("a", 5, StatusCode::CONFLICT),
        ("a", 4, StatusCode::CONFLICT),
        ("a", 6, StatusCode::OK),
        ("b", 1, StatusCode::OK),
        ("a", 7, StatusCode::CONFLICT),
    ] {
        let (status, body) = wire.post("/node/v1/report", &report(boot, sequence)).await;
        assert_eq!(status, expected, "{boot} {sequence}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_follows_its_own_feed_only_and_a_denied_one_nothing() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let (identity, wire, _) = joined(&platform, &replica, "n1").await;
    let (other, _, _) = joined(&platform, &replica, "n2").await;
    let own = format!("/node/v1/desired?feed=node/{}", identity.node_id);
    let (status, _) = wire.get(&own).await;
    assert_eq!(status, StatusCode::OK);
    for feed in [format!("node/{}", other.node_id), "routes/global".into()] {
        let (status, body) = wire.get(&format!("/node/v1/desired?feed={feed}")).await;
        assert_eq!(
            (status, &body["code"]),
            (StatusCode::FORBIDDEN, &Value::from("feed_foreign"))
        );
    }
    let (status, body) = Wire::anonymous(&replica).get(&own).await;
    assert_eq!(
        (status, &body["code"]),
        (
            StatusCode::UNAUTHORIZED,
            &Value::from("certificate_required")
        )
    );
    sqlx::query("update node set denied_at = now() where id = $1")
        .bind(identity.node_id.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    let (status, body) = wire.get(&own).await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::FORBIDDEN, &Value::from("node_denied"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_feed_of_a_node_that_is_expelled_ends() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let (identity, wire, _) = joined(&platform, &replica, "n1").await;
    let path = format!("/node/v1/desired?feed=node/{}", identity.node_id);
    let request = wire.http.get(wire.url.join(&path).unwrap());
    let mut feed = request
        .header(PROTOCOL_HEADER, PROTOCOL)
        .send()
        .await
        .unwrap();
    assert_eq!(feed.status(), StatusCode::OK);
    assert!(feed.chunk().await.unwrap().is_some());
    sqlx::query("update node set denied_at = now() where id = $1")
        .bind(identity.node_id.uuid())
        .execute(&platform.pool)
        .await
        .unwrap();
    let end = async { while feed.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(DEADLINE, end).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_for_the_same_key_only() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let (identity, wire, key) = joined(&platform, &replica, "n1").await;
    let csr = |key| {
        let request = rcgen::CertificateParams::default()
            .serialize_request(key)
            .unwrap();
        serde_json::json!({ "csr": request.pem().unwrap() })
    };
    let (status, body) = wire.post("/node/v1/renew", &csr(&key)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let renewed: Identity = serde_json::from_value(body).unwrap();
    assert_eq!(renewed.node_id, identity.node_id);
    assert_ne!(renewed.certificate, identity.certificate);
    let stranger = rcgen::KeyPair::generate().unwrap();
    let (status, body) = wire.post("/node/v1/renew", &csr(&stranger)).await;
    assert_eq!(
        (status, &body["code"]),
        (
            StatusCode::FORBIDDEN,
            &Value::from("certificate_request_foreign")
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_foreign_certificate_is_refused_with_its_code() {
    let (platform, elsewhere) = (Platform::new().await, Platform::new().await);
    let (replica, other) = (platform.replica().await, elsewhere.replica().await);
    let (identity, _, key) = joined(&platform, &replica, "n1").await;
    let own = format!("/node/v1/desired?feed=node/{}", identity.node_id);
    let (status, body) = Wire::anonymous(&replica).get(&own).await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::UNAUTHORIZED, &"certificate_required".into())
    );

    let csr = request("", "n1", &key).csr;
    let certificate = |authority: &control_plane::ca::Authority, trust_domain: &str| {
        let id = SpiffeId {
            trust_domain: trust_domain.to_owned(),
            region: identity.region.clone(),
            role: identity.role,
            node_id: identity.node_id,
        };
        let signed = authority.sign_node(&csr, &id, &"n1".parse().unwrap());
        Identity {
            certificate: signed.unwrap().pem,
            ..identity.clone()
        }
    };
    let renamed = certificate(&replica.state.keys.authority, "elsewhere.test");
    let (status, body) = Wire::of(&replica, &renamed, &key).get(&own).await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::UNAUTHORIZED, &"certificate_foreign".into())
    );

    let forged = certificate(&other.state.keys.authority, "railhead.test");
    let refused = refusal(&replica, &forged, &key).await;
    assert!(refused.contains("received fatal alert"), "{refused}");
}

/// Why the replica ends the connection of somebody who only listens. A client that sends at once may find
/// the connection broken before it has read why.
async fn refusal(replica: &Replica, identity: &Identity, key: &rcgen::KeyPair) -> String {
    let mut roots = RootCertStore::empty();
    let ca = replica.state.keys.authority.pem();
    roots
        .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
        .unwrap();
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    let (host, port) = (
        replica.url.host_str().unwrap().to_owned(),
        replica.url.port().unwrap(),
    );
    let stream = TcpStream::connect((host.as_str(), port)).await.unwrap();
    let name = ServerName::try_from(host).unwrap();
    let connected = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    let ended = match connected {
        Ok(mut stream) => stream.read_u8().await.map(drop),
        Err(error) => Err(error),
    };
    ended.unwrap_err().to_string()
}
