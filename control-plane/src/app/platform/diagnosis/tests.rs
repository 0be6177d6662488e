use api::platform::Backlog;
use domain::{
    generation::{Epoch, Generation, Position},
    id::NodeId,
};
use scheduler::{Amount, Liveness};
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
        draining: false,
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
        registry: RegistryStatus::default(),
    }
}

/// Nothing is wrong beyond the status.
fn view<'a>(status: &'a PlatformStatus, regions: &'a [Name]) -> View<'a> {
    View {
        status,
        regions,
        shown: None,
        agents: &[],
        lacks_redis: false,
    }
}

fn told(found: Vec<Finding>) -> Vec<String> {
    found.into_iter().map(|finding| finding.code).collect()
}

fn codes(status: &PlatformStatus) -> Vec<String> {
    told(findings(&view(status, &[name("us-east")])))
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
    let found = findings(&View {
        shown: Some(shown),
        ..view(&status, &[])
    });
    assert_eq!(found[0].code, "database_behind");
    assert!(found[0].message.contains("routes/global"));
    assert!(found[0].advice.contains("control-plane admin restored"));
}

#[test]
fn a_reconciler_that_stands_still_is_found_with_its_error() {
    let mut status = well();
    status.reconcilers = vec![reconciler_seen(Some(180), Some("deadlock"))];
    let found = findings(&view(&status, &[]));
    insta::assert_snapshot!(found[0].message, @"the reconciler deployments last succeeded 3 min ago: deadlock");
    status.reconcilers = vec![reconciler_seen(None, None)];
    assert_eq!(codes(&status), ["reconciler_stalled"]);
}

#[test]
fn the_one_that_keeps_dns_has_other_causes_than_the_database() {
    let mut status = well();
    status.reconcilers = vec![reconciler_seen(None, Some("refused"))];
    status.reconcilers[0].name = "dns".to_owned();
    let found = findings(&view(&status, &[]));
    assert_eq!(found[0].code, "reconciler_stalled");
    assert!(
        found[0].advice.contains("dns.provider"),
        "{}",
        found[0].advice
    );
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
    let found = findings(&view(&status, &[]));
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
        certificates_ending: 3,
        certificate_problem: Some("a.test has no address".to_owned()),
    };
    assert_eq!(
        codes(&status),
        [
            "no_room",
            "jobs_wait",
            "jobs_dead",
            "workflow_failing",
            "orphans",
            "certificates_ending",
            "rollout_stopped"
        ]
    );
}

/// Agents of us-east, the first of them silent, as the scheduler and as the status has them.
fn agents(silent: usize, all: usize) -> (Vec<Node>, PlatformStatus) {
    let mut status = well();
    status.nodes.truncate(0);
    let mut nodes = Vec::new();
    for number in 0..all {
        let late = number < silent;
        let liveness = if late {
            Liveness::Late
        } else {
            Liveness::Punctual
        };
        nodes.push(Node {
            id: NodeId::from(Uuid::from_u128(number as u128)),
            region: name("us-east"),
            schedulable: true,
            draining: false,
            liveness,
            capacity: Amount::default(),
            reserved: Amount::default(),
            recent_failures: 0,
        });
        status.nodes.push(NodeHealth {
            name: name(&format!("rack{number}")),
            late_since: late.then(|| at() - TimeDelta::minutes(3)),
            ..healthy(NodeRole::Agent)
        });
    }
    (nodes, status)
}

fn of_agents(nodes: &[Node], status: &PlatformStatus) -> Vec<Finding> {
    findings(&View {
        agents: nodes,
        ..view(status, &[])
    })
}

#[test]
fn beyond_the_brakes_limit_a_region_has_one_finding_instead_of_one_for_each_node() {
    for (silent, all, expected) in [
        (1, 1, vec!["node_late"]),
        (1, 2, vec!["node_late"]),
        (2, 7, vec!["node_late", "node_late"]),
        (3, 10, vec!["node_late"; 3]),
        (2, 6, vec!["replacement_stopped"]),
        (4, 10, vec!["replacement_stopped"]),
        (2, 2, vec!["replacement_stopped"]),
    ] {
        let (nodes, status) = agents(silent, all);
        let found = told(of_agents(&nodes, &status));
        assert_eq!(found, expected, "{silent} of {all}");
    }
}

#[test]
fn who_is_told_that_nothing_is_replaced_is_told_where_to_look_and_how_to_say_that_a_machine_is_off()
{
    let (nodes, status) = agents(2, 3);
    let [finding] = of_agents(&nodes, &status).try_into().expect("one finding");
    assert_eq!(
        (finding.severity, finding.subject.as_str()),
        (Severity::Critical, "us-east")
    );
    insta::assert_snapshot!(finding.message, @"2 of the 3 agents of us-east are silent: nothing that they run is replaced elsewhere");
    assert!(finding.advice.contains("--region us-east"));
    assert!(finding.advice.contains("railhead node fence NODE"));
    assert!(!finding.advice.contains("remove"), "{}", finding.advice);
}

#[test]
fn one_region_s_brake_hides_no_late_node_of_another_and_no_edge() {
    let (nodes, mut status) = agents(2, 2);
    for (role, region) in [(NodeRole::Edge, "us-east"), (NodeRole::Agent, "eu-west")] {
        status.nodes.push(NodeHealth {
            region: name(region),
            late_since: Some(at() - TimeDelta::minutes(3)),
            ..healthy(role)
        });
    }
    // What else is wrong with a silent agent is still told.
    status.nodes[0].held_drops = 7;
    assert_eq!(
        told(of_agents(&nodes, &status)),
        [
            "replacement_stopped",
            "brake_holds",
            "node_late",
            "node_late"
        ]
    );
}

#[test]
fn agents_that_are_known_to_be_gone_do_not_count_for_the_brake() {
    let (mut nodes, mut status) = agents(2, 3);
    nodes[0].liveness = Liveness::Gone;
    status.nodes[0].fenced = true;
    assert_eq!(
        told(of_agents(&nodes, &status)),
        ["node_fenced", "node_late"]
    );
}

#[test]
fn what_nodes_say_of_the_registry_is_told_with_the_words_of_one() {
    let mut status = well();
    status.registry = RegistryStatus {
        instances_without_image: 3,
        nodes_without_image: 2,
        builds_failed: 1,
        problem: Some("can't pull registry/web: connection refused".to_owned()),
    };
    let [finding] = findings(&view(&status, &[]))
        .try_into()
        .expect("one finding");
    assert_eq!(finding.code, "registry_failing");
    insta::assert_snapshot!(finding.message, @"the platform's registry does not give or take images: 3 instances on 2 nodes can't get theirs, builds that failed for it of late: 1; one was told: can't pull registry/web: connection refused");
    status.registry.instances_without_image = 0;
    assert_eq!(codes(&status), ["registry_failing"]);
    status.registry.builds_failed = 0;
    assert_eq!(codes(&status), Vec::<String>::new());
}

#[test]
fn a_replica_without_its_redis_says_so() {
    let status = well();
    let found = findings(&View {
        lacks_redis: true,
        ..view(&status, &[])
    });
    assert_eq!(told(found), ["redis_away"]);
}
