//! Commands that end while nobody watches, and whose exit code the engine does not know.

use super::*;

async fn running() -> (Node, InstanceItem) {
    let mut node = Node::start();
    let job = InstanceItem {
        port: None,
        ..item(once())
    };
    has_image(&node, &job, "1000");
    node.want(&[&job]);
    node.until("it runs", |observed, _| {
        let mut all = observed.instances.iter();
        all.any(|one| one.state == State::Running)
    })
    .await;
    (node, job)
}

/// The code of its problem.
async fn ended(node: &mut Node) -> String {
    node.until("it has ended", |observed, _| {
        observed.instances[0].state == State::Stopped
    })
    .await;
    let problem = node.observed.borrow().instances[0].problem.clone();
    problem.unwrap().code
}

#[tokio::test]
async fn the_code_of_a_command_that_ended_while_the_engine_did_not_answer_is_lost() {
    let (mut node, job) = running().await;
    node.engine.world().down = true;
    node.until("it is missed", |observed, _| {
        observed.engine == Engine::Away
    })
    .await;
    node.engine.exit(job.id, 255);
    node.engine.world().down = false;
    assert_eq!(ended(&mut node).await, "exit_code_lost");
}

#[tokio::test]
async fn the_code_of_a_command_that_ended_while_the_engine_began_anew_is_lost() {
    let (mut node, job) = running().await;
    node.engine.cut_events();
    node.engine.exit(job.id, 255);
    assert_eq!(ended(&mut node).await, "exit_code_lost");
}

#[tokio::test]
async fn the_code_of_a_command_that_ended_while_the_agent_was_away_is_lost() {
    let (mut node, job) = running().await;
    let disk = node.folder.path().join("instances.json");
    node.until("it is on the disk", |_, _| {
        std::fs::read_to_string(&disk).is_ok_and(|text| text.contains(r#""state":"running""#))
    })
    .await;
    node.engine.exit(job.id, 255);
    node.restart();
    assert_eq!(ended(&mut node).await, "exit_code_lost");
}

#[tokio::test]
async fn the_code_of_a_command_that_was_watched_is_its_own() {
    let (mut node, job) = running().await;
    node.engine.exit(job.id, 255);
    assert_eq!(ended(&mut node).await, "exited");
}
