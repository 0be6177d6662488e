//! Brings a new version of rendering to edges ring by ring (docs/adr/0018): canary, region, all.
//!
//! Every edge follows the feeds of one ring, which an operator chooses (`all` unless said otherwise).
//! What a tenant changes is written to all rings in one transaction, in each rendered in the version
//! that the ring is at. What the platform changes by itself is a new [`Rendering`] version: a program
//! that knows a newer one than the rings are at begins a rollout. A ring's turn is: its version is
//! raised and noted how its edges have fared; all its items are rendered anew; its edges apply them; they
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
pub(super) use metrics::watch;

use chrono::{DateTime, Utc};
use domain::{quantity::Span, ring::Ring};

use super::{Context, Error, platform_routes, routes};
use crate::{
    store::{
        self, epoch, feed,
        rollout::{self, Progress, RingView},
        tx::SystemTx,
    },
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let Some(view) = load(&context).await? else {
        return Ok(());
    };
    for action in decide(&view) {
        apply(&context, &view, action).await?;
        context.state.waker.wake(Topic::Feeds);
    }
    Ok(())
}

/// Nothing while it is open which history counts: what edges have applied may be of the other one.
async fn load(context: &Context) -> Result<Option<View>, Error> {
    let state = &context.state;
    let mut tx = SystemTx::begin(&state.pools).await?;
    epoch::follow_timeline(&mut tx).await?;
    let is_open = epoch::shown(&mut tx).await?.is_some();
    let (newest, soak) = (state.rendering.version, state.config.rollout.soak);
    let view = look(&mut tx, newest, soak).await?;
    tx.commit().await?;
    Ok((!is_open).then_some(view))
}

/// What a program that knows this version has to decide by.
///
/// # Errors
/// When the database can't be read.
pub async fn look(tx: &mut SystemTx, newest: i32, soak: Span) -> Result<View, store::Error> {
    Ok(View {
        newest,
        epoch: feed::epoch(tx).await?,
        rollout: rollout::find(tx).await?,
        rings: rollout::rings(tx).await?,
        soak,
        now: rollout::now(tx).await?,
    })
}

async fn apply(context: &Context, view: &View, action: Action) -> Result<(), Error> {
    if let Action::Render(_) = action {
        render_all(context).await?;
    }
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    if write(&mut tx, view, &action).await? {
        tx.commit().await?;
        tell(view, &action);
    }
    Ok(())
}

/// Writes a step, unless the rollout has become another one since it was looked at; whether it was written.
///
/// # Errors
/// When the database refuses it.
pub async fn write(tx: &mut SystemTx, view: &View, action: &Action) -> Result<bool, store::Error> {
    if !rollout::hold(tx, &view.rollout, view.epoch).await? {
        return Ok(false);
    }
    let version = view.rollout.version;
    match action {
        Action::BeginAnew => rollout::begin_anew(tx, &view.rollout, view.epoch).await?,
        Action::Start => rollout::start(tx, &view.rollout, view.newest).await?,
        Action::Advance(ring) => {
            rollout::advance(tx, *ring, view.version_of(*ring), version).await?;
        }
        Action::Render(ring) => rollout::rendered(tx, *ring, view.version_of(*ring)).await?,
        Action::Soak(ring) => {
            rollout::soak(tx, *ring, view.version_of(*ring), view.soaking_since(*ring)).await?;
        }
        Action::Count(ring) => rollout::count(tx, *ring, view.version_of(*ring)).await?,
        Action::Stop(problem) => rollout::stop(tx, version, problem).await?,
        Action::Finish => rollout::finish(tx, version).await?,
    }
    Ok(true)
}

fn tell(view: &View, action: &Action) {
    let version = view.rollout.version;
    match action {
        Action::BeginAnew if view.rollout.state == Progress::Running => {
            tracing::warn!(
                version,
                "a new epoch has begun: the version is brought to the first ring again"
            );
        }
        Action::Start => {
            let version = view.newest;
            tracing::info!(
                version,
                "routes are rendered in a new version, ring by ring"
            );
            if view.has_no_canary() {
                tracing::warn!(
                    "all edges are in one ring: put one into canary (railhead node ring), or a mistake reaches them all at once"
                );
            }
        }
        Action::Advance(ring) => tracing::info!(%ring, version, "it is a ring's turn"),
        Action::Soak(ring) if view.soaking_since(*ring).is_some() => tracing::warn!(
            %ring,
            version,
            "an edge of the ring has started again: its soak time begins anew"
        ),
        Action::BeginAnew | Action::Render(_) | Action::Soak(_) | Action::Count(_) => {}
        Action::Stop(problem) => tracing::error!(
            version,
            problem,
            "the rollout stops and goes back; look at the edge, then railhead rollout resume"
        ),
        Action::Finish => tracing::info!(version, "every ring has the new version"),
    }
}

/// Writes every item in the version that its ring is at.
async fn render_all(context: &Context) -> Result<(), Error> {
    platform_routes::write(context).await?;
    routes::refresh_all(context).await
}

impl View {
    /// Whether several edges get a version at once, before any other has shown what it is worth.
    fn has_no_canary(&self) -> bool {
        let with_edges = self.rings.iter().filter(|ring| !ring.edges.is_empty());
        let edges: usize = with_edges.clone().map(|ring| ring.edges.len()).sum();
        edges > 1 && with_edges.count() == 1
    }

    /// What a ring was at.
    #[must_use]
    pub fn version_of(&self, ring: Ring) -> i32 {
        self.ring(ring).map_or(0, |view| view.version)
    }

    /// Since when a ring's edges served.
    #[must_use]
    pub fn soaking_since(&self, ring: Ring) -> Option<DateTime<Utc>> {
        self.ring(ring)?.soaking_since
    }

    fn ring(&self, ring: Ring) -> Option<&RingView> {
        self.rings.iter().find(|view| view.ring == ring)
    }
}
