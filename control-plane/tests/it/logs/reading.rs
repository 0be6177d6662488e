//! What comes back, and to whom.

use super::*;

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
    rig.settled().await;
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
    until(DEADLINE, async || {
        step(&mut seen).await;
        seen.len() >= 2
    })
    .await;
    step(&mut seen).await;
    seen.sort();
    assert_eq!(seen, ["quick", "slow"], "each line once");
}
