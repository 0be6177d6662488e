//! What is stored, for how long, and what is refused.

use super::*;

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
    rig.settled().await;
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
