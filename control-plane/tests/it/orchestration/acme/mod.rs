//! Certificates of tenants' own hostnames: a real authority, a real name server, and edges that answer.

mod answers;
mod pebble;
mod stub;

use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use control_plane::waker::Topic;
use domain::id::{DomainId, ServiceId};
use protocol::item::{CertificateItem, GlobalRouteItem};
use sqlx::FromRow;
use testkit::{
    fake_agent::FakeAgent,
    fake_edge::FakeEdge,
    wait::{until, until_some},
};

use self::{answers::Answers, pebble::Pebble, stub::Stub};
use super::platform::{DEADLINE, Platform, Replica};
use crate::name_server::NameServer;

/// A platform with an authority, a service that runs, and an edge.
struct World {
    platform: Platform,
    /// None only while one takes the place of another.
    replica: Option<Replica>,
    names: NameServer,
    edge: FakeEdge,
    service: ServiceId,
    _agent: FakeAgent,
}

#[derive(Debug, FromRow)]
struct Order {
    step: String,
    failures: i32,
    problem_code: Option<String>,
    problem_message: Option<String>,
}

#[derive(Debug, FromRow)]
struct Stored {
    issuer: String,
    authority: Option<String>,
    key_version: i64,
    renew_at: Option<DateTime<Utc>>,
    not_after: DateTime<Utc>,
}

