//! A replica whose database takes no changes gets no traffic and says why; changes are to be tried again later.

use control_plane::{
    State,
    readiness::{self, NotReady},
    store::{self, epoch, tx::SystemTx},
};
use domain::generation::{Epoch, Generation, Position};
use protocol::feed::FeedName;

use crate::orchestration::platform::Platform;

async fn state(platform: &Platform) -> State {
    State::connect(platform.config().clone()).await.unwrap()
}

/// As a standby does; one that was not promoted can't be made of a database alone.
async fn take_no_changes(platform: &Platform) {
    sqlx::raw_sql(
        "do $$ begin
            execute format('alter database %I set default_transaction_read_only = on', current_database());
         end $$",
    )
    .execute(&platform.pool)
    .await
    .unwrap();
}

async fn write(state: &State) -> Result<(), store::Error> {
    let mut tx = SystemTx::begin(&state.pools).await?;
    let position = Position {
        epoch: Epoch(1),
        generation: Generation(1),
    };
    let feed = FeedName::GlobalRoutes(domain::ring::Ring::All);
    epoch::show(&mut tx, &feed, position).await
}

#[tokio::test]
async fn a_database_that_takes_no_changes_is_not_ready_and_says_why() {
    let platform = Platform::new().await;
    let before = state(&platform).await;
    readiness::check(&before).await.unwrap();
    write(&before).await.unwrap();

    take_no_changes(&platform).await;
    let replica = state(&platform).await;
    let refused = readiness::check(&replica).await.unwrap_err();
    assert!(matches!(refused, NotReady::ReadOnly), "{refused}");
    assert!(refused.to_string().contains("takes no changes"));
    let failed = write(&replica).await.unwrap_err();
    assert!(matches!(failed, store::Error::ReadOnly(_)), "{failed}");
    assert!(failed.is_retryable());
}
