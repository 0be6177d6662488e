//! The event stream: in the order of commits, resumed where it broke.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::json;

use super::world::{Person, World};

const DEADLINE: Duration = Duration::from_secs(30);

/// Reads `count` events of the stream as (id, kind).
async fn follow(
    world: &World,
    person: &Person,
    last: Option<&str>,
    count: usize,
) -> Vec<(String, String)> {
    let path = format!("/v1/organizations/{}/events", world.acme.id);
    let mut request = world.server.request(Method::GET, &path, Some(person));
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    tokio::time::timeout(DEADLINE, async {
        while events.len() < count {
            text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
            while let Some((frame, rest)) = text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = frame.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim().to_owned())
                };
                if let (Some(id), Some(kind)) = (field("id:"), field("event:")) {
                    events.push((id, kind));
                }
                text = rest.to_owned();
            }
        }
    })
    .await
    .expect("the events came in time");
    events
}

async fn project(world: &World, name: &str) {
    let path = format!("/v1/organizations/{}/projects", world.acme.id);
    world
        .server
        .post(&world.acme.owner, &path, json!({ "name": name }))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_after_the_last_event_without_gap_or_repetition() {
    let world = World::new().await;
    project(&world, "one").await;
    project(&world, "two").await;
    let all = follow(&world, &world.acme.viewer, Some("0"), 4).await;
    let ids: Vec<_> = all.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
    assert_eq!(all[0].1, "project.created");
    let rest = follow(&world, &world.acme.viewer, Some("3"), 1).await;
    assert_eq!(rest, all[3..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_event_reaches_those_who_follow_already() {
    let world = World::new().await;
    project(&world, "one").await;
    let (events, ()) = tokio::join!(
        follow(&world, &world.acme.viewer, Some("2"), 1),
        project(&world, "two")
    );
    assert_eq!(events[0], ("3".to_owned(), "project.created".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_was_away_for_too_long_is_told_to_read_everything_anew() {
    let world = World::new().await;
    project(&world, "one").await;
    project(&world, "two").await;
    sqlx::query("delete from event where sequence <= 3")
        .execute(world.pool())
        .await
        .unwrap();
    for last in ["1", "99"] {
        let events = follow(&world, &world.acme.viewer, Some(last), 1).await;
        assert_eq!(events[0], ("4".to_owned(), "reset".to_owned()));
    }
    let events = follow(&world, &world.acme.viewer, Some("3"), 1).await;
    assert_eq!(events[0].0, "4");
}
