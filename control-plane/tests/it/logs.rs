//! The log store on a real PostgreSQL.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;

use api::log::LogRecord;
use control_plane::{
    config::Database as DatabaseConfig,
    logs::{self, Kind, LogStore, Origin, PostgresLogs, Query},
};
use domain::{
    id::{BuildId, DeploymentId, InstanceId, NodeId, OrganizationId, ServiceId},
    quantity::Bytes,
};
use protocol::log::{LogBatch, LogLine, LogSource, Stream};
use sqlx::PgPool;
use testkit::postgres::{Database, template};

struct Rig {
    database: Database,
    logs: PostgresLogs,
}

const PLENTY: Bytes = Bytes::mebibytes(1024);

fn config(url: &str) -> DatabaseConfig {
    let url = SecretString::from(url.to_owned());
    DatabaseConfig {
        owner_url: url.clone(),
        system_url: url.clone(),
        app_url: url.clone(),
        logs_url: url,
        connections: 5,
    }
}

/// A log database of a test's own.
pub async fn database() -> Database {
    let migrations = include_str!("../../migrations-logs/0001_initial.sql");
    let template = template("logs", migrations, async |url: &str| {
        logs::migrate(&config(url)).await
    });
    template.await.unwrap().database().await.unwrap()
}

async fn rig(budget: Bytes) -> Rig {
    let database = database().await;
    let config = config(&database.url_as("railhead_owner"));
    let logs = PostgresLogs::connect(&config, budget).unwrap();
    Rig { database, logs }
}

impl Rig {
    async fn pool(&self) -> PgPool {
        PgPool::connect(&self.database.url_as("railhead_owner"))
            .await
            .unwrap()
    }
}

fn origin() -> Origin {
    Origin {
        node: NodeId::new(),
        organization: OrganizationId::new(),
        service: ServiceId::new(),
        deployment: DeploymentId::new(),
        region: "eu-west".parse().unwrap(),
    }
}

fn batch(source: LogSource, first_line: u64, texts: &[&str]) -> LogBatch {
    let lines = texts.iter().zip(0_i64..).map(|(text, n)| LogLine {
        at: Utc::now() + TimeDelta::microseconds(n),
        stream: Stream::Stdout,
        text: (*text).to_owned(),
    });
    LogBatch {
        source,
        first_line,
        lines: lines.collect(),
        dropped: 0,
    }
}

fn query(origin: &Origin) -> Query {
    Query {
        organization: origin.organization,
        service: origin.service,
        deployment: None,
        kind: Kind::Instance,
        since: None,
        until: None,
        filter: None,
        limit: 100,
    }
}

/// Texts of lines, and gaps as numbers.
fn shown(records: &[LogRecord]) -> Vec<String> {
    let show = |record: &LogRecord| match record {
        LogRecord::Line(line) => line.text.clone(),
        LogRecord::Gap { dropped, .. } => format!("<{dropped} lost>"),
        LogRecord::Idle => "<idle>".to_owned(),
    };
    records.iter().map(show).collect()
}

async fn read(rig: &Rig, query: &Query) -> Vec<String> {
    shown(&rig.logs.read(query).await.unwrap().records)
}

#[tokio::test]
async fn lines_come_back_as_written_and_a_batch_sent_twice_is_stored_once() {
    let rig = rig(PLENTY).await;
    let origin = origin();
    let source = LogSource::Instance(InstanceId::new());
    let odd = [
        "plain",
        "tab\there \\N \\.",
        "two\nlines\r",
        "nul\0 ä 🚂",
        "",
    ];
    let first = batch(source, 0, &odd);
    rig.logs.append(&origin, &first).await.unwrap();
    rig.logs.append(&origin, &first).await.unwrap();
    // Half of it was stored before.
    let overlapping = batch(source, 4, &["again", "new"]);
    rig.logs.append(&origin, &overlapping).await.unwrap();
    let mut gap = batch(source, 6, &["after the gap"]);
    gap.dropped = 41;
    rig.logs.append(&origin, &gap).await.unwrap();
    rig.logs.append(&origin, &gap).await.unwrap();

    let found = read(&rig, &query(&origin)).await;
    let wanted = [
        "plain",
        odd[1],
        odd[2],
        "nul\u{fffd} ä 🚂",
        "",
        "new",
        "<41 lost>",
        "after the gap",
    ];
    assert_eq!(found, wanted);
    assert_eq!(rig.logs.origin(source).await.unwrap(), Some(origin));
    let unknown = LogSource::Instance(InstanceId::new());
    assert_eq!(rig.logs.origin(unknown).await.unwrap(), None);
}

