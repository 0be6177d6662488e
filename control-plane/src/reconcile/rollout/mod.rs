//! Brings a new version of rendering to edges ring by ring (docs/adr/0018): canary, region, all.
//!
//! Every edge follows the feeds of one ring, which an operator chooses (`all` unless said otherwise).
//! What a tenant changes is written to all rings in one transaction, in each rendered in the version
//! that the ring is at. What the platform changes by itself is a new [`Rendering`] version: a program
//! that knows a newer one than the rings are at begins a rollout. A ring's turn is: its version is
//! raised and its edges' counters noted; all its items are rendered anew; its edges apply them; they
//! serve for the soak time. Then the next ring's turn comes. A ring without edges teaches nothing and
//! is passed; so with one edge per region, one of them belongs into `canary`.
//!
//! When an edge of a ring that has the version refuses items, fails more requests than before or
//! finds fewer hosts, the rollout stops: its rings go back to the version before (a program renders
//! both), and nothing moves until an operator resumes it or a newer version comes. Facts are not
//! rolled out: a node's address, a certificate and an expulsion are in all rings at once, because an
//! edge without them serves wrongly.
//!
//! [`Rendering`]: crate::feed::route::Rendering

mod decide;
mod metrics;

pub use decide::{Action, View, decide};

use super::{Context, Error, platform_routes, routes};
use crate::{
    store::{
        rollout::{self, RingView},
        tx::SystemTx,
    },
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let view = load(&context).await?;
    metrics::show(&view);
    for action in decide(&view) {
        apply(&context, &view, action).await?;
        context.state.waker.wake(Topic::Feeds);
    }
    Ok(())
}

async fn load(context: &Context) -> Result<View, Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    Ok(View {
        newest: context.state.rendering.version,
        rollout: rollout::find(&mut tx).await?,
        rings: rollout::rings(&mut tx).await?,
        soak: context.state.config.rollout.soak,
        now: rollout::now(&mut tx).await?,
    })
}

async fn apply(context: &Context, view: &View, action: Action) -> Result<(), Error> {
    let version = view.rollout.version;
    if let Action::Render(_) = action {
        render_all(context).await?;
    }
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    match action {
        Action::Start => {
            tracing::info!(
                version = view.newest,
                "routes are rendered in a new version, ring by ring"
            );
            if view.edges() > 1
                && view
                    .rings
                    .iter()
                    .filter(|ring| !ring.edges.is_empty())
                    .count()
                    == 1
            {
                tracing::warn!(
                    "all edges are in one ring: put one into canary (railhead node ring), or a mistake reaches them all at once"
                );
            }
            rollout::start(&mut tx, view.newest).await?;
        }
        Action::Advance(ring) => {
            tracing::info!(%ring, version, "it is a ring's turn");
            let from = view.version_of(ring);
            rollout::advance(&mut tx, ring, from, version).await?;
        }
        Action::Render(ring) => rollout::rendered(&mut tx, ring, view.version_of(ring)).await?,
        Action::Soak(ring) => rollout::soak(&mut tx, ring, version).await?,
        Action::Stop(problem) => {
            tracing::error!(
                version,
                problem,
                "the rollout stops and goes back; look at the edge, then railhead rollout resume"
            );
            rollout::stop(&mut tx, version, &problem).await?;
        }
        Action::Finish => {
            tracing::info!(version, "every ring has the new version");
            rollout::finish(&mut tx, version).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Writes every item in the version that its ring is at.
async fn render_all(context: &Context) -> Result<(), Error> {
    platform_routes::write(context).await?;
    routes::refresh_all(context).await
}

impl View {
    fn edges(&self) -> usize {
        self.rings.iter().map(|ring| ring.edges.len()).sum()
    }

    fn version_of(&self, ring: domain::ring::Ring) -> i32 {
        let found = self.rings.iter().find(|view: &&RingView| view.ring == ring);
        found.map_or(0, |view| view.version)
    }
}
