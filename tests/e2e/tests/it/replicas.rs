//! Control planes behind one address: each may go at any moment, and all of them.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use api::{
    deployment::{Deployment, DeploymentSource, DeploymentState as Step},
    instance::Instance,
    release::Release,
};
use e2e::{
    platform::{Fixture, Platform},
    wait,
};
use nix::sys::signal::Signal;

use crate::support::{answers_from, hello};

const LIMIT: Duration = Duration::from_secs(180);

/// Steps of every deployment that goes well; only some build.
const STEPS: [Step; 8] = [
    Step::Queued,
    Step::Releasing,
    Step::Placing,
    Step::Starting,
    Step::Verifying,
    Step::Shifting,
    Step::Draining,
    Step::Live,
];

async fn comes_to(platform: &Platform, deployment: &Deployment, step: Step) {
    wait::until(&format!("{step:?} or later"), LIMIT, || async {
        let now = platform.deployment(deployment).await?;
        ensure!(now.state >= step, "it is {:?}", now.state);
        Ok(())
    })
    .await;
}

/// It is live in both regions, and no step on the way was done twice.
async fn is_live_and_all_was_done_once(
    platform: &Platform,
    fixture: &Fixture,
    deployment: &Deployment,
) -> Result<()> {
    let ended = platform.end_of(deployment, LIMIT).await;
    assert_eq!(ended.state, Step::Live, "{:?}", ended.error);
    let mut steps: Vec<_> = ended.steps.iter().map(|step| step.state).collect();
    let told = platform.steps_told(deployment).await?;
    assert_eq!(told, steps[1..]);
    steps.retain(|step| *step != Step::Building);
    assert_eq!(steps, STEPS);

    let service = fixture.service.id;
    let releases: Vec<Release> = platform
        .client
        .list(&format!("/v1/services/{service}/releases"))
        .await?;
    let own = releases.iter().filter(|r| Some(r.id) == ended.release_id);
    assert_eq!(own.count(), 1);
    let instances: Vec<Instance> = platform
        .client
        .list(&format!("/v1/services/{service}/instances"))
        .await?;
    let mut placed = BTreeMap::new();
    for instance in instances.iter().filter(|i| i.deployment_id == ended.id) {
        *placed.entry(instance.region.to_string()).or_insert(0) += 1;
    }
    let one_each = [("us-east".to_owned(), 1), ("eu-west".to_owned(), 1)];
    assert_eq!(placed, one_each.into());
    for region in ["us-east", "eu-west"] {
        answers_from(&platform.edge(region, &fixture.host), region).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_deployment_whose_control_plane_is_killed_goes_live_through_the_other() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    for (source, step) in [
        (None, Step::Building),
        (Some(DeploymentSource::Current), Step::Placing),
        (Some(DeploymentSource::Current), Step::Starting),
        (Some(DeploymentSource::Current), Step::Shifting),
    ] {
        let victim = platform.working_control_plane().await?;
        let begun = platform.begin(fixture.service.id, source).await?;
        comes_to(&platform, &begun, step).await;
        platform.kill_and_hold(&victim).await?;
        let outcome = is_live_and_all_was_done_once(&platform, &fixture, &begun).await;
        platform.bring_back(&victim).await?;
        outcome?;
    }
    platform.delete(&fixture).await
}

#[tokio::test]
async fn a_deployment_outlives_all_control_planes() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let begun = platform.begin(fixture.service.id, None).await?;
    for step in [Step::Building, Step::Starting] {
        comes_to(&platform, &begun, step).await;
        for name in &platform.control_planes() {
            platform.kill_and_hold(name).await?;
        }
        for name in &platform.control_planes() {
            platform.bring_back(name).await?;
        }
    }
    is_live_and_all_was_done_once(&platform, &fixture, &begun).await?;
    platform.delete(&fixture).await
}

#[tokio::test]
async fn a_control_plane_that_stood_still_past_its_leases_writes_nothing_stale() -> Result<()> {
    let platform = Platform::alone().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let victim = platform.working_control_plane().await?;
    let begun = platform.begin(fixture.service.id, None).await?;
    comes_to(&platform, &begun, Step::Building).await;
    // Nobody else can have moved it: the leases have run out.
    let others_go_on = comes_to(&platform, &begun, Step::Starting);
    stand_still_while(&platform, &victim, others_go_on).await?;
    is_live_and_all_was_done_once(&platform, &fixture, &begun).await?;
    next_one_goes_live(&platform, &fixture).await?;
    platform.delete(&fixture).await
}

#[tokio::test]
async fn of_three_control_planes_one_is_killed_one_stands_still_and_the_third_does_all_once()
-> Result<()> {
    let platform = Platform::alone_with_three_replicas().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let stopped = platform.working_control_plane().await?;
    let begun = platform.begin(fixture.service.id, None).await?;
    comes_to(&platform, &begun, Step::Building).await;
    let mut all = platform.control_planes().into_iter();
    let killed = all.find(|name| *name != stopped);
    let killed = killed.context("a second control plane")?;
    platform.kill_and_hold(&killed).await?;
    let third_goes_on = comes_to(&platform, &begun, Step::Starting);
    let outcome = stand_still_while(&platform, &stopped, third_goes_on).await;
    platform.bring_back(&killed).await?;
    outcome?;
    is_live_and_all_was_done_once(&platform, &fixture, &begun).await?;
    next_one_goes_live(&platform, &fixture).await?;
    platform.delete(&fixture).await
}

