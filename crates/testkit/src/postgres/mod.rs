//! Real PostgreSQL for tests. One cluster for all test processes, one migrated template database per
//! schema, and a clone of it for each test (whole databases, because LISTEN channels are per database).
//!
//! The cluster is `RAILHEAD_TEST_DATABASE_URL` (a superuser's URL). Without it a private cluster is
//! started from the installed binaries, shared by all test processes of this user, which ends by itself
//! after some hours.

mod cluster;
mod database;

pub use database::{Database, Template, template};

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, PgConnection};

    use super::*;

    async fn schema(url: &str) -> anyhow::Result<()> {
        let mut owner = PgConnection::connect(url).await?;
        sqlx::query("create table thing (id int primary key)")
            .execute(&mut owner)
            .await?;
        sqlx::query("grant select, insert on thing to railhead_app")
            .execute(&mut owner)
            .await?;
        Ok(())
    }

    async fn role_of(url: &str) -> String {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar("select current_user::text")
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn each_test_has_a_migrated_database_of_its_own() {
        let template = template("testkit", "1", schema).await.unwrap();
        let again = super::template("testkit", "1", async |_: &str| {
            anyhow::bail!("migrated twice")
        })
        .await
        .unwrap();
        let (first, second) = (
            template.database().await.unwrap(),
            again.database().await.unwrap(),
        );
        let mut app = PgConnection::connect(&first.url_as("railhead_app"))
            .await
            .unwrap();
        sqlx::query("insert into thing values (1)")
            .execute(&mut app)
            .await
            .unwrap();
        assert!(
            sqlx::query("drop table thing")
                .execute(&mut app)
                .await
                .is_err()
        );

        let mut other = PgConnection::connect(&second.url_as("railhead_app"))
            .await
            .unwrap();
        let things: i64 = sqlx::query_scalar("select count(*) from thing")
            .fetch_one(&mut other)
            .await
            .unwrap();
        assert_eq!(things, 0);
        assert_eq!(
            role_of(&second.url_as("railhead_system")).await,
            "railhead_system"
        );
    }

    #[tokio::test]
    async fn a_database_is_gone_after_its_test() {
        let template = template("testkit", "1", schema).await.unwrap();
        let database = template.database().await.unwrap();
        let url = database.url_as("railhead_app");
        let _left_open = PgConnection::connect(&url).await.unwrap();
        drop(database);
        assert!(PgConnection::connect(&url).await.is_err());
    }

    #[tokio::test]
    async fn a_migration_that_fails_is_told_and_tried_again() {
        // The cluster may remember the success of an earlier run.
        let run = format!("{:x}", rand::random::<u64>());
        let failed = template("testkit_failing", &run, async |_: &str| {
            anyhow::bail!("no such type")
        });
        let error = failed.await.unwrap_err();
        assert!(format!("{error:#}").contains("no such type"), "{error:#}");
        template("testkit_failing", &run, schema).await.unwrap();
    }
}
