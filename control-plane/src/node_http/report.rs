//! `POST /node/v1/report`: a node's whole observed state. It is the heartbeat; what changed wakes
//! the reconcilers.

use axum::{Json, extract};
use bytes::Bytes;
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
    body: Bytes,
) -> Result<Json<ReportAnswer>, Error> {
    let report: Report = serde_json::from_slice(&without_nul(&body))
        .map_err(|error| Error::Malformed(format!("this is no report: {error}")))?;
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

/// JSON in whose texts U+FFFD stands for U+0000, which PostgreSQL does not keep. What a tenant's build or container says
/// may have one: it must not silence the node that repeats it.
fn without_nul(json: &[u8]) -> Vec<u8> {
    const NUL: &[u8] = b"u0000";
    let mut rest = json;
    let mut kept = Vec::with_capacity(json.len());
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (before, escape) = rest.split_at(at + 1);
        kept.extend_from_slice(before);
        rest = if let Some(after) = escape.strip_prefix(NUL) {
            kept.extend_from_slice(b"ufffd");
            after
        } else {
            // The escaped character may be a backslash itself.
            let (escaped, after) = escape.split_at(escape.len().min(1));
            kept.extend_from_slice(escaped);
            after
        };
    }
    kept.extend_from_slice(rest);
    kept
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_escaped_backslash_is_no_escape() {
        for (json, kept) in [
            (r#""a\\u0000b""#, r#""a\\u0000b""#),
            (r#""a\\\u0000b""#, r#""a\\\ufffdb""#),
            (r#""\u0000\u0001\n""#, r#""\ufffd\u0001\n""#),
            (r#""\"#, r#""\"#),
        ] {
            let found = without_nul(json.as_bytes());
            assert_eq!(String::from_utf8(found).unwrap(), kept);
        }
    }

    proptest! {
        #[test]
        fn only_nul_is_replaced(text in "[\\\\\\PC\0u0a\"]{0,20}") {
            let json = serde_json::to_vec(&text).unwrap();
            let read: String = serde_json::from_slice(&without_nul(&json)).unwrap();
            prop_assert_eq!(read, text.replace('\0', "\u{fffd}"));
        }
    }
}
