//! `POST /node/v1/report`: a node's whole observed state. It is the heartbeat; what changed wakes
//! the reconcilers.

use axum::{Json, extract};
use protocol::{
    feed::FeedName,
    join::Role,
    report::{Report, ReportAnswer, RoleReport},
};

use super::{Error, Node, guard};
use crate::{
    State,
    store::{
        feed,
        node_report::{self, Noticed},
        tx::SystemTx,
    },
    waker::Topic,
};

/// `POST /node/v1/report`
pub(super) async fn report(
    extract::State(state): extract::State<State>,
    node: Node,
    Json(report): Json<Report>,
) -> Result<Json<ReportAnswer>, Error> {
    let fits = matches!(
        (&report.role, node.role),
        (RoleReport::Agent(_), Role::Agent) | (RoleReport::Edge(_), Role::Edge)
    );
    if !fits {
        return Err(Error::Malformed(
            "the report is of another role than the node's certificate".to_owned(),
        ));
    }
    guard::examine(&state, &node, &report.feeds).await?;
    let mut tx = SystemTx::begin(&state.pools).await?;
    let noticed = node_report::store(&mut tx, node.id, node.protocol, &report)
        .await?
        .ok_or(Error::StaleReport)?;
    let feeds = feed::positions(&mut tx, &followed(&node, &report)).await?;
    let release = node_report::overrides(&mut tx, node.id).await?;
    tx.commit().await?;
    failpoint::reach("report-stored");
    wake(&state, noticed);
    Ok(Json(ReportAnswer {
        interval_ms: state.config.node.report_interval.as_millis(),
        feeds,
        release,
        ring: (node.role == Role::Edge).then_some(node.ring),
    }))
}

/// The feeds that it names itself: one from before there were rings knows no other names.
fn followed(node: &Node, report: &Report) -> Vec<FeedName> {
    if report.feeds.is_empty() {
        return node.first_feeds();
    }
    report
        .feeds
        .iter()
        .map(|commit| commit.feed.clone())
        .collect()
}

fn wake(state: &State, noticed: Noticed) {
    if noticed.applied || noticed.instances || noticed.builds {
        state.waker.wake(Topic::Deployments);
        state.waker.wake(Topic::Instances);
    }
    if noticed.instances {
        state.waker.wake(Topic::Routes);
    }
    if noticed.let_go {
        state.waker.wake(Topic::Feeds);
    }
    if noticed.address {
        state.waker.wake(Topic::Nodes);
    }
    if noticed.capacity || noticed.orphans {
        state.waker.wake(Topic::Evaluations);
    }
}
