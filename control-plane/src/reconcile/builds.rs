//! Builds: each gets the agent with the fewest, becomes an item of its feed, and leaves it when it
//! has ended. A build whose node is lost begins again elsewhere; the old node's word no longer counts.

use domain::id::NodeId;
use protocol::feed::{DropCause, FeedName};

use super::{Context, Error, Turn, metrics};
use crate::{
    feed::{
        build::{item_id, put},
        route::Changes,
    },
    store::{
        self,
        build::{self, Build},
        feed::{self, Change},
        tx::SystemTx,
    },
    waker::Topic,
};

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let all = build::open(&mut SystemTx::begin(&context.state.pools).await?).await?;
    let mut turn = Turn::default();
    for (id, build) in all {
        let done = match build {
            Ok(build) => go_on(&context, &build).await,
            Err(error) => Err(error.into()),
        };
        turn.note(id, done)?;
    }
    turn.end()
}

async fn go_on(context: &Context, build: &Build) -> Result<(), Error> {
    let state = &context.state;
    let best = match wants_node(build) {
        true => best_builder(context).await?,
        false => None,
    };
    let action = decide(build, best);
    let is_assigned = matches!(action, Action::Assign(_));
    if is_assigned {
        failpoint::reach("build-decided");
    }
    let mut tx = SystemTx::begin(&state.pools).await?;
    if !apply(&mut tx, build, action, &state.config.registry.host).await? {
        metrics::refused("builds");
        return Ok(());
    }
    tx.commit().await?;
    if is_assigned {
        failpoint::reach("build-assigned");
    }
    if action != Action::Wait {
        state.waker.wake(Topic::Feeds);
    }
    Ok(())
}

async fn best_builder(context: &Context) -> Result<Option<NodeId>, Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let builders = build::builders(&mut tx).await?;
    Ok(builders.first().map(|(node, _)| *node))
}

/// What is done about a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No agent takes builds now.
    Wait,
    /// Make its node's feed say what it shall do.
    Tell(NodeId),
    /// Give it to this node.
    Assign(NodeId),
    /// It was canceled before any node had it, or its node is lost.
    End,
    /// It has ended; its node may forget it.
    Forget(NodeId),
}

/// Whether the decision asks which agent has the fewest builds.
#[must_use]
pub const fn wants_node(build: &Build) -> bool {
    !build.finished && (build.node.is_none() || build.node_lost)
}

/// What is done about a build, with the agent that has the fewest.
#[must_use]
pub fn decide(build: &Build, best: Option<NodeId>) -> Action {
    match (build.finished, build.node) {
        (true, Some(node)) => Action::Forget(node),
        (true, None) => Action::Wait,
        (false, None) if build.canceled => Action::End,
        (false, Some(_)) if build.canceled && build.node_lost => Action::End,
        (false, Some(node)) if !build.node_lost => Action::Tell(node),
        (false, previous) => match best {
            Some(best) if Some(best) != previous => Action::Assign(best),
            _ => Action::Wait,
        },
    }
}

/// What an action changes in nodes' feeds.
///
/// # Errors
/// When an item can't be JSON.
pub fn changes(build: &Build, action: Action, registry: &str) -> Result<Changes, store::Error> {
    let drop = |cause| {
        let id = item_id(build.id);
        vec![Change::Delete { id, cause }]
    };
    let mut changes = Changes::new();
    match action {
        Action::Wait | Action::End => {}
        Action::Tell(node) => {
            changes.insert(FeedName::Node(node), vec![put(build, registry)?]);
        }
        Action::Assign(node) => {
            if let Some(previous) = build.node {
                changes.insert(FeedName::Node(previous), drop(DropCause::Plan));
            }
            changes.insert(FeedName::Node(node), vec![put(build, registry)?]);
        }
        Action::Forget(node) => {
            changes.insert(FeedName::Node(node), drop(DropCause::Finished));
        }
    }
    Ok(changes)
}

/// Whether the build was still as the decision found it; else nothing is to be kept.
async fn apply(
    tx: &mut SystemTx,
    build: &Build,
    action: Action,
    registry: &str,
) -> Result<bool, store::Error> {
    let is_as_read = match action {
        Action::Tell(_) => build::hold(tx, build).await?,
        Action::Assign(node) => build::assign(tx, build, node).await?,
        Action::End => {
            build::end_canceled(tx, build.id).await?;
            true
        }
        Action::Wait | Action::Forget(_) => true,
    };
    if is_as_read {
        feed::write(tx, changes(build, action, registry)?).await?;
    }
    Ok(is_as_read)
}

#[cfg(test)]
mod tests {
    use domain::id::{BuildId, DeploymentId, OrganizationId, ServiceId};
    use protocol::item::BuildSource;

    use super::*;

    fn build(node: Option<NodeId>) -> Build {
        Build {
            id: BuildId::new(),
            organization: OrganizationId::new(),
            service: ServiceId::new(),
            deployment: DeploymentId::new(),
            source: BuildSource::Git {
                repo: "https://git.example.com/a.git".into(),
                reference: None,
                deploy_key: None,
            },
            root: "/".into(),
            spec: serde_json::from_str("{}").unwrap(),
            canceled: false,
            finished: false,
            node,
            node_lost: false,
            traceparent: None,
        }
    }

    #[test]
    fn a_build_gets_a_node_stays_there_and_is_forgotten() {
        let (one, other) = (NodeId::new(), NodeId::new());
        assert_eq!(decide(&build(None), None), Action::Wait);
        assert_eq!(decide(&build(None), Some(one)), Action::Assign(one));
        assert_eq!(decide(&build(Some(one)), Some(other)), Action::Tell(one));
        let finished = Build {
            finished: true,
            ..build(Some(one))
        };
        assert_eq!(decide(&finished, Some(other)), Action::Forget(one));
    }

    #[test]
    fn a_lost_node_loses_its_build_unless_that_is_canceled() {
        let (one, other) = (NodeId::new(), NodeId::new());
        let lost = Build {
            node_lost: true,
            ..build(Some(one))
        };
        assert_eq!(decide(&lost, Some(other)), Action::Assign(other));
        assert_eq!(decide(&lost, None), Action::Wait);
        let canceled = Build {
            canceled: true,
            ..lost
        };
        assert_eq!(decide(&canceled, Some(other)), Action::End);
        let waiting = Build {
            canceled: true,
            ..build(None)
        };
        assert_eq!(decide(&waiting, Some(one)), Action::End);
    }
}
