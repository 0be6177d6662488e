//! A database whose machine is gone says nothing, not even that connections have ended. Another takes its
//! place: a replica that had statements under way goes on with that one.

use control_plane::config::Database;
use domain::quantity::Span;
use secrecy::{ExposeSecret as _, SecretString};
use testkit::{
    chaos_proxy::{ChaosProxy, Conditions},
    wait::until,
};
use url::Url;

use super::platform::{DEADLINE, Platform};

const ONE: &str = r#"{"scale":{"regions":{"us-east":1}}}"#;

/// The same database by another address.
fn lead_through(database: &mut Database, proxy: &ChaosProxy) {
    for url in [&mut database.system_url, &mut database.app_url] {
        let mut led: Url = url.expose_secret().parse().unwrap();
        led.set_host(Some("127.0.0.1")).unwrap();
        led.set_port(Some(proxy.address.port())).unwrap();
        *url = SecretString::from(led.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_nobody_will_ever_answer_are_given_up() {
    let mut platform = Platform::new().await;
    let there: Url = platform.database.superuser_url().parse().unwrap();
    let there = there.socket_addrs(|| Some(5432)).unwrap();
    let proxy = ChaosProxy::start(there[0]).await.unwrap();
    let database = &mut platform.config_mut().database;
    lead_through(database, &proxy);
    database.statement_timeout = Span::seconds(5);
    let replica = platform.replica().await;
    let _agent = platform.agent(&replica, "us-east", "east-1").await;
    let _edge = platform.edge(&replica, "us-east", "east-edge").await;
    let service = platform.service("web", ONE).await;
    let first = platform.deploy(&replica, service).await;
    platform.reaches(first, "live").await;

    // Whatever a replica says from now on is said into the void; then there is another machine.
    proxy.set(Conditions::stalled());
    until(DEADLINE, async || {
        sqlx::query_scalar("select bool_and(expires_at < now()) from lease")
            .fetch_one(&platform.pool)
            .await
            .unwrap()
    })
    .await;
    proxy.half_open();
    proxy.set(Conditions::default());

    let second = platform.deploy(&replica, service).await;
    until(DEADLINE * 2, async || {
        platform.state_of(second).await == "live"
    })
    .await;
}
