//! A region whose way to the control plane is slow, or breaks every few seconds.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{
    fault::{Conditions, Detour, Observed},
    platform::Platform,
};
use tokio::time::{Instant, sleep};

const RESET_EVERY: Duration = Duration::from_secs(3);

pub struct BadLine {
    detour: Option<Detour>,
    before: Observed,
    breaks: bool,
}

impl BadLine {
    pub async fn slow(platform: &Platform, region: &str) -> Result<Self> {
        let line = Self::of(platform, region, false).await?;
        if let Some(detour) = &line.detour {
            let ms = Duration::from_millis;
            detour.proxy.set(Conditions::delayed(ms(300), ms(100)));
        }
        Ok(line)
    }

    pub async fn breaking(platform: &Platform, region: &str) -> Result<Self> {
        Self::of(platform, region, true).await
    }

    async fn of(platform: &Platform, region: &str, breaks: bool) -> Result<Self> {
        let detour = Detour::open(platform, region).await?;
        Ok(Self {
            before: detour.proxy.observed(),
            detour: Some(detour),
            breaks,
        })
    }

    pub async fn last(&self, lasts: Duration) {
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            sleep(RESET_EVERY).await;
            if let Some(detour) = self.detour.as_ref().filter(|_| self.breaks) {
                detour.proxy.reset();
            }
        }
    }

    pub fn heal(&mut self) -> Result<()> {
        let Some(detour) = self.detour.take() else {
            return Ok(());
        };
        let after = detour.proxy.observed();
        ensure!(
            after.bytes_to_client > self.before.bytes_to_client
                && (!self.breaks || after.accepted > self.before.accepted + 2),
            "an invalid run: {:?} and then {after:?}",
            self.before
        );
        Ok(())
    }
}
