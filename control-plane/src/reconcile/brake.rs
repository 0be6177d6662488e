//! Where the scheduler's brake holds, for alerts: what was lost in such a region waits for a person.

use std::sync::LazyLock;

use domain::name::Name;
use prometheus::{IntGaugeVec, Opts};
use scheduler::{Node, Sight};

use super::Context;
use crate::store::{self, placement, platform_status, tx::SystemTx};

#[allow(clippy::expect_used)]
static STOPPED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = Opts::new(
        "railhead_replacement_stopped",
        "So much of a region is silent that nothing of it is replaced.",
    );
    let stopped = IntGaugeVec::new(options, &["region"]).expect("a well-formed name");
    if let Err(error) = telemetry::metrics::registry().register(Box::new(stopped.clone())) {
        tracing::error!(%error, "the metrics of the scheduler's brake are not served");
    }
    stopped
});

/// Of all regions, for as long as this replica runs.
pub(super) async fn watch(context: Context) {
    let what = "how much of each region can be seen";
    super::look::again_and_again(what, || look(&context), || STOPPED.reset()).await;
}

async fn look(context: &Context) -> Result<(), store::Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let regions = platform_status::regions(&mut tx).await?;
    let agents = placement::nodes(&mut tx).await?;
    show(&regions, &agents);
    Ok(())
}

/// Alerts ask for every region from the start, also for one that has no agent yet.
fn show(regions: &[Name], agents: &[Node]) {
    let sights = Sight::by_region(agents);
    for region in regions.iter().chain(sights.keys().copied()) {
        let stopped = sights
            .get(region)
            .is_some_and(|sight| sight.stops_replacement());
        let gauge = STOPPED.with_label_values(&[region.as_str()]);
        gauge.set(stopped.into());
    }
}
