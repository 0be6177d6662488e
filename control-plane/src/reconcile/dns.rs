//! Keeps the platform's names leading to the edges that answer. While the database is not known to be the newest
//! nothing is changed: edges that it does not know serve on.

use std::{
    collections::BTreeSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use prometheus::{IntCounterVec, IntGauge, Opts};

use super::{Context, Error};
use crate::{
    dns::{Zone, goal::Edge, record::Key, zone::Outcome},
    store::{self, dns::EdgeAddress, epoch, tx::SystemTx},
};

struct Metrics {
    changes: IntCounterVec,
    kept: IntGauge,
    foreign: IntGauge,
    /// What was said of sets that stay as they are.
    told: Mutex<BTreeSet<Key>>,
}

#[allow(clippy::expect_used)]
static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    const NAMES: &str = "the names here are well-formed";
    let changes = Opts::new(
        "railhead_dns_changes_total",
        "Record sets that were changed in the platform's zone.",
    );
    let metrics = Metrics {
        changes: IntCounterVec::new(changes, &["action"]).expect(NAMES),
        kept: IntGauge::new(
            "railhead_dns_kept_sets",
            "Record sets that stay as they are, as no edge of theirs is heard.",
        )
        .expect(NAMES),
        foreign: IntGauge::new(
            "railhead_dns_foreign_names",
            "Names that are left alone, as they have records that are not the platform's.",
        )
        .expect(NAMES),
        told: Mutex::default(),
    };
    for action in ["create", "replace", "delete"] {
        metrics.changes.with_label_values(&[action]);
    }
    let registry = telemetry::metrics::registry();
    let registered = registry
        .register(Box::new(metrics.changes.clone()))
        .and_then(|()| registry.register(Box::new(metrics.kept.clone())))
        .and_then(|()| registry.register(Box::new(metrics.foreign.clone())));
    if let Err(error) = registered {
        tracing::error!(%error, "the metrics of the platform's zone are not served");
    }
    metrics
});

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let Some(zone) = &context.state.zone else {
        return Ok(());
    };
    let Some(edges) = edges(&context).await? else {
        return Ok(());
    };
    let outcome = reconcile(zone, &edges).await?;
    Ok(outcome.verdict()?)
}

async fn reconcile(zone: &Zone, edges: &[Edge]) -> Result<Outcome, Error> {
    let outcome = zone.reconcile(edges).await?;
    for change in &outcome.changes {
        METRICS.changes.with_label_values(&[change.action()]).inc();
        tracing::info!(zone = zone.name(), %change, "a record set of the platform's zone was changed");
    }
    if outcome.was_looked_at {
        METRICS.kept.set(count(outcome.kept.len()));
        METRICS.foreign.set(count(outcome.foreign.len()));
        tell_kept(&outcome);
    }
    Ok(outcome)
}

/// Once for each, for as long as it stays so.
fn tell_kept(outcome: &Outcome) {
    let now: BTreeSet<Key> = outcome.kept.iter().cloned().collect();
    let mut told = METRICS.told.lock().unwrap_or_else(PoisonError::into_inner);
    for key in now.difference(&told) {
        tracing::warn!(%key, "no edge of this record set is heard: it keeps the addresses that it has");
    }
    *told = now;
}

fn count(many: usize) -> i64 {
    i64::try_from(many).unwrap_or(i64::MAX)
}

/// None while an operator has to say whether the database is the true one.
async fn edges(context: &Context) -> Result<Option<Vec<Edge>>, Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    if epoch::shown(&mut tx).await?.is_some() {
        return Ok(None);
    }
    let edges = store::dns::edges(&mut tx).await?.into_iter();
    Ok(Some(edges.filter_map(edge).collect()))
}

/// An edge that listens at every address of its machine says none that users could go to.
fn edge(stored: EdgeAddress) -> Option<Edge> {
    let EdgeAddress {
        region,
        address,
        is_live,
    } = stored;
    if address.is_unspecified() || address.is_multicast() {
        tracing::debug!(%region, %address, "an edge has no address for DNS: listen_https must name one");
        return None;
    }
    Some(Edge {
        region,
        address,
        is_live,
    })
}