#[tokio::test]
async fn nobody_reads_another_organizations_or_services_lines() {
    let rig = rig(PLENTY).await;
    let (one, other) = (origin(), origin());
    for (origin, text) in [(&one, "mine"), (&other, "theirs")] {
        let source = LogSource::Instance(InstanceId::new());
        rig.logs
            .append(origin, &batch(source, 0, &[text]))
            .await
            .unwrap();
    }
    let mut crossed = query(&one);
    assert_eq!(read(&rig, &crossed).await, ["mine"]);
    crossed.service = other.service;
    assert_eq!(read(&rig, &crossed).await, [""; 0]);
}

#[tokio::test]
async fn a_query_narrows_by_deployment_kind_time_text_and_number() {
    let rig = rig(PLENTY).await;
    let origin = origin();
    let later = Origin {
        deployment: DeploymentId::new(),
        ..origin.clone()
    };
    let build = LogSource::Build(BuildId::new());
    let instance = || LogSource::Instance(InstanceId::new());
    rig.logs
        .append(&origin, &batch(build, 0, &["#1 FROM base"]))
        .await
        .unwrap();
    rig.logs
        .append(
            &origin,
            &batch(instance(), 0, &["GET /a", "100% sure", "get /b"]),
        )
        .await
        .unwrap();
    let between = Utc::now() + TimeDelta::milliseconds(1);
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    rig.logs
        .append(&later, &batch(instance(), 0, &["second"]))
        .await
        .unwrap();

    let base = query(&origin);
    let all = ["GET /a", "100% sure", "get /b", "second"];
    let narrowed = [
        (base.clone(), all.to_vec()),
        (
            Query {
                kind: Kind::Build,
                ..base.clone()
            },
            vec!["#1 FROM base"],
        ),
        (
            Query {
                deployment: Some(later.deployment),
                ..base.clone()
            },
            vec!["second"],
        ),
        (
            Query {
                since: Some(between),
                ..base.clone()
            },
            vec!["second"],
        ),
        (
            Query {
                until: Some(between),
                ..base.clone()
            },
            all[..3].to_vec(),
        ),
        (
            Query {
                filter: Some("get".into()),
                ..base.clone()
            },
            vec!["GET /a", "get /b"],
        ),
        (
            Query {
                filter: Some("0%".into()),
                ..base.clone()
            },
            vec!["100% sure"],
        ),
        (
            Query {
                limit: 2,
                ..base.clone()
            },
            vec!["get /b", "second"],
        ),
    ];
    for (query, wanted) in narrowed {
        assert_eq!(read(&rig, &query).await, wanted, "{query:?}");
    }
}

#[tokio::test]
async fn following_misses_no_line_that_is_committed_late() {
    let rig = rig(PLENTY).await;
    let origin = origin();
    let source = LogSource::Instance(InstanceId::new());
    rig.logs
        .append(&origin, &batch(source, 0, &["before"]))
        .await
        .unwrap();
    // A slow replica: its transaction begins first and ends last.
    let pool = rig.pool().await;
    let mut slow = pool.begin().await.unwrap();
    sqlx::query(
        "insert into log_line (day, part, organization_id, service_id, deployment_id, source_id,
            kind, region, line, at, stream, dropped, text)
         select day, part, organization_id, service_id, deployment_id, gen_random_uuid(), kind,
            region, line, at, stream, dropped, 'slow' from log_line",
    )
    .execute(&mut *slow)
    .await
    .unwrap();
    let follow = query(&origin);
    let page = rig.logs.read(&follow).await.unwrap();
    assert_eq!(shown(&page.records), ["before"]);
    rig.logs
        .append(&origin, &batch(source, 1, &["quick"]))
        .await
        .unwrap();

    let mut seen = Vec::new();
    let mut cursor = page.cursor;
    let mut step = async |seen: &mut Vec<String>| {
        let page = rig.logs.follow(&follow, cursor).await.unwrap();
        cursor = page.cursor;
        seen.extend(shown(&page.records));
    };
    step(&mut seen).await;
    slow.commit().await.unwrap();
    testkit_poll(async || {
        step(&mut seen).await;
        seen.len() >= 2
    })
    .await;
    step(&mut seen).await;
    seen.sort();
    assert_eq!(seen, ["quick", "slow"], "each line once");
}

