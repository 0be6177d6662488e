use api::platform::Backlog;
use domain::generation::{Epoch, Generation, Position};
use uuid::Uuid;

use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn at() -> DateTime<Utc> {
    "2026-01-01T12:00:00Z".parse().expect("a time")
}

fn reconciler_seen(seconds_ago: Option<i64>, error: Option<&str>) -> ReconcilerStatus {
    ReconcilerStatus {
        name: "deployments".to_owned(),
        holder: Uuid::nil(),
        lease_expires_at: None,
        period_seconds: 2,
        succeeded_at: seconds_ago.map(|seconds| at() - TimeDelta::seconds(seconds)),
        failed_at: None,
        error: error.map(str::to_owned),
    }
}

fn healthy(role: NodeRole) -> NodeHealth {
    NodeHealth {
        name: name(&format!("us-east-{}", role.as_str())),
        region: name("us-east"),
        role,
        schedulable: true,
        fenced: false,
        reported_at: Some(at()),
        late_since: None,
        certificate_not_after: Some(at() + TimeDelta::hours(20)),
        held_drops: 0,
        behind: Vec::new(),
    }
}

fn well() -> PlatformStatus {
    PlatformStatus {
        at: at(),
        epoch: 1,
        findings: Vec::new(),
        reconcilers: vec![reconciler_seen(Some(10), None)],
        feeds: Vec::new(),
        nodes: vec![healthy(NodeRole::Agent), healthy(NodeRole::Edge)],
        backlog: Backlog::default(),
    }
}

fn codes(status: &PlatformStatus) -> Vec<String> {
    let found = findings(status, &[name("us-east")], None);
    found.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn a_platform_that_is_well_has_no_findings() {
    assert_eq!(codes(&well()), Vec::<String>::new());
}

#[test]
fn a_database_that_lacks_what_a_node_has_seen_is_named_first() {
    let shown = Shown {
        feed: "routes/global".to_owned(),
        position: Position {
            epoch: Epoch(3),
            generation: Generation(7),
        },
    };
    let mut status = well();
    status.nodes[1].late_since = Some(at() - TimeDelta::minutes(5));
    let found = findings(&status, &[name("us-east")], Some(&shown));
    assert_eq!(found[0].code, "database_behind");
    assert!(found[0].message.contains("routes/global"));
    assert!(found[0].advice.contains("control-plane admin restored"));
}

#[test]
fn a_reconciler_that_stands_still_is_found_with_its_error() {
    let mut status = well();
    status.reconcilers = vec![reconciler_seen(Some(180), Some("deadlock"))];
    let found = findings(&status, &[], None);
    insta::assert_snapshot!(found[0].message, @"the reconciler deployments last succeeded 3 min ago: deadlock");
    status.reconcilers = vec![reconciler_seen(None, None)];
    assert_eq!(codes(&status), ["reconciler_stalled"]);
}

#[test]
fn one_that_runs_seldom_is_given_its_time() {
    let mut status = well();
    status.reconcilers[0].period_seconds = 600;
    status.reconcilers[0].succeeded_at = Some(at() - TimeDelta::minutes(30));
    assert_eq!(codes(&status), Vec::<String>::new());
}

#[test]
fn a_region_without_an_edge_that_reports_is_worse_than_a_late_node() {
    let mut status = well();
    status.nodes[1].late_since = Some(at() - TimeDelta::minutes(5));
    assert_eq!(codes(&status), ["region_without_edge", "node_late"]);
}

#[test]
fn a_fenced_node_is_not_called_late_and_agent_and_edge_are_told_apart() {
    let mut status = well();
    for node in &mut status.nodes {
        node.name = name("rack7");
        node.late_since = Some(at() - TimeDelta::minutes(5));
    }
    status.nodes[0].fenced = true;
    let found = findings(&status, &[], None);
    let told: Vec<_> = found.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "the agent rack7 in us-east was declared dead and has not come back",
            "the edge rack7 in us-east has been silent for 5 min",
        ]
    );
}

#[test]
fn a_region_whose_only_node_is_cordoned_takes_nothing() {
    let mut status = well();
    status.nodes[0].schedulable = false;
    assert_eq!(codes(&status), ["region_without_agent"]);
}

#[test]
fn brake_feeds_and_certificate_of_a_node_are_looked_at() {
    let mut status = well();
    status.nodes[1].held_drops = 7;
    status.nodes[1].behind = vec!["routes/global".to_owned()];
    status.nodes[1].certificate_not_after = Some(at() - TimeDelta::hours(1));
    assert_eq!(
        codes(&status),
        ["node_behind", "brake_holds", "certificate_not_renewed"]
    );
}

#[test]
fn what_waits_is_named() {
    let mut status = well();
    status.backlog = Backlog {
        jobs_due: 3,
        oldest_job_seconds: 301,
        jobs_dead: 1,
        deployments: 1,
        services_without_room: 2,
        workflows_failing: 1,
        orphans: 4,
        rollout_stopped: Some("too many errors".to_owned()),
    };
    assert_eq!(
        codes(&status),
        [
            "no_room",
            "jobs_wait",
            "jobs_dead",
            "workflow_failing",
            "orphans",
            "rollout_stopped"
        ]
    );
}
