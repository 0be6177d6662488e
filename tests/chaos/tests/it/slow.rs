//! A region whose way to the control plane is slow, or breaks every few seconds: changes take longer and
//! come to their end, and no request fails.

use std::time::Duration;

use anyhow::{Result, ensure};
use api::deployment::DeploymentSource;
use chaos::scale::{self, Scale};
use e2e::{
    fault::{Conditions, Detour},
    platform::Platform,
};
use rand::seq::IndexedRandom as _;
use tokio::time::interval;

use crate::support::{converged, deployed, load};

const RESET_EVERY: Duration = Duration::from_secs(3);
const CONVERGED_WITHIN: Duration = Duration::from_secs(30);
const REQUESTS_AT_LEAST: usize = 100;

#[derive(Debug, Clone, Copy)]
enum Line {
    /// 300 ms each way, give or take 100.
    Slow,
    /// Reset every few seconds.
    Breaking,
}

#[tokio::test]
async fn a_region_behind_a_bad_line_takes_part_in_every_change() -> Result<()> {
    let seed = scale::seed();
    println!("RAILHEAD_CHAOS_SEED={seed}");
    let platform = Platform::running().await?;
    let fixture = deployed(&platform).await?;
    let lines = [Line::Slow, Line::Breaking];
    let count = Scale::of_this_run().of(lines.len());
    for line in lines.sample(&mut scale::choices(seed), count) {
        println!("{line:?}");
        let load = load(&platform, &fixture);
        let detour = Detour::open(&platform, "eu-west").await?;
        if matches!(line, Line::Slow) {
            let ms = Duration::from_millis;
            detour.proxy.set(Conditions::delayed(ms(300), ms(100)));
        }
        let before = detour.proxy.observed();
        tokio::select! {
            changed = platform.deploy(fixture.service.id, Some(DeploymentSource::Current)) => changed.map(drop)?,
            () = breaking(&detour, *line) => {}
        }
        let after = detour.proxy.observed();
        ensure!(
            after.bytes_to_client > before.bytes_to_client,
            "an invalid run: nothing came through the bad line"
        );
        drop(detour);
        converged(&platform, &fixture, CONVERGED_WITHIN).await?;
        load.stop().await.assert_none_failed(REQUESTS_AT_LEAST);
    }
    platform.delete(&fixture).await
}

/// Resets every connection again and again, where that is what the line does.
async fn breaking(detour: &Detour, line: Line) {
    let mut ticks = interval(RESET_EVERY);
    loop {
        ticks.tick().await;
        if matches!(line, Line::Breaking) {
            detour.proxy.reset();
        }
    }
}
