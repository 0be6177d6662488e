//! Bodies that come slowly keep nobody else waiting, and who sends too much is told so.

use std::{convert::Infallible, path::Path, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use reqwest::{Certificate, Client, ClientBuilder, Method};
use serde_json::{Value, json};
use testkit::wait::until;
use tokio::{process::Command, time::timeout};

use super::{
    objects::Objects,
    world::{Answer, Server, World, read},
};

const DEADLINE: Duration = Duration::from_secs(30);
/// Sooner than a body that trickles is given up.
const AT_ONCE: Duration = Duration::from_secs(10);
/// What one address may send at once is 64 of these: twice the places at work.
const SIZE: usize = 256 * 1024;
const SHARE: usize = 64;

/// An attempt to sign in whose body never ends.
async fn trickle(server: &Server) -> Answer {
    let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
    let request = server.request(Method::POST, "/v1/sessions", None);
    let request = request
        .header("content-type", "application/json")
        .header("content-length", SIZE)
        .body(reqwest::Body::wrap_stream(begun.chain(stream::pending())));
    read(request).await
}

async fn sign_in(server: &Server) -> u16 {
    let body = json!({ "email": "nobody@example.test", "password": "wrong" });
    let request = server.request(Method::POST, "/v1/sessions", None);
    read(request.json(&body)).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_trickle_take_no_place_at_work() {
    let world = World::with("[limits]\nlogins_per_minute = 1000").await;
    let server = &world.server;
    let mut slow: FuturesUnordered<_> = (0..=SHARE).map(|_| trickle(server)).collect();
    // Whoever is answered is the one for whom there was no room: all others are on their way.
    let refused = timeout(AT_ONCE, slow.next()).await.unwrap().unwrap();
    assert_eq!(refused.expect(429).code(), "rate_limited");

    let me = server.get(&world.acme.owner, "/v1/me");
    timeout(AT_ONCE, me).await.unwrap().expect(200);
    assert_eq!(slow.len(), SHARE);
    assert_eq!(sign_in(server).await, 429, "from the same address");
    drop(slow);
    until(DEADLINE, async || sign_in(server).await == 401).await;
}

/// What curl prints for a body of this size.
async fn curl(world: &World, dir: &Path, version: &str, size: usize) -> (u16, Value) {
    let [ca, body, answer] = ["ca.pem", "body.json", "answer.json"].map(|name| dir.join(name));
    std::fs::write(&ca, world.server.state.keys.authority.pem()).unwrap();
    let name = "x".repeat(size);
    std::fs::write(&body, json!({ "name": name }).to_string()).unwrap();
    let acme = &world.acme;
    let curl = Command::new("curl")
        .args(["-sS", version, "-X", "POST", "-w", "%{http_code}"])
        .args(["-H", "content-type: application/json"])
        .args(["-H", &format!("authorization: Bearer {}", acme.owner.token)])
        .args(["--data-binary", &format!("@{}", body.display())])
        .args([Path::new("--cacert"), &ca, Path::new("-o"), &answer])
        .arg(format!(
            "{}/v1/organizations/{}/projects",
            world.server.url, acme.id
        ))
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&curl.stdout);
    let complaint = String::from_utf8_lossy(&curl.stderr);
    let status = printed.parse().unwrap_or_else(|_| panic!("{complaint}"));
    assert!(curl.status.success(), "{version} {size}: {complaint}");
    let answer = std::fs::read(answer).unwrap();
    (status, serde_json::from_slice(&answer).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sends_too_much_gets_to_read_the_answer() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    for version in ["--http1.1", "--http2"] {
        for size in [1 << 20, 3_000_000, 12_000_000] {
            let (status, answer) = curl(&world, dir.path(), version, size).await;
            assert_eq!(status, 413, "{version} {size}: {answer}");
            assert_eq!(answer["code"], "body_too_large", "{version} {size}");
        }
    }
}

/// By an own client, so that a connection that is reset is no other test's.
fn client(world: &World, version: fn(ClientBuilder) -> ClientBuilder) -> Client {
    let ca = world.server.state.keys.authority.pem();
    let ca = Certificate::from_pem(ca.as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([ca]);
    version(client).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_far_too_much_or_may_not_send_at_all_gets_to_read_the_answer() {
    let world = World::with("[limits]\narchive = \"32Mi\"").await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    let projects = format!("/v1/organizations/{}/projects", world.acme.id);
    let archives = format!("/v1/services/{}/archives", objects.0["service_id"]);
    let (mine, foreign) = (&*world.acme.owner.token, &*world.mallory.owner.token);
    let sent = Bytes::from([vec![0x1f, 0x8b], vec![b'x'; 64 << 20]].concat());
    let part = sent.slice(..24 << 20);
    for version in [
        ClientBuilder::http1_only,
        ClientBuilder::http2_prior_knowledge,
    ] {
        for (path, token, body, status, code) in [
            (&projects, mine, &sent, 413, "body_too_large"),
            (&archives, mine, &sent, 413, "body_too_large"),
            (&archives, foreign, &part, 404, "not_found"),
            (&archives, "rht_wrong", &part, 401, "unauthenticated"),
        ] {
            let request = client(&world, version).post(format!("{}{path}", world.server.url));
            let request = request.header("content-type", "application/json");
            let answer = read(request.bearer_auth(token).body(body.clone())).await;
            assert_eq!(answer.expect(status).code(), code, "{path}");
        }
    }
}
