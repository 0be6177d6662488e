//! The next step of a rollout, from how rings and edges stand. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{generation::Epoch, quantity::Span, ring::Ring};

use crate::store::rollout::{Counts, EdgeView, Progress, RingView, Rollout};

/// An edge that is there has applied what its ring was rendered to after this long, or never will.
const APPLY: TimeDelta = TimeDelta::minutes(15);

/// So few bad requests say nothing about a version.
const BAD_MIN: i64 = 10;

/// A share of bad requests may be twice what it was, and this much more (1 %).
const SHARE_MORE: f64 = 0.01;

/// What a rollout is decided by.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The newest version that this program renders.
    pub newest: i32,
    /// The platform's.
    pub epoch: Epoch,
    pub rollout: Rollout,
    /// In the order of the rollout.
    pub rings: Vec<RingView>,
    /// So long a ring's edges serve well before the next ring's turn.
    pub soak: Span,
    pub now: DateTime<Utc>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// An epoch has begun: edges say anew what they have, and a running rollout begins with its first ring again.
    BeginAnew,
    /// Begin to bring this program's version to the rings.
    Start,
    /// It is this ring's turn.
    Advance(Ring),
    /// Write the ring's items in the version that it is at.
    Render(Ring),
    /// The ring's edges serve by the version that it is at: the soak time begins.
    Soak(Ring),
    /// They have said so much later what they have counted that it is noted: what they count from now on is by this version.
    Count(Ring),
    /// Something is wrong with an edge that has it: go back, and wait for a person.
    Stop(String),
    /// Every ring has it.
    Finish,
}

/// The next step; none while something is waited for, or when a newer program leads.
#[must_use]
pub fn decide(view: &View) -> Vec<Action> {
    let led_by_newer = view.rings.iter().any(|ring| ring.version > view.newest);
    if led_by_newer || view.rollout.version > view.newest {
        return Vec::new();
    }
    if view.rollout.epoch != view.epoch {
        return vec![Action::BeginAnew];
    }
    if view.rollout.version < view.newest {
        return vec![Action::Start];
    }
    let unwritten = view.rings.iter().find(|ring| ring.rendered_at.is_none());
    match (unwritten, view.rollout.state) {
        (Some(ring), _) => vec![Action::Render(ring.ring)],
        (None, Progress::Running) => go_on(view),
        (None, Progress::Done | Progress::Stopped) => settle(view, |_| true),
    }
}

/// The first ring of these whose edges serve by what it has and were not known to, since a new epoch or on their way back from
/// a stopped version; or the first of all whose edges have said since what they have counted.
fn settle(view: &View, of_these: impl Fn(&RingView) -> bool) -> Vec<Action> {
    let mut rings = view.rings.iter().filter(|ring| has_present_edges(ring));
    let serves =
        |ring: &&RingView| of_these(ring) && ring.soaking_since.is_none() && behind(ring).is_none();
    let has_said = |ring: &&RingView| {
        let since = ring.soaking_since.filter(|_| ring.counted_at.is_none());
        since.is_some_and(|since| have_said(ring, since))
    };
    let soak = rings
        .clone()
        .find(serves)
        .map(|ring| Action::Soak(ring.ring));
    let count = || rings.find(has_said).map(|ring| Action::Count(ring.ring));
    soak.or_else(count).into_iter().collect()
}

/// The first ring that is not through decides; while it waits, what there is to see of the others is noted.
fn go_on(view: &View) -> Vec<Action> {
    let next = next_step(view);
    if next.is_empty() {
        return settle(view, |ring| ring.version != view.rollout.version);
    }
    next
}

fn next_step(view: &View) -> Vec<Action> {
    for ring in &view.rings {
        if ring.version != view.rollout.version {
            return begin(ring, view);
        }
        match judge(ring, view) {
            Verdict::Through => {}
            Verdict::Serves => return vec![Action::Soak(ring.ring)],
            Verdict::Waits => return Vec::new(),
            Verdict::Bad(problem) => return vec![Action::Stop(problem)],
        }
    }
    vec![Action::Finish]
}

