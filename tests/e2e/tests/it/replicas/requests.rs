//! What users of the API notice of a replica that goes: of one that is killed little, of one that is told to end
//! nothing.

use std::{
    ops::RangeInclusive,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use api::{deployment::DeploymentState as Step, platform::PlatformStatus};
use e2e::{platform::Platform, wait};
use nix::sys::signal::Signal;

use super::{LIMIT, comes_to, is_live_and_all_was_done_once};
use crate::support::hello;

/// Nobody waits until the leases of a replica have run out that ends in good order.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(2);
const CLIENTS: usize = 4;

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

    fn was_in_flight(&self, during: &RangeInclusive<Instant>) -> bool {
        self.began <= *during.end() && self.ended >= *during.start()
    }

    fn beside(&self, kill: &RangeInclusive<Instant>) -> String {
        format!(
            "from {:?} before the kill to {:?} after it: {}",
            kill.start().saturating_duration_since(self.began),
            self.ended.saturating_duration_since(*kill.end()),
            self.answer
        )
    }
}

/// What failed, but for what was in flight while a replica was killed.
fn failed<'a>(asked: &'a [Asked], kill: &RangeInclusive<Instant>) -> Vec<&'a Asked> {
    let failed = asked.iter().filter(|asked| !asked.is_answered());
    failed.filter(|asked| !asked.was_in_flight(kill)).collect()
}

/// Clients of the API that ask until they are told to stop, and how often they have.
#[derive(Default)]
struct Asking {
    begun: AtomicUsize,
    over: AtomicBool,
}

impl Asking {
    /// What was asked while something was done.
    async fn during<T>(
        &self,
        platform: &Platform,
        doing: impl Future<Output = Result<T>>,
    ) -> Result<(Vec<Asked>, T)> {
        self.over.store(false, Ordering::Relaxed);
        let clients = futures::future::try_join_all((0..CLIENTS).map(|_| ask(platform, self)));
        let doing = async {
            let done = doing.await;
            self.over.store(true, Ordering::Relaxed);
            done
        };
        let (asked, done) = tokio::join!(clients, doing);
        Ok((asked?.into_iter().flatten().collect(), done?))
    }

    async fn have_begun(&self, more: usize) {
        let wanted = self.begun.load(Ordering::Relaxed) + more;
        wait::until(&format!("{more} more requests"), LIMIT, || async {
            let begun = self.begun.load(Ordering::Relaxed);
            ensure!(begun >= wanted, "{begun} of {wanted}");
            Ok(())
        })
        .await;
    }
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
    let working = platform.working_control_plane().await?;
    for victim in &all {
        let asking = Asking::default();
        let strike = async {
            // The balancer sends to both, also to the one that was killed before.
            for control_plane in &all {
                wait_for_requests(&platform, control_plane).await;
            }
            let killed_after = Instant::now();
            let pid = platform.kill(victim).await?;
            is_gone(pid).await?;
            let (killed_before, gone) = (Instant::now(), SystemTime::now());
            if *victim == working {
                // What `one_that_is_told_to_end…` would see if leases were not given back.
                let took = next_turn(&platform, &all, gone).await?;
                assert!(took > HANDED_OVER_WITHIN, "the next turn after {took:?}");
            }
            asking.have_begun(40).await;
            platform.wait_ready(victim, Some(pid)).await;
            Ok(killed_after..=killed_before)
        };
        let (asked, kill) = asking.during(&platform, strike).await?;
        let failed = failed(&asked, &kill).into_iter();
        let failed: Vec<_> = failed.map(|failed| failed.beside(&kill)).collect();
        assert_eq!(failed, [""; 0], "{victim}: not in flight");
    }
    Ok(())
}

#[tokio::test]
async fn one_that_is_told_to_end_hands_over_without_a_failed_request() -> Result<()> {
    let platform = Platform::alone().await?;
    let all = platform.control_planes();
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let victim = platform.working_control_plane().await?;
    let others: Vec<_> = all
        .iter()
        .filter(|name| **name != victim)
        .cloned()
        .collect();
    let begun = platform.begin(fixture.service.id, None).await?;
    comes_to(&platform, &begun, Step::Building).await;
    let asking = Asking::default();
    let strike = async {
        for control_plane in &all {
            wait_for_requests(&platform, control_plane).await;
        }
        let before = status(&platform).await?;
        let pid = platform.signal(&victim, Signal::SIGTERM).await?;
        let took = next_turn(&platform, &others, SystemTime::now()).await?;
        let after = status(&platform).await?;
        is_gone(pid).await?;
        asking.have_begun(20).await;
        platform.wait_ready(&victim, Some(pid)).await;
        Ok((took, before, after))
    };
    let (asked, (took, before, after)) = asking.during(&platform, strike).await?;
    assert!(took <= HANDED_OVER_WITHIN, "the next turn after {took:?}");
    assert_eq!(kept(&before, &after), Vec::<String>::new());
    let failed = asked.iter().filter(|asked| !asked.is_answered());
    let failed: Vec<_> = failed.map(|failed| &failed.answer).collect();
    assert_eq!(failed, [""; 0], "of {}", asked.len());
    is_live_and_all_was_done_once(&platform, &fixture, &begun).await?;
    platform.delete(&fixture).await
}

async fn status(platform: &Platform) -> Result<PlatformStatus> {
    Ok(platform.client.get("/v1/platform/status").await?)
}

/// The reconcilers whose lease is still held by who led deployments before.
fn kept(before: &PlatformStatus, after: &PlatformStatus) -> Vec<String> {
    let led = before.reconcilers.iter().find(|r| r.name == "deployments");
    let gone = led.expect("deployments are led").holder;
    let kept = after.reconcilers.iter();
    let kept = kept.filter(|r| r.holder == gone && r.lease_expires_at.is_some());
    kept.map(|reconciler| reconciler.name.clone()).collect()
}

/// How long after a moment one of these replicas moved deployments for the first time.
async fn next_turn(platform: &Platform, among: &[String], since: SystemTime) -> Result<Duration> {
    let since = since.duration_since(UNIX_EPOCH)?;
    let next = wait::until("the next turn", LIMIT, || async {
        for name in among {
            // One that was just killed does not answer.
            let turn = platform.last_turn(name).await.unwrap_or_default();
            if let Some(after) = turn.checked_sub(since).filter(|after| !after.is_zero()) {
                return Ok(after);
            }
        }
        anyhow::bail!("none yet")
    });
    Ok(next.await)
}

/// Waits until the process has ended: until then the system still accepts connections for it.
async fn is_gone(pid: i32) -> Result<()> {
    let gone = async {
        while Path::new("/proc").join(pid.to_string()).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(5), gone).await;
    gone.with_context(|| format!("process {pid} is still there"))
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

#[test]
fn only_what_is_in_flight_at_a_replica_that_is_killed_may_fail() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let ask = |began, ended, answer: &str| Asked {
        began: at(began),
        ended: at(ended),
        answer: answer.to_owned(),
    };
    let asked = [
        ask(0, 1, "200"),
        ask(0, 2, "before"),
        ask(1, 3, "as it began"),
        ask(3, 4, "within"),
        ask(5, 9, "as it ended"),
        ask(6, 7, "after"),
    ];
    let failed = failed(&asked, &(at(3)..=at(5))).into_iter();
    let failed: Vec<_> = failed.map(|failed| &failed.answer).collect();
    assert_eq!(failed, ["before", "after"]);
}
