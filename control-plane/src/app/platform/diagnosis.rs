//! From what was seen to what is wrong and what to do. Pure: each rule is a function of the view.

mod region;

use api::{
    node::NodeRole,
    platform::{Finding, NodeHealth, PlatformStatus, ReconcilerStatus, RegistryStatus, Severity},
};
use chrono::{DateTime, TimeDelta, Utc};
use domain::name::Name;
use scheduler::{Node, Sight};

use crate::store::epoch::Shown;

/// A reconciler may miss so many of its turns, and at least [`STALLED_AFTER`].
const MISSED_TURNS: i64 = 5;
const STALLED_AFTER: i64 = 60;
/// Certificates of nodes live 24 h and are renewed after 8: one with less left was not.
const RENEWED_BY: TimeDelta = TimeDelta::hours(12);
const JOB_WAITS_AT_MOST: i64 = 300;

/// What was seen.
pub struct View<'a> {
    pub status: &'a PlatformStatus,
    /// Those that may be used.
    pub regions: &'a [Name],
    /// What a restored database lacks.
    pub shown: Option<Shown>,
    /// As the scheduler judges them.
    pub agents: &'a [Node],
    /// The replica that was asked should have a Redis and has none.
    pub lacks_redis: bool,
}

/// What is wrong, worst first.
pub fn findings(view: &View<'_>) -> Vec<Finding> {
    let status = view.status;
    let sights = Sight::by_region(view.agents);
    let explained = |node: &NodeHealth| {
        node.role == NodeRole::Agent
            && sights
                .get(&node.region)
                .is_some_and(|sight| sight.stops_replacement())
    };
    let mut found = Vec::new();
    found.extend(view.shown.as_ref().map(restored));
    found.extend(
        status
            .reconcilers
            .iter()
            .filter_map(|one| reconciler(one, status.at)),
    );
    found.extend(
        sights
            .iter()
            .filter_map(|(region, sight)| region::replacement(region, *sight)),
    );
    found.extend(
        view.regions
            .iter()
            .flat_map(|region| region::coverage(region, &status.nodes)),
    );
    found.extend(
        status
            .nodes
            .iter()
            .flat_map(|one| node(one, status.at, explained(one))),
    );
    found.extend(registry(&status.registry));
    found.extend(view.lacks_redis.then(redis));
    found.extend(backlog(status));
    found.sort_by_key(|finding| finding.severity);
    found
}

/// Until an operator has decided nodes hear of nothing, which explains much of the rest.
fn restored(shown: &Shown) -> Finding {
    let Shown { feed, position } = shown;
    critical(
        "database_behind",
        "platform",
        format!(
            "position {position} of {feed} was seen, which the database does not have: it was restored, and no feed is \
             served"
        ),
        "restore a newer backup, or take this database for the true one: control-plane admin restored".to_owned(),
    )
}

fn reconciler(one: &ReconcilerStatus, at: DateTime<Utc>) -> Option<Finding> {
    let patience = (one.period_seconds * MISSED_TURNS).max(STALLED_AFTER);
    let silent = one.succeeded_at.map(|then| (at - then).num_seconds());
    if silent.is_some_and(|seconds| seconds <= patience) {
        return None;
    }
    let since = match silent {
        Some(seconds) => format!("last succeeded {} ago", span(seconds)),
        None => "has never succeeded".to_owned(),
    };
    let why = one
        .error
        .as_deref()
        .map(|error| format!(": {error}"))
        .unwrap_or_default();
    Some(Finding {
        severity: Severity::Critical,
        code: "reconciler_stalled".to_owned(),
        subject: one.name.clone(),
        message: format!("the reconciler {} {since}{why}", one.name),
        advice: format!(
            "look for task={} in the log of the control plane {}; {}",
            one.name,
            one.holder,
            usual_cause(&one.name)
        ),
    })
}

fn usual_cause(reconciler: &str) -> &'static str {
    match reconciler {
        "dns" => {
            "what DNS says stays as it is meanwhile. Does the provider of [dns.provider] answer, and has its key the right \
             to read and change the zone? Names that it calls not ours are for you to decide"
        }
        _ => "a slow or locked database is the usual cause",
    }
}