impl World {
    /// With the authorities of this configuration.
    async fn new(names: NameServer, authorities: &str) -> Self {
        let configuration = format!("{}\n{authorities}", names.configuration());
        let platform = Platform::with(&configuration).await;
        let replica = platform.replica().await;
        let agent = platform.agent(&replica, "us-east", "a1").await;
        let edge = platform.edge(&replica, "us-east", "e1").await;
        let service = platform
            .service("web", r#"{"scale":{"regions":{"us-east":1}}}"#)
            .await;
        let deployment = platform.deploy(&replica, service).await;
        platform.reaches(deployment, "live").await;
        Self {
            platform,
            replica: Some(replica),
            names,
            edge,
            service,
            _agent: agent,
        }
    }

    /// Makes the name server say that these hostnames lead here and are the organization's.
    async fn point(&mut self, labels: &[String], more: &str) {
        let mut zone = String::new();
        for label in labels {
            let proof = format!("railhead-verification={}", self.platform.organization);
            writeln!(
                zone,
                "{label} A 127.0.0.1\n_railhead.{label} TXT \"{proof}\""
            )
            .unwrap();
        }
        self.names.serve(&format!("{zone}{more}")).await;
    }

    /// As if its DNS had been looked at.
    async fn domain(&self, hostname: &str, tls: &str) -> DomainId {
        let id = DomainId::new();
        sqlx::query(
            "insert into domain (id, organization_id, service_id, hostname, kind, verified_at, tls)
             values ($1, $2, $3, $4, 'custom', now(), $5)",
        )
        .bind(id.uuid())
        .bind(self.platform.organization.uuid())
        .bind(self.service.uuid())
        .bind(hostname)
        .bind(tls)
        .execute(&self.platform.pool)
        .await
        .unwrap();
        self.wake(Topic::Certificates);
        id
    }

    fn wake(&self, topic: Topic) {
        self.replica.as_ref().unwrap().state.waker.wake(topic);
    }

    /// Another one takes its place, where nodes reached it.
    async fn kill_the_replica(&mut self) {
        let killed = self.replica.take().unwrap();
        let url = killed.url.clone();
        drop(killed);
        self.replica = Some(self.platform.replica_at(&url).await);
    }

    async fn order(&self, domain: DomainId) -> Option<Order> {
        sqlx::query_as(
            "select step, failures, problem_code, problem_message from certificate_order where domain_id = $1",
        )
        .bind(domain.uuid())
        .fetch_optional(&self.platform.pool)
        .await
        .unwrap()
    }

    async fn stored(&self, domain: DomainId) -> Option<Stored> {
        sqlx::query_as(
            "select issuer, authority, key_version, renew_at, not_after from domain_certificate where domain_id = $1",
        )
        .bind(domain.uuid())
        .fetch_optional(&self.platform.pool)
        .await
        .unwrap()
    }

    /// Until its order has failed so often; what its owner reads then.
    async fn fails(&self, domain: DomainId, times: i32) -> (String, String) {
        until_some(DEADLINE, async || {
            let order = self.order(domain).await?;
            let problem = order.problem_code.zip(order.problem_message);
            problem.filter(|_| order.failures >= times && order.step == "waiting")
        })
        .await
    }

    /// As if the time until the next try were over.
    async fn hurry(&self, domain: DomainId) {
        sqlx::query("update certificate_order set due_at = now() where domain_id = $1")
            .bind(domain.uuid())
            .execute(&self.platform.pool)
            .await
            .unwrap();
        self.wake(Topic::Certificates);
    }

    fn at_edge(&self, hostname: &str) -> Option<CertificateItem> {
        let state = self.edge.global_routes().borrow().clone();
        let found = state.items.values().find_map(|entry| match &entry.item {
            GlobalRouteItem::Certificate(item) if item.names == [hostname] => Some(item.clone()),
            _ => None,
        })?;
        state.secrets.get(&found.key).is_some().then_some(found)
    }

    /// Until edges have a certificate of this version, with its key; nothing is left that an authority could ask for.
    async fn is_served(&self, hostname: &str, version: i64) -> CertificateItem {
        until_some(DEADLINE, async || {
            let challenge = format!("challenge/{hostname}");
            let state = self.edge.global_routes().borrow().clone();
            let item = self.at_edge(hostname)?;
            let is_over = !state.items.contains_key(challenge.as_str());
            (item.key.version == version && is_over).then_some(item)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_gets_a_certificate_that_is_renewed_when_it_is_time() {
    let names = NameServer::new();
    let pebble = Pebble::start(names.address(), 0).await;
    let mut world = World::new(names, &pebble.configuration("pebble")).await;
    world.point(&["www".to_owned()], "").await;
    let _answers = Answers::over_http(&world.edge, pebble.http).await;
    let domain = world.domain("www.example.test", "automatic").await;

    let item = world.is_served("www.example.test", 1).await;
    assert_eq!(item.service_id, Some(world.service));
    assert!(world.order(domain).await.is_none());
    let stored = world.stored(domain).await.unwrap();
    assert_eq!(
        (&*stored.issuer, stored.authority.as_deref()),
        ("acme", Some("pebble"))
    );
    let renew_at = stored.renew_at.unwrap();
    assert!(
        renew_at > Utc::now() && renew_at < stored.not_after,
        "{stored:?}"
    );

    sqlx::query("update domain_certificate set renew_at = now() where domain_id = $1")
        .bind(domain.uuid())
        .execute(&world.platform.pool)
        .await
        .unwrap();
    world.wake(Topic::Certificates);
    let renewed = world.is_served("www.example.test", 2).await;
    assert_eq!(renewed.id, item.id);
    assert_ne!(renewed.chain, item.chain);

    sqlx::query("delete from domain where id = $1")
        .bind(domain.uuid())
        .execute(&world.platform.pool)
        .await
        .unwrap();
    world.wake(Topic::Routes);
    until(DEADLINE, async || {
        world.at_edge("www.example.test").is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_port_80_leads_elsewhere_the_reason_is_told_and_the_other_port_is_asked() {
    let names = NameServer::new();
    let pebble = Pebble::start(names.address(), 0).await;
    let mut world = World::new(names, &pebble.configuration("pebble")).await;
    world.point(&["www".to_owned()], "").await;
    let _answers = Answers::over_tls(&world.edge, pebble.tls).await;
    let domain = world.domain("www.example.test", "automatic").await;

    let (code, message) = world.fails(domain, 1).await;
    assert_eq!(code, "certificate_validation", "{message}");
    assert!(message.starts_with("pebble: "), "{message}");
    world.hurry(domain).await;
    world.is_served("www.example.test", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_all_nonces_refused_every_order_ends_with_a_certificate() {
    let names = NameServer::new();
    let pebble = Pebble::start(names.address(), 50).await;
    let mut world = World::new(names, &pebble.configuration("pebble")).await;
    let labels: Vec<String> = (0..10).map(|n| format!("w{n}")).collect();
    world.point(&labels, "").await;
    let _answers = Answers::over_http(&world.edge, pebble.http).await;
    for label in &labels {
        world
            .domain(&format!("{label}.example.test"), "automatic")
            .await;
    }
    for label in &labels {
        world.is_served(&format!("{label}.example.test"), 1).await;
    }
    assert!(
        pebble.log().contains("nonce"),
        "no nonce was refused: {}",
        pebble.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_authority_would_refuse_is_told_without_asking_it() {
    let names = NameServer::new();
    let pebble = Pebble::start(names.address(), 0).await;
    let mut world = World::new(names, &pebble.configuration("pebble")).await;
    let labels = ["forbidden".to_owned(), "allowed".to_owned()];
    world
        .point(
            &labels,
            "forbidden CAA 0 issue \"other.test\"\nallowed CAA 0 issue \"pebble.test\"\n",
        )
        .await;
    let _answers = Answers::over_http(&world.edge, pebble.http).await;
    let forbidden = world.domain("forbidden.example.test", "automatic").await;
    let gone = world.domain("gone.example.test", "automatic").await;
    let wildcard = world.domain("*.allowed.example.test", "automatic").await;

    let cases = [
        (forbidden, "certificate_caa", "only other.test"),
        (gone, "certificate_dns", "there is no such name"),
        (wildcard, "certificate_wildcard", "railhead cert import"),
    ];
    for (domain, expected, says) in cases {
        let (code, message) = world.fails(domain, 1).await;
        assert_eq!(code, expected, "{message}");
        assert!(message.contains(says), "{message}");
    }
    let asked = pebble.log();
    for hostname in ["forbidden.example.test", "gone.example.test"] {
        assert!(!asked.contains(hostname), "{asked}");
    }
    world.domain("allowed.example.test", "automatic").await;
    world.is_served("allowed.example.test", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_two_failures_the_next_authority_is_asked() {
    let names = NameServer::new();
    let pebble = Pebble::start(names.address(), 0).await;
    let away = "[[certificates.authorities]]\nname = \"away\"\n\
        directory = \"https://127.0.0.1:9/dir\"\nterms_of_service_agreed = true\n";
    let authorities = format!("{away}{}", pebble.configuration("second"));
    let mut world = World::new(names, &authorities).await;
    world.point(&["www".to_owned()], "").await;
    let _answers = Answers::over_http(&world.edge, pebble.http).await;
    let domain = world.domain("www.example.test", "automatic").await;

    for times in 1..=2 {
        let (code, message) = world.fails(domain, times).await;
        assert_eq!(code, "certificate_authority_unavailable", "{message}");
        assert!(message.starts_with("away: "), "{message}");
        world.hurry(domain).await;
    }
    world.is_served("www.example.test", 1).await;
    let stored = world.stored(domain).await.unwrap();
    assert_eq!(stored.authority.as_deref(), Some("second"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_on_at_another_replica() {
    let names = NameServer::new();
    let pebble = Pebble::start(names.address(), 0).await;
    let mut world = World::new(names, &pebble.configuration("pebble")).await;
    world.point(&["www".to_owned()], "").await;
    // Nobody answers the authority yet: the order waits at it.
    let domain = world.domain("www.example.test", "automatic").await;
    until(DEADLINE, async || {
        let order = world.order(domain).await;
        order.is_some_and(|order| order.step != "waiting")
    })
    .await;
    world.kill_the_replica().await;
    let _answers = Answers::over_http(&world.edge, pebble.http).await;
    world.hurry(domain).await;
    if world
        .order(domain)
        .await
        .is_some_and(|order| order.failures > 0)
    {
        world.hurry(domain).await;
    }
    world.is_served("www.example.test", 1).await;
    let accounts: i64 = sqlx::query_scalar("select count(*) from acme_account")
        .fetch_one(&world.platform.pool)
        .await
        .unwrap();
    assert_eq!(accounts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_authority_and_for_private_names_the_platforms_own_one_issues() {
    let names = NameServer::new();
    let world = World::new(names, "").await;
    let domain = world.domain("www.example.test", "automatic").await;
    world.is_served("www.example.test", 1).await;
    let stored = world.stored(domain).await.unwrap();
    assert_eq!(stored.issuer, "internal");
    assert!(stored.renew_at.unwrap() > Utc::now() + TimeDelta::days(30));
    assert!(world.order(domain).await.is_none());

    let ours = world.domain("more.railhead.test", "automatic").await;
    let private = world.domain("private.example.test", "internal").await;
    world.is_served("private.example.test", 1).await;
    assert_eq!(world.stored(private).await.unwrap().issuer, "internal");
    assert!(world.stored(ours).await.is_none(), "it has the platform's");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_says_when_it_wants_to_renew_and_learns_what_is_renewed() {
    let stub = Stub::start().await;
    let names = NameServer::new();
    let mut world = World::new(names, &stub.configuration("shortlived")).await;
    world.point(&["www".to_owned()], "").await;
    let later = (
        Utc::now() + TimeDelta::days(1),
        Utc::now() + TimeDelta::days(2),
    );
    stub.script.lock().unwrap().window = Some(later);
    let domain = world.domain("www.example.test", "automatic").await;
    world.is_served("www.example.test", 1).await;
    until(DEADLINE, async || {
        let renew_at = world
            .stored(domain)
            .await
            .and_then(|stored| stored.renew_at);
        renew_at.is_some_and(|at| later.0 <= at && at <= later.1)
    })
    .await;
    assert_eq!(stub.orders().len(), 1);
    assert!(stub.orders()[0].get("replaces").is_none());

    // It is about to be revoked.
    let now = (Utc::now() - TimeDelta::days(1), Utc::now());
    stub.script.lock().unwrap().window = Some(now);
    sqlx::query("update domain_certificate set window_due_at = now()")
        .execute(&world.platform.pool)
        .await
        .unwrap();
    world.wake(Topic::Certificates);
    world.is_served("www.example.test", 2).await;
    let orders = stub.orders();
    let replaces = orders[1]["replaces"].as_str().expect("what it replaces");
    assert_eq!(replaces.split('.').count(), 2, "{replaces}");
    assert_eq!(orders[1]["profile"], "shortlived");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_asks_for_patience_is_left_alone() {
    let stub = Stub::start().await;
    let names = NameServer::new();
    let mut world = World::new(names, &stub.configuration("shortlived")).await;
    world.point(&["one".to_owned(), "two".to_owned()], "").await;
    stub.script.lock().unwrap().too_much = Some(3_600);
    let one = world.domain("one.example.test", "automatic").await;
    let (code, message) = world.fails(one, 0).await;
    assert_eq!(code, "certificate_rate_limited", "{message}");
    assert!(message.contains("too many orders"), "{message}");

    // It would take them now, but nobody asks: this platform's own budget is closed for an hour.
    stub.script.lock().unwrap().too_much = None;
    let two = world.domain("two.example.test", "automatic").await;
    world.hurry(one).await;
    let (code, message) = world.fails(two, 0).await;
    assert_eq!(code, "certificate_rate_limited", "{message}");
    assert!(message.contains("in the queue"), "{message}");
    assert!(stub.orders().is_empty());
    assert_eq!(world.order(two).await.unwrap().failures, 0);

    sqlx::query("update acme_account set paused_until = now()")
        .execute(&world.platform.pool)
        .await
        .unwrap();
    for domain in [one, two] {
        world.hurry(domain).await;
    }
    world.is_served("one.example.test", 1).await;
    world.is_served("two.example.test", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_an_authority_does_not_know_is_told_as_it_says_it() {
    let stub = Stub::start().await;
    let names = NameServer::new();
    let mut world = World::new(names, &stub.configuration("forever")).await;
    world.point(&["www".to_owned()], "").await;
    let domain = world.domain("www.example.test", "automatic").await;
    let (code, message) = world.fails(domain, 1).await;
    assert_eq!(code, "certificate_refused", "{message}");
    assert!(message.contains("no such profile"), "{message}");
}
