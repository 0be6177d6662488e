//! Whose services suffer.

use std::collections::BTreeMap;

use anyhow::Result;
use api::deployment::Deployment;
use chaos::release_command;
use e2e::{
    edge::Edge,
    platform::{Fixture, Platform},
};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::extent::Extent;
use crate::support::{REGIONS, first_deployment};

/// So that `verifying` lasts.
const WARM_UP_SECONDS: u32 = 3;

pub struct Tenants {
    /// Built from git, and back, in turn; it takes some seconds until it is ready.
    pub built: Fixture,
    /// Scaled and redeployed in turn; its release command takes some seconds, and so does it until it is ready.
    pub scaled: Fixture,
    /// Each in one region.
    pub redeployed: Vec<Fixture>,
}

impl Tenants {
    /// All of them, each with a first deployment.
    pub async fn deployed(platform: &Platform, extent: &Extent) -> Result<Self> {
        let (built, scaled) = tokio::try_join!(built(platform, extent), scaled(platform, extent))?;
        let mut redeployed = Vec::new();
        for region in REGIONS.into_iter().cycle().take(extent.redeployed) {
            redeployed.push(tenant(platform, extent, &[region]).await?);
        }
        Ok(Self {
            built,
            scaled,
            redeployed,
        })
    }

    /// Where the two that are in both regions are asked.
    pub fn edges(&self, platform: &Platform) -> Vec<Edge> {
        let hosts = [&self.built.host, &self.scaled.host];
        hosts.map(|host| platform.edges(host)).concat()
    }

    /// The newest deployment of each, that of `built` first.
    pub async fn deployments(&self, platform: &Platform) -> Result<Vec<Deployment>> {
        let services = self.all().map(|tenant| tenant.service.id);
        try_join_all(services.map(|service| platform.newest_deployment(service))).await
    }

    pub async fn delete(&self, platform: &Platform) -> Result<()> {
        for tenant in self.all() {
            platform.delete(tenant).await?;
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Fixture> {
        [&self.built, &self.scaled]
            .into_iter()
            .chain(&self.redeployed)
    }
}

async fn tenant(platform: &Platform, extent: &Extent, regions: &[&str]) -> Result<Fixture> {
    let mut spec = extent.spec(platform);
    spec["scale"]["regions"] = one_in_each(regions);
    let fixture = platform.fixture("web", spec).await?;
    first_deployment(platform, &fixture, regions).await?;
    Ok(fixture)
}

fn one_in_each(regions: &[&str]) -> Value {
    let one_each = regions.iter().map(|region| (*region, 1));
    json!(one_each.collect::<BTreeMap<_, _>>())
}

async fn built(platform: &Platform, extent: &Extent) -> Result<Fixture> {
    let mut spec = extent.spec(platform);
    spec["scale"]["regions"] = one_in_each(&REGIONS);
    slow(platform, spec).await
}

async fn scaled(platform: &Platform, extent: &Extent) -> Result<Fixture> {
    let mut spec = extent.spec(platform);
    spec["deploy"]["pre_deploy_command"] = release_command::command();
    slow(platform, spec).await
}

/// Deployed in both regions, and ready only after a while.
async fn slow(platform: &Platform, mut spec: Value) -> Result<Fixture> {
    spec["deploy"]["readiness"]["path"] = json!("/ready");
    let fixture = platform.fixture("web", spec).await?;
    let path = format!(
        "/v1/services/{}/variables/HELLO_WARM_UP_SECONDS",
        fixture.service.id
    );
    let value = json!({ "value": WARM_UP_SECONDS.to_string() });
    let _: Value = platform.client.put(&path, &value).await?;
    first_deployment(platform, &fixture, &REGIONS).await?;
    Ok(fixture)
}