/// Stops a control plane as long as something lasts, and wakes it again.
async fn stand_still_while(
    platform: &Platform,
    victim: &str,
    others_go_on: impl Future<Output = ()>,
) -> Result<()> {
    let restarts = platform.process(victim).await?.restarts;
    platform.signal(victim, Signal::SIGSTOP).await?;
    others_go_on.await;
    platform.signal(victim, Signal::SIGCONT).await?;
    wait::until(&format!("{victim} after its pause"), LIMIT, || async {
        platform.metrics_of(victim).await.map(drop)
    })
    .await;
    ensure!(
        platform.process(victim).await?.restarts == restarts,
        "an invalid run: {victim} was restarted meanwhile"
    );
    Ok(())
}

async fn next_one_goes_live(platform: &Platform, fixture: &Fixture) -> Result<()> {
    let source = Some(DeploymentSource::Current);
    let next = platform.begin(fixture.service.id, source).await?;
    is_live_and_all_was_done_once(platform, fixture, &next).await
}

/// One request on a connection of its own.
struct Asked {
    began: Instant,
    ended: Instant,
    /// The status, or why there was none.
    answer: String,
}

impl Asked {
    fn is_answered(&self) -> bool {
        self.answer == "200"
    }
}

/// Clients of the API that ask until they are told to stop, and how often they have.
#[derive(Default)]
struct Asking {
    begun: AtomicUsize,
    over: AtomicBool,
}

/// Asks the API again and again; it does not retry.
async fn ask(platform: &Platform, asking: &Asking) -> Result<Vec<Asked>> {
    let ca = reqwest::Certificate::from_pem(platform.ca().as_bytes())?;
    let token = std::fs::read_to_string(&platform.status.admin_token_file)?;
    let client = reqwest::Client::builder()
        .tls_certs_only([ca])
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(10))
        .build()?;
    let url = format!("{}/v1/me", platform.status.api);
    let mut asked = Vec::new();
    // Far below the limit of rate.
    let mut pace = tokio::time::interval(Duration::from_millis(200));
    while !asking.over.load(Ordering::Relaxed) {
        pace.tick().await;
        asking.begun.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let answer = client.get(&url).bearer_auth(token.trim()).send().await;
        asked.push(Asked {
            began,
            ended: Instant::now(),
            answer: match answer {
                Ok(answer) => answer.status().as_u16().to_string(),
                Err(error) => format!("{:?}", anyhow::Error::from(error)),
            },
        });
    }
    Ok(asked)
}

#[tokio::test]
async fn only_requests_in_flight_at_the_killed_control_plane_fail() -> Result<()> {
    let platform = Platform::alone().await?;
    let all = platform.control_planes();
    for victim in &all {
        let asking = Asking::default();
        let clients = futures::future::join_all((0..4).map(|_| ask(&platform, &asking)));
        let strike = async {
            // The balancer sends to both, also to the one that was killed before.
            for control_plane in &all {
                wait_for_requests(&platform, control_plane).await;
            }
            let killed_after = Instant::now();
            let pid = platform.kill(victim).await?;
            is_gone(pid).await?;
            let killed_before = Instant::now();
            have_begun(&asking, asking.begun.load(Ordering::Relaxed) + 40).await;
            platform.wait_ready(victim, Some(pid)).await;
            asking.over.store(true, Ordering::Relaxed);
            anyhow::Ok((killed_after, killed_before))
        };
        let (clients, struck) = tokio::join!(clients, strike);
        let (killed_after, killed_before) = struck?;
        let asked: Vec<_> = clients.into_iter().flatten().flatten().collect();
        for failed in asked.iter().filter(|asked| !asked.is_answered()) {
            let in_flight = failed.began <= killed_before && failed.ended >= killed_after;
            assert!(
                in_flight,
                "{victim}: a request failed that was not in flight, from {:?} before the kill to {:?} after it: {}",
                killed_after.saturating_duration_since(failed.began),
                failed.ended.saturating_duration_since(killed_before),
                failed.answer
            );
        }
    }
    Ok(())
}

async fn have_begun(asking: &Asking, wanted: usize) {
    wait::until(&format!("{wanted} requests"), LIMIT, || async {
        let begun = asking.begun.load(Ordering::Relaxed);
        ensure!(begun >= wanted, "{begun}");
        Ok(())
    })
    .await;
}

/// Waits until the process has ended: until then the system still accepts connections for it.
async fn is_gone(pid: i32) -> Result<()> {
    let gone = async {
        while Path::new("/proc").join(pid.to_string()).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    Ok(tokio::time::timeout(Duration::from_secs(5), gone).await?)
}

/// Waits until some request of ours has reached this replica.
async fn wait_for_requests(platform: &Platform, control_plane: &str) {
    let answered = || async {
        let metrics = platform.metrics_of(control_plane).await?;
        let line = metrics.lines().find(|line| {
            line.starts_with("railhead_http_request_duration_seconds_count")
                && line.contains(r#"route="/v1/me""#)
        });
        let count = line
            .and_then(|line| line.rsplit_once(' '))
            .map(|(_, n)| n.to_owned());
        anyhow::Ok(count.unwrap_or_default())
    };
    let before = answered().await.unwrap_or_default();
    wait::until(&format!("requests at {control_plane}"), LIMIT, || async {
        ensure!(answered().await? != before, "none yet");
        Ok(())
    })
    .await;
}