/// Another database's transaction may hold the horizon back for a moment.
async fn testkit_poll(mut is: impl AsyncFnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !is().await {
        assert!(std::time::Instant::now() < end, "not within 30 s");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_oldest_lines_go_at_the_budget_and_the_gap_is_shown() {
    let rig = rig(Bytes::mebibytes(1)).await;
    let origin = origin();
    let source = LogSource::Instance(InstanceId::new());
    // Random letters: text that repeats would be stored compressed.
    let text = || -> String {
        std::iter::repeat_with(|| rand::random_range('a'..='z'))
            .take(900)
            .collect()
    };
    let mut first_line = 0;
    for _ in 0..6 {
        for _ in 0..2 {
            let texts: Vec<String> = (0..200).map(|_| text()).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            rig.logs
                .append(&origin, &batch(source, first_line, &texts))
                .await
                .unwrap();
            first_line += 200;
        }
        rig.logs.keep_within_budget().await.unwrap();
    }
    rig.logs
        .append(&origin, &batch(source, first_line, &["newest"]))
        .await
        .unwrap();

    let all = Query {
        limit: 10_000,
        ..query(&origin)
    };
    let records = rig.logs.read(&all).await.unwrap().records;
    let lost: u64 = records
        .iter()
        .map(|record| match record {
            LogRecord::Gap { dropped, .. } => *dropped,
            _ => 0,
        })
        .sum();
    let kept = records
        .iter()
        .filter(|record| matches!(record, LogRecord::Line(_)))
        .count() as u64;
    assert!(lost > 0);
    assert_eq!(
        lost + kept,
        first_line + 1,
        "every line is there or counted"
    );
    assert_eq!(shown(&records).last().unwrap(), "newest");
    let bytes: i64 = sqlx::query_scalar(
        "select coalesce(sum(pg_total_relation_size(name::regclass)), 0)::bigint from log_partition",
    )
    .fetch_one(&rig.pool().await)
    .await
    .unwrap();
    assert!(bytes <= 2 << 20, "{bytes} bytes are kept");
}

#[tokio::test]
async fn a_wrong_clock_and_a_batch_without_measure_do_no_harm() {
    let rig = rig(PLENTY).await;
    let origin = origin();
    let source = LogSource::Instance(InstanceId::new());
    let mut odd = batch(source, 0, &["future", "past"]);
    odd.lines[0].at = DateTime::<Utc>::MAX_UTC;
    odd.lines[1].at = DateTime::<Utc>::MIN_UTC;
    rig.logs.append(&origin, &odd).await.unwrap();
    assert_eq!(read(&rig, &query(&origin)).await, ["past", "future"]);

    let large = vec!["x"; 1_001];
    let far = LogBatch {
        first_line: u64::MAX,
        ..batch(source, 0, &["x"])
    };
    for bad in [
        batch(source, 2, &large),
        batch(source, 2, &[&"x".repeat(2 << 20)]),
        far,
    ] {
        let error = rig.logs.append(&origin, &bad).await.unwrap_err();
        assert!(matches!(error, logs::Error::Invalid(_)), "{error}");
    }
}

#[tokio::test]
async fn a_deleted_service_leaves_no_line() {
    let rig = rig(PLENTY).await;
    let (gone, stays) = (origin(), origin());
    for origin in [&gone, &stays] {
        let source = LogSource::Instance(InstanceId::new());
        rig.logs
            .append(origin, &batch(source, 0, &["line"]))
            .await
            .unwrap();
    }
    rig.logs
        .forget(gone.organization, gone.service)
        .await
        .unwrap();
    assert_eq!(read(&rig, &query(&gone)).await, [""; 0]);
    assert_eq!(read(&rig, &query(&stays)).await, ["line"]);
}
