//! The edge's process is sent poison of every kind: it does not die of it, serves its users all the time, and takes
//! the next right document. `RAILHEAD_POISON=full` sends ten times as much, `RAILHEAD_POISON_SEED` other poison.

mod harm;
mod million;
mod trial;
mod users;

use std::env;

use testkit::poison::Kind;

use trial::Trial;

fn seed() -> u64 {
    let chosen = env::var("RAILHEAD_POISON_SEED").ok();
    chosen.and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

fn is_full() -> bool {
    env::var("RAILHEAD_POISON").is_ok_and(|value| value == "full")
}

#[tokio::test]
async fn a_process_outlives_poison_of_every_kind_and_serves_all_the_time() {
    let count = if is_full() { 600 } else { 60 };
    let mut trial = Trial::start(seed()).await;
    for (n, kind) in Kind::ALL.into_iter().cycle().take(count).enumerate() {
        let at = trial.chance.below(2);
        println!("number {n}: {kind:?}");
        trial.poison(at, kind).await;
        assert_eq!(trial.is_unharmed().await, Ok(()), "{kind:?}");
        assert_eq!(trial.recovers(at).await, Ok(()), "{kind:?}");
        assert_eq!(trial.is_unharmed().await, Ok(()), "after {kind:?}");
    }

    // Half of it is signed.
    let taken: usize = trial.applied.values().sum();
    assert!(
        taken * 2 > count / 2,
        "of {count} only these were taken: {:?}",
        trial.applied
    );
    assert_eq!(trial.edge.get("/readyz").await, "ready\n");
    let metrics = trial.edge.get("/metrics").await;
    let interruptions = metrics
        .lines()
        .filter(|line| line.starts_with("railhead_link_feed_interruptions_total"));
    assert!(
        interruptions.clone().count() > 0
            && interruptions.into_iter().all(|line| !line.ends_with(" 0")),
        "{metrics}"
    );
}
