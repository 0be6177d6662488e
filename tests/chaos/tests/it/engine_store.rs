//! An engine with what a kill amid the removal of a network leaves, at which Docker 20.10 and 23.0 panic at every start
//! (docs/adr/0041): it comes back by itself, and what ran goes on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use chaos::{engine, history::History, judge::Demands};
use e2e::{example::answers_from, platform::Platform};

use crate::support::{CONVERGED_WITHIN, converged, deployed, judge_all, load, told};

const REGION: &str = "us-east";
const ENGINE: &str = "us-east-engine";
const NETWORK: &str = "chaos-cut-off";
/// As `agent start-engine` says it. Docker 24 and later would come back without.
const REPAIRED: &str = "the engine can go on with it";
const DEMANDS: Demands = Demands {
    requests: 30,
    deployments: 2,
    live: 2,
    kills: 0,
    phases: &[],
};

#[tokio::test]
async fn an_engine_killed_amid_the_removal_of_a_network_comes_back_with_all_that_ran() -> Result<()>
{
    let platform = Platform::alone().await?;
    let fixture = deployed(&platform).await?;
    let first = platform.newest_deployment(fixture.service.id).await?;
    let before = engine::running(&platform).await?;
    let load = load(&platform, &fixture);
    engine::create_network(&platform, REGION, NETWORK).await?;

    platform.kill_and_hold(ENGINE).await?;
    cut_off_removal(&store(&platform)?)?;
    let said = log(&platform)?.len();
    platform.bring_back(ENGINE).await?;

    let log = log(&platform)?;
    let since = log.get(said..).context("the engine's log was cut off")?;
    ensure!(since.contains(REPAIRED), "nothing was repaired: {since}");

    let networks = engine::networks(&platform, REGION).await?;
    ensure!(
        !networks.contains(&NETWORK.to_owned()),
        "the removal was not ended: {networks:?}"
    );
    assert_eq!(engine::running(&platform).await?, before);
    answers_from(&platform.edge(REGION, &fixture.host), REGION).await;
    let requests = load.stop().await.records;
    let second = platform.deploy(fixture.service.id, None).await?;
    converged(&platform, &fixture, CONVERGED_WITHIN).await?;
    let history = History {
        deployments: [&first, &second].map(told).to_vec(),
        requests,
        ..History::default()
    };
    judge_all(&platform, &fixture, &history, DEMANDS).await?;
    platform.delete(&fixture).await
}

fn store(platform: &Platform) -> Result<PathBuf> {
    let folder = platform.data()?.join(REGION);
    Ok(folder.join("docker/network/files/local-kv.db"))
}

fn log(platform: &Platform) -> Result<String> {
    let file = platform.data()?.join("log").join(format!("{ENGINE}.log"));
    fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}

/// The network's addresses are given back, and it is not removed yet: what Docker writes in between. In place, so
/// that nothing else of the store changes.
fn cut_off_removal(store: &Path) -> Result<()> {
    let mut bytes = fs::read(store).with_context(|| format!("reading {}", store.display()))?;
    let name = format!(r#""name":"{NETWORK}""#);
    // Pages that are free hold older copies, whole or not, and nobody reads them.
    let ends: Vec<_> = positions(&bytes, name.as_bytes()).collect();
    let mut changed = 0;
    for end in ends {
        let begin = positions(&bytes[..end], br#"{"addrSpace""#).last();
        let record = &mut bytes[begin.context("no begin of the record")?..end];
        let is_whole = positions(record, br#""name":""#).next().is_none();
        let sound = positions(record, br#""inDelete":false"#).next();
        let addresses = positions(record, br#""ipamV4Info""#).next();
        if let (true, Some(sound), Some(addresses)) = (is_whole, sound, addresses) {
            replace(record, sound, br#""inDelete":true "#);
            replace(record, addresses, br#""ipamV4None""#);
            changed += 1;
        }
    }
    ensure!(changed > 0, "no record of the network");
    fs::write(store, bytes).with_context(|| format!("writing {}", store.display()))
}

fn replace(bytes: &mut [u8], at: usize, by: &[u8]) {
    bytes[at..at + by.len()].copy_from_slice(by);
}

fn positions<'a>(bytes: &'a [u8], what: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let windows = bytes.windows(what.len()).enumerate();
    windows
        .filter(move |(_, window)| *window == what)
        .map(|(at, _)| at)
}
