//! Instances that shall go: where their region is left, edges first use what takes their place
//! (acknowledged, not assumed); then no edge routes to them (likewise), then their node is told, then
//! their room is given back and their item removed.

use chrono::TimeDelta;
use domain::{
    deployment::acknowledgement::{Follower, is_in_use, is_unused},
    instance::Desired,
};
use protocol::{feed::FeedName, item::NodeItem};

use super::{Context, Error, Turn, routes};
use crate::{
    feed::{
        instance::item_id,
        route::{Changes, Rendering},
    },
    store::{
        self, evaluation, feed,
        instance::{self, Going},
        placement, route,
        tx::SystemTx,
    },
    waker::Topic,
};

/// Old instances stay this long for edges that are late.
const LATE_EDGES: TimeDelta = TimeDelta::minutes(10);

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let pools = &context.state.pools;
    let all = instance::going(&mut SystemTx::begin(pools).await?).await?;
    let mut turn = Turn::default();
    for going in all {
        turn.note(going.service, go_on(&context, &going).await)?;
    }
    turn.end()
}

async fn go_on(context: &Context, going: &Going) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let positions = match &going.unrouted {
        Some(positions) => positions.clone(),
        None => route::standing(&mut tx, going.service).await?,
    };
    let followers = route::followers(&mut tx, &positions).await?;
    let action = decide(going, &followers);
    apply(&mut tx, context.state.rendering, going, action).await?;
    tx.commit().await?;
    wake(context, action);
    Ok(())
}

/// What is done about an instance that shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Take its routes away first.
    Unroute,
    /// Edges have to acknowledge, or the node has to report.
    Wait,
    /// Nobody routes to it: tell its node.
    Tell,
    /// It has ended.
    Forget,
}

/// The next step of an instance's end, from its row and from the edges: whether they have applied the
/// routes without it or, as long as there are none, its service's routes of today. Those have what takes
/// its place. Edges get the regions with instances and the instances of their region in two feeds; were
/// both changed at once, a slow edge would have only one of them and find nobody.
#[must_use]
pub fn decide(going: &Going, followers: &[Follower]) -> Action {
    let late_time_is_over = going
        .unrouted_at
        .is_some_and(|at| going.now - at >= LATE_EDGES);
    let unused = !going.serves || is_unused(followers, late_time_is_over);
    if going.ended && (going.told || !going.serves) || going.node_gone {
        Action::Forget
    } else if going.told {
        Action::Wait
    } else if going.serves && going.unrouted.is_none() {
        if is_in_use(followers) {
            Action::Unroute
        } else {
            Action::Wait
        }
    } else if unused {
        Action::Tell
    } else {
        Action::Wait
    }
}

async fn apply(
    tx: &mut SystemTx,
    rendering: Rendering,
    going: &Going,
    action: Action,
) -> Result<(), store::Error> {
    match action {
        Action::Wait => Ok(()),
        Action::Unroute => match placement::lock_service(tx, going.service).await? {
            Some(service) => routes::release(tx, rendering, &service, &going.region).await,
            None => Ok(()),
        },
        Action::Tell => tell(tx, going).await,
        Action::Forget => forget(tx, going).await,
    }
}

async fn tell(tx: &mut SystemTx, going: &Going) -> Result<(), store::Error> {
    if !instance::tell(tx, going.id).await? {
        return Ok(());
    }
    let Some(json) = instance::item(tx, going.node, going.id).await? else {
        return Ok(());
    };
    let stored: NodeItem =
        serde_json::from_str(&json).map_err(|error| store::Error::corrupt("feed item", error))?;
    let NodeItem::Instance(mut item) = stored else {
        return Ok(());
    };
    item.desired = Desired::Stop;
    let (item, secrets) = crate::feed::instance::render(*item)?;
    let change = feed::Change::Put {
        id: item_id(going.id),
        item,
        secrets,
    };
    write(tx, going, change).await
}