/// With `explained` its silence is told of as its region's.
fn node(node: &NodeHealth, at: DateTime<Utc>, explained: bool) -> Vec<Finding> {
    let role = node.role.as_str();
    let who = format!("the {role} {} in {}", node.name, node.region);
    [
        standing(node, &who, at, explained),
        brake(node, &who),
        certificate(node, &who, at),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Only what explains the rest: a dead node is late, and a late one is behind.
fn standing(node: &NodeHealth, who: &str, at: DateTime<Utc>, explained: bool) -> Option<Finding> {
    let name = &node.name;
    if node.fenced {
        return Some(warning(
            "node_fenced",
            node,
            format!("{who} was declared dead and has not come back"),
            format!(
                "if it is gone for good: railhead node remove {name}; if it comes back, it ends what it has and is \
                 cordoned"
            ),
        ));
    }
    if let Some(since) = node.late_since {
        let silent = span((at - since).num_seconds());
        return (!explained).then(|| {
            warning(
                "node_late",
                node,
                format!("{who} has been silent for {silent}"),
                format!("look at the machine; if it is gone for good: railhead node remove {name}"),
            )
        });
    }
    (!node.behind.is_empty()).then(|| {
        let feeds = node.behind.join(", ");
        warning(
            "node_behind",
            node,
            format!("{who} has not applied the newest change of {feeds}"),
            format!(
                "its log says what it refuses; railhead node get {name}. If the database was put back to an earlier \
                 state of late: control-plane admin restored"
            ),
        )
    })
}

fn brake(node: &NodeHealth, who: &str) -> Option<Finding> {
    let NodeHealth {
        name, held_drops, ..
    } = node;
    (*held_drops > 0).then(|| {
        warning(
            "brake_holds",
            node,
            format!("{who} keeps what it was told to drop without a cause, items: {held_drops}"),
            format!(
                "railhead node get {name}; if they shall go: railhead node override {name} --feed FEED --reason WHY"
            ),
        )
    })
}

fn certificate(node: &NodeHealth, who: &str, at: DateTime<Utc>) -> Option<Finding> {
    let end = node
        .certificate_not_after
        .filter(|end| *end - at < RENEWED_BY)?;
    let left = match (end - at).num_seconds() {
        seconds @ 1.. => format!("ends in {}", span(seconds)),
        _ => "has ended (which stops nothing)".to_owned(),
    };
    Some(warning(
        "certificate_not_renewed",
        node,
        format!("the certificate of {who} {left} and should have been renewed"),
        "look for \"renew\" in the node's log: it asks the control plane by itself".to_owned(),
    ))
}

/// Nodes tell of it; whether it is the registry or their way to it, the words of one of them and their number say.
fn registry(registry: &RegistryStatus) -> Option<Finding> {
    let RegistryStatus {
        instances_without_image: instances,
        nodes_without_image: nodes,
        builds_failed: builds,
        problem,
    } = registry;
    let why = problem
        .as_deref()
        .map(|problem| format!("; one was told: {problem}"))
        .unwrap_or_default();
    (instances + builds > 0).then(|| {
        about(
            Severity::Warning,
            "registry_failing",
            "registry",
            format!(
                "the platform's registry does not give or take images: {instances} instances on {nodes} nodes can't get \
                 theirs, builds that failed for it of late: {builds}{why}"
            ),
            "what runs goes on. Is the registry up, has its disk room, does it still have its images? Where one node alone \
             says so: its disk, and its way to the registry"
                .to_owned(),
        )
    })
}

fn redis() -> Finding {
    about(
        Severity::Warning,
        "redis_away",
        "redis",
        "the control plane that answers can't use its Redis: limits of rate hold for each replica by itself".to_owned(),
        "does the server of [redis] url answer, within 100 ms? railhead_rate_limit_redis_up on each replica's /metrics says \
         which of them lack it"
            .to_owned(),
    )
}

fn backlog(status: &PlatformStatus) -> Vec<Finding> {
    let backlog = &status.backlog;
    let mut found = Vec::new();
    let mut tell = |when: bool, code: &str, message: String, advice: &str| {
        if when {
            found.push(about(
                Severity::Warning,
                code,
                "platform",
                message,
                advice.to_owned(),
            ));
        }
    };
    tell(
        backlog.services_without_room > 0,
        "no_room",
        format!(
            "services that wait for room: {}",
            backlog.services_without_room
        ),
        "railhead status says what is short where; add a machine: railhead node token",
    );
    tell(
        backlog.oldest_job_seconds > JOB_WAITS_AT_MOST,
        "jobs_wait",
        format!(
            "jobs that wait: {}, the oldest for {}",
            backlog.jobs_due,
            span(backlog.oldest_job_seconds)
        ),
        "look for the queue in the control planes' logs",
    );
    tell(
        backlog.jobs_dead > 0,
        "jobs_dead",
        format!(
            "jobs that were given up after their last attempt: {}",
            backlog.jobs_dead
        ),
        "their last error is in the table job (dead_at is not null)",
    );
    tell(
        backlog.workflows_failing > 0,
        "workflow_failing",
        format!(
            "workflows that fail at the same step again and again: {}",
            backlog.workflows_failing
        ),
        "railhead status shows what they wait on; they go on by themselves once that is mended",
    );
    tell(
        backlog.orphans > 0,
        "orphans",
        format!(
            "instances that run and the plan does not know, since a restore of the database: {}",
            backlog.orphans
        ),
        "railhead node orphans; they are taken back by themselves, or let go by you",
    );
    let why = backlog.certificate_problem.as_deref();
    tell(
        backlog.certificates_ending > 0,
        "certificates_ending",
        format!(
            "hostnames whose certificate ends soon and was not renewed: {}{}",
            backlog.certificates_ending,
            why.map(|why| format!("; one was told: {why}"))
                .unwrap_or_default()
        ),
        "it serves until its end. railhead domain list of its service says what its owner can do; where all of them are told the \
         same, it is the authority or the way to it",
    );
    if let Some(why) = &backlog.rollout_stopped {
        tell(
            true,
            "rollout_stopped",
            format!("the rollout of the platform's newest rendering was stopped: {why}"),
            "railhead rollout status; when it is mended: railhead rollout resume --reason WHY",
        );
    }
    found
}

fn critical(code: &str, subject: &str, message: String, advice: String) -> Finding {
    about(Severity::Critical, code, subject, message, advice)
}

fn warning(code: &str, node: &NodeHealth, message: String, advice: String) -> Finding {
    about(Severity::Warning, code, node.name.as_str(), message, advice)
}

fn about(
    severity: Severity,
    code: &str,
    subject: &str,
    message: String,
    advice: String,
) -> Finding {
    Finding {
        severity,
        code: code.to_owned(),
        subject: subject.to_owned(),
        message,
        advice,
    }
}

/// `3 min`, for people.
fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;
