//! The rollout of a change that the platform makes by itself, for operators.

use api::rollout::{DecideRollout, Rollout, RolloutEdge, RolloutRing, RolloutState};
use serde_json::json;

use crate::store::{
    rollout::{self, EdgeView, Progress, RingView},
    tx::Access,
};

use super::{Action, Context, Error, authorize_platform};

/// Where each ring stands.
///
/// # Errors
/// When not allowed.
pub async fn get(context: &Context) -> Result<Rollout, Error> {
    let grant = authorize_platform(context, Action::RolloutGet)?;
    shown(&mut grant.read(context).await?).await
}

/// Stops it, and takes the rings that have the newest version back to the one before; nothing changes
/// when it is stopped already.
///
/// # Errors
/// When not allowed.
pub async fn stop(context: &Context, request: DecideRollout) -> Result<Rollout, Error> {
    let grant = authorize_platform(context, Action::RolloutStop)?;
    let reason = checked(&request)?;
    let mut tx = grant.mutate(context).await?;
    let version = rollout::find(&mut tx).await?.version;
    rollout::stop(&mut tx, version, &format!("an operator: {reason}")).await?;
    let rollout = shown(&mut tx).await?;
    let entry = context.did_with(
        grant.action,
        "rollout",
        json!({ "version": version, "reason": reason }),
    );
    context.commit(tx, entry, &[]).await?;
    Ok(rollout)
}

/// Begins a stopped one again, with the first ring; nothing changes when it is not stopped.
///
/// # Errors
/// When not allowed.
pub async fn resume(context: &Context, request: DecideRollout) -> Result<Rollout, Error> {
    let grant = authorize_platform(context, Action::RolloutResume)?;
    let reason = checked(&request)?;
    let mut tx = grant.mutate(context).await?;
    rollout::resume(&mut tx).await?;
    let rollout = shown(&mut tx).await?;
    let detail = json!({ "version": rollout.version, "reason": reason });
    let entry = context.did_with(grant.action, "rollout", detail);
    context.commit(tx, entry, &[]).await?;
    Ok(rollout)
}

fn checked(request: &DecideRollout) -> Result<&str, Error> {
    let reason = request.reason.trim();
    if reason.is_empty() || reason.len() > 1_000 {
        return Err(Error::field(
            "reason",
            "must say why, in at most 1,000 characters",
        ));
    }
    Ok(reason)
}

async fn shown(tx: &mut impl Access) -> Result<Rollout, Error> {
    let found = rollout::find(tx).await?;
    Ok(Rollout {
        version: found.version,
        state: match found.state {
            Progress::Running => RolloutState::Running,
            Progress::Done => RolloutState::Done,
            Progress::Stopped => RolloutState::Stopped,
        },
        problem: found.problem,
        since: found.since,
        rings: rollout::rings(tx).await?.into_iter().map(ring).collect(),
    })
}

fn ring(view: RingView) -> RolloutRing {
    RolloutRing {
        ring: view.ring,
        version: view.version,
        rendered_at: view.rendered_at,
        soaking_since: view.soaking_since,
        edges: view.edges.into_iter().map(edge).collect(),
    }
}

fn edge(view: EdgeView) -> RolloutEdge {
    RolloutEdge {
        node_id: view.node,
        name: view.name,
        late: view.late,
        applied: view.applied,
        requests: view.after.requests,
        failed: view.after.failed,
        unrouted: view.after.unrouted,
        items_refused: view.after.items_refused,
    }
}