async fn forget(tx: &mut SystemTx, going: &Going) -> Result<(), store::Error> {
    if !instance::gone(tx, going.id).await? {
        return Ok(());
    }
    let change = feed::Change::Delete {
        id: item_id(going.id),
        cause: instance::drop_cause(&going.cause),
    };
    write(tx, going, change).await?;
    // There is room now; and a deployment that wants to be alone may have waited for this.
    evaluation::revive(tx, true).await?;
    Ok(())
}

async fn write(tx: &mut SystemTx, going: &Going, change: feed::Change) -> Result<(), store::Error> {
    let changes = Changes::from([(FeedName::Node(going.node), vec![change])]);
    feed::write(tx, changes).await.map(drop)
}

fn wake(context: &Context, action: Action) {
    let waker = &context.state.waker;
    match action {
        Action::Wait => {}
        Action::Unroute | Action::Tell => waker.wake(Topic::Feeds),
        Action::Forget => {
            waker.wake(Topic::Feeds);
            waker.wake(Topic::Evaluations);
            waker.wake(Topic::Deployments);
            waker.wake(Topic::Workflows);
        }
    }
    if action == Action::Unroute {
        waker.wake(Topic::Instances);
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use domain::id::{InstanceId, NodeId, OrganizationId, ServiceId};

    use super::*;
    use crate::store::route::Positions;

    const APPLIED: Follower = Follower {
        applied: true,
        late: false,
    };
    const BEHIND: Follower = Follower {
        applied: false,
        late: false,
    };
    const LATE: Follower = Follower {
        applied: false,
        late: true,
    };

    fn going() -> Going {
        Going {
            id: InstanceId::new(),
            organization: OrganizationId::new(),
            service: ServiceId::new(),
            node: NodeId::new(),
            region: "eu-west".parse().unwrap(),
            cause: "deployment".into(),
            told: false,
            serves: true,
            unrouted: None,
            unrouted_at: None,
            ended: false,
            node_gone: false,
            now: Utc::now(),
        }
    }

    fn unrouted(minutes: i64) -> Going {
        let going = going();
        Going {
            unrouted: Some(Positions::new()),
            unrouted_at: Some(going.now - TimeDelta::minutes(minutes)),
            ..going
        }
    }

    #[test]
    fn first_unrouted_then_told_then_forgotten() {
        assert_eq!(decide(&going(), &[]), Action::Unroute);
        assert_eq!(decide(&unrouted(0), &[APPLIED, BEHIND]), Action::Wait);
        assert_eq!(decide(&unrouted(0), &[APPLIED]), Action::Tell);
        let told = Going {
            told: true,
            ..unrouted(0)
        };
        assert_eq!(decide(&told, &[APPLIED]), Action::Wait);
        let ended = Going {
            ended: true,
            ..told
        };
        assert_eq!(decide(&ended, &[APPLIED]), Action::Forget);
    }

    #[test]
    fn it_keeps_its_routes_until_every_punctual_edge_uses_what_takes_its_place() {
        assert_eq!(decide(&going(), &[APPLIED, BEHIND]), Action::Wait);
        assert_eq!(decide(&going(), &[APPLIED, LATE]), Action::Unroute);
        assert_eq!(decide(&going(), &[APPLIED]), Action::Unroute);
    }

    #[test]
    fn a_late_edge_holds_it_for_ten_minutes_and_one_that_is_behind_for_ever() {
        assert_eq!(decide(&unrouted(9), &[APPLIED, LATE]), Action::Wait);
        assert_eq!(decide(&unrouted(10), &[APPLIED, LATE]), Action::Tell);
        assert_eq!(decide(&unrouted(600), &[APPLIED, BEHIND]), Action::Wait);
    }

    #[test]
    fn what_never_served_is_told_at_once_and_a_removed_node_is_not_waited_for() {
        let command = Going {
            serves: false,
            ..going()
        };
        assert_eq!(decide(&command, &[]), Action::Tell);
        let gone = Going {
            node_gone: true,
            ..going()
        };
        assert_eq!(decide(&gone, &[]), Action::Forget);
    }
}
