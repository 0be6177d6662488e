//! Certificates of tenants' own hostnames: a real authority, a real name server, and edges that answer.

mod answers;
mod pebble;
mod stub;
mod world;

use chrono::{TimeDelta, Utc};
use control_plane::waker::Topic;
use testkit::wait::until;

use self::{answers::Answers, pebble::Pebble, stub::Stub, world::World};
use super::platform::DEADLINE;
use crate::name_server::NameServer;

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
    let asked = pebble.log().matches("POST /order-plz").count();
    assert!(
        asked > labels.len(),
        "no nonce was refused in {asked} requests"
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
    let _answers = Answers::over_http(&world.edge, pebble.http).await;
    let domain = world.domain("www.example.test", "automatic").await;
    // It is at the authority, or has come back from there already.
    until(DEADLINE, async || {
        let order = world.order(domain).await;
        order.is_none_or(|order| order.step != "waiting")
    })
    .await;
    world.kill_the_replica().await;
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
    {
        // One that has just begun is not renewed, whatever is asked for.
        let mut script = stub.script.lock().unwrap();
        (script.age, script.window) = (TimeDelta::days(1), Some(later));
    }
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
    {
        let mut script = stub.script.lock().unwrap();
        (script.age, script.window) = (TimeDelta::zero(), Some(now));
    }
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

    // The window lies in the past for the new one, too.
    until(DEADLINE, async || {
        let asked: bool =
            sqlx::query_scalar("select window_due_at > now() from domain_certificate")
                .fetch_one(&world.platform.pool)
                .await
                .unwrap();
        asked
    })
    .await;
    let renew_at = world.stored(domain).await.unwrap().renew_at.unwrap();
    assert!(renew_at > Utc::now() + TimeDelta::hours(5), "{renew_at}");
    assert!(world.order(domain).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_too_often_waits_as_long_as_the_authority_says_and_others_do_not() {
    let stub = Stub::start().await;
    let names = NameServer::new();
    let mut world = World::new(names, &stub.configuration("shortlived")).await;
    world.point(&["one".to_owned(), "two".to_owned()], "").await;
    stub.refuse("one.example.test", 429, 7_200);
    let one = world.domain("one.example.test", "automatic").await;
    let (code, message) = world.fails(one, 1).await;
    assert_eq!(code, "certificate_rate_limited", "{message}");
    assert!(message.contains("not today"), "{message}");
    assert!(world.order(one).await.unwrap().wait > 7_000.0);

    world.domain("two.example.test", "automatic").await;
    world.is_served("two.example.test", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_down_is_left_alone_as_long_as_it_says() {
    let stub = Stub::start().await;
    let names = NameServer::new();
    let mut world = World::new(names, &stub.configuration("shortlived")).await;
    world.point(&["one".to_owned(), "two".to_owned()], "").await;
    stub.refuse("one.example.test", 503, 7_200);
    let one = world.domain("one.example.test", "automatic").await;
    let (code, message) = world.fails(one, 1).await;
    assert_eq!(code, "certificate_authority_unavailable", "{message}");

    let two = world.domain("two.example.test", "automatic").await;
    until(DEADLINE, async || {
        let order = world.order(two).await;
        order.is_some_and(|order| order.step == "waiting" && order.wait > 60.0)
    })
    .await;
    assert!(stub.orders().is_empty());
    sqlx::query("update acme_account set paused_until = now()")
        .execute(&world.platform.pool)
        .await
        .unwrap();
    world.hurry(two).await;
    world.is_served("two.example.test", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_has_forgotten_the_platform_gets_to_know_it_again() {
    let stub = Stub::start().await;
    let names = NameServer::new();
    let mut world = World::new(names, &stub.configuration("shortlived")).await;
    world.point(&["one".to_owned(), "two".to_owned()], "").await;
    world.domain("one.example.test", "automatic").await;
    world.is_served("one.example.test", 1).await;
    stub.forget_accounts();
    world.domain("two.example.test", "automatic").await;
    world.is_served("two.example.test", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_made_already_outlives_a_hiccup() {
    let stub = Stub::start().await;
    let names = NameServer::new();
    let mut world = World::new(names, &stub.configuration("shortlived")).await;
    world.point(&["www".to_owned()], "").await;
    stub.stumble(1);
    let domain = world.domain("www.example.test", "automatic").await;
    until(DEADLINE, async || {
        let order = world.order(domain).await;
        order.is_some_and(|order| order.step == "finalizing")
    })
    .await;
    until(DEADLINE, async || stub.stumbles_left() == 0).await;
    world.is_served("www.example.test", 1).await;
    assert_eq!(stub.orders().len(), 1);
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