/// Its edges are compared with how they fared by what they had, for the soak time at least: those that are on their way
/// back from a stopped version have to be there first.
fn begin(ring: &RingView, view: &View) -> Vec<Action> {
    let known = ring.counted_at.is_some_and(|since| is_over(since, view));
    if has_present_edges(ring) && !known && !(behind(ring).is_some() && is_overdue(ring, view)) {
        return Vec::new();
    }
    vec![Action::Advance(ring.ring)]
}

fn is_over(soaking_since: DateTime<Utc>, view: &View) -> bool {
    view.now - soaking_since >= length(view.soak)
}

/// One that crashes by a version is not seen to fail requests: what it counted is lost with its process.
fn has_restarted(ring: &RingView) -> bool {
    let counted = ring.counted_at.is_some();
    counted && ring.edges.iter().any(|edge| !edge.late && edge.restarted)
}

/// What edges said before a time tells nothing of it: who is cut off without being late yet says nothing against a version.
fn have_said(ring: &RingView, after: DateTime<Utc>) -> bool {
    let mut present = ring.edges.iter().filter(|edge| !edge.late);
    present.all(|edge| edge.reported_at >= Some(after))
}

fn has_present_edges(ring: &RingView) -> bool {
    ring.edges.iter().any(|edge| !edge.late)
}

/// An edge that is there and does not serve by what its ring was rendered to.
fn behind(ring: &RingView) -> Option<&EdgeView> {
    let mut edges = ring.edges.iter();
    edges.find(|edge| !edge.late && !edge.applied)
}

fn is_overdue(ring: &RingView, view: &View) -> bool {
    let waited = ring.rendered_at.map(|at| view.now - at);
    waited > Some(APPLY)
}

enum Verdict {
    /// Nothing stands in the next ring's way.
    Through,
    /// Its edges serve by the version from now on.
    Serves,
    /// Edges have to apply it, or the time is not over.
    Waits,
    Bad(String),
}

fn judge(ring: &RingView, view: &View) -> Verdict {
    if let Some(problem) = ring.edges.iter().find_map(|edge| trouble(ring.ring, edge)) {
        return Verdict::Bad(problem);
    }
    match (behind(ring), ring.counted_at) {
        _ if ring.edges.is_empty() => Verdict::Through,
        (Some(edge), _) if is_overdue(ring, view) => Verdict::Bad(format!(
            "edge {} of ring {} has not applied its routes for 15 minutes although it reports",
            edge.name, ring.ring
        )),
        (Some(_), _) => Verdict::Waits,
        (None, _) if !has_present_edges(ring) => Verdict::Waits,
        (None, _) if ring.soaking_since.is_none() || has_restarted(ring) => Verdict::Serves,
        (None, Some(since))
            if is_over(since, view) && have_said(ring, since + length(view.soak)) =>
        {
            Verdict::Through
        }
        (None, _) => Verdict::Waits,
    }
}

fn length(span: Span) -> TimeDelta {
    TimeDelta::milliseconds(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

/// What an edge says against the version.
fn trouble(ring: Ring, edge: &EdgeView) -> Option<String> {
    let (before, after) = (edge.before, edge.after);
    let name = &edge.name;
    if after.items_refused > before.items_refused {
        return Some(format!(
            "edge {name} of ring {ring} can't use {} items of its routes, {} before",
            after.items_refused, before.items_refused
        ));
    }
    let worse = |bad: fn(Counts) -> i64| {
        is_worse((bad(before), before.requests), (bad(after), after.requests))
    };
    let said = |what: &str, bad: i64| {
        format!(
            "edge {name} of ring {ring} {what} {bad} of {} requests, many more than before",
            after.requests
        )
    };
    if worse(|counts| counts.failed) {
        return Some(said("failed", after.failed));
    }
    worse(|counts| counts.unrouted).then(|| said("knew no host for", after.unrouted))
}

/// Whether the share of bad ones has risen by more than chance and daily change explain.
#[allow(
    clippy::cast_precision_loss,
    reason = "shares are compared, not counts"
)]
fn is_worse(before: (i64, i64), after: (i64, i64)) -> bool {
    let share = |(bad, all): (i64, i64)| bad as f64 / all.max(1) as f64;
    after.0 >= BAD_MIN && share(after) > 2.0 * share(before) + SHARE_MORE
}

#[cfg(test)]
mod tests;
