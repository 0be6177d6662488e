//! Templates and their clones.

use std::time::Duration;

use anyhow::Context as _;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;

use super::cluster::superuser_url;

/// Roles that the operator of a real installation makes.
const ROLES: [(&str, &str); 4] = [
    ("railhead_owner", ""),
    ("railhead_system", "bypassrls"),
    ("railhead_app", ""),
    ("railhead_logs", ""),
];

/// All test processes make templates and roles one after the other.
const LOCK: i64 = 0x7261_696c_6865_6164;

/// A migrated database that is only cloned.
#[derive(Debug, Clone)]
pub struct Template {
    cluster: Url,
    name: String,
}

/// A test's own database, dropped at its end unless the test panics.
#[derive(Debug)]
pub struct Database {
    cluster: Url,
    /// Its name in the cluster.
    pub name: String,
}

/// The template of a schema. `migrate` gets the owner's URL and runs once per `fingerprint` (of the
/// migrations) however many processes ask.
///
/// # Errors
/// When there is no cluster or the migration fails.
pub async fn template(
    schema: &str,
    fingerprint: &str,
    migrate: impl AsyncFnOnce(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Template> {
    let cluster: Url = superuser_url().await?.parse().context("no database URL")?;
    let hash = hex::encode(Sha256::digest(fingerprint));
    let name = format!("template_{schema}_{}", hash.get(..12).unwrap_or(&hash));
    let mut admin = PgConnection::connect(cluster.as_str())
        .await
        .context("the test cluster can't be reached")?;
    sqlx::query("select pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut admin)
        .await?;
    let template = Template { cluster, name };
    template.ensure(&mut admin, migrate).await?;
    admin.close().await?;
    Ok(template)
}

impl Template {
    async fn ensure(
        &self,
        admin: &mut PgConnection,
        migrate: impl AsyncFnOnce(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if exists(admin, "pg_database", "datname", &self.name).await? {
            return Ok(());
        }
        for (role, attributes) in ROLES {
            if !exists(admin, "pg_roles", "rolname", role).await? {
                run(admin, format!("create role {role} {attributes}")).await?;
            }
        }
        let building = format!("{}_building", self.name);
        run(
            admin,
            format!("drop database if exists {building} with (force)"),
        )
        .await?;
        run(
            admin,
            format!("create database {building} owner railhead_owner"),
        )
        .await?;
        migrate(url_as(&self.cluster, &building, "railhead_owner").as_str())
            .await
            .context("the schema can't be migrated")?;
        disconnect_all(admin, &building).await?;
        let rename = format!("alter database {building} rename to {}", self.name);
        run(admin, rename).await
    }

    /// A clone for one test.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn database(&self) -> anyhow::Result<Database> {
        let id = hex::encode(rand::rng().random::<[u8; 8]>());
        let name = format!("test_{id}");
        let mut admin = PgConnection::connect(self.cluster.as_str()).await?;
        let template = &self.name;
        let create = format!("create database {name} template {template} owner railhead_owner");
        run(&mut admin, create).await?;
        admin.close().await?;
        Ok(Database {
            cluster: self.cluster.clone(),
            name,
        })
    }
}

impl Database {
    /// A URL whose connections have this role from their first statement on.
    #[must_use]
    pub fn url_as(&self, role: &str) -> String {
        url_as(&self.cluster, &self.name, role).into()
    }

    /// A superuser's URL, for what no role of ours may do.
    #[must_use]
    pub fn superuser_url(&self) -> String {
        let mut url = self.cluster.clone();
        url.set_path(&self.name);
        url.into()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::warn!(database = %self.name, "kept for a look, because the test failed");
            return;
        }
        let (cluster, name) = (self.cluster.clone(), self.name.clone());
        // A thread of its own, because the test's runtime may be the one that is dropping us.
        let dropping = std::thread::spawn(move || -> anyhow::Result<()> {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(async {
                    let mut admin = PgConnection::connect(cluster.as_str()).await?;
                    run(&mut admin, format!("drop database {name} with (force)")).await
                })
        });
        if !matches!(dropping.join(), Ok(Ok(()))) {
            tracing::warn!(database = %self.name, "could not be dropped");
        }
    }
}

fn url_as(cluster: &Url, database: &str, role: &str) -> Url {
    let mut url = cluster.clone();
    url.set_path(database);
    url.query_pairs_mut().append_pair("options[role]", role);
    url
}

/// A database can be renamed when nobody is connected; a dropped pool takes a while to close.
async fn disconnect_all(admin: &mut PgConnection, database: &str) -> anyhow::Result<()> {
    let terminate =
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1";
    loop {
        let connected: i64 = sqlx::query_scalar(terminate)
            .bind(database)
            .fetch_one(&mut *admin)
            .await?;
        if connected == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn exists(
    admin: &mut PgConnection,
    catalogue: &str,
    column: &str,
    name: &str,
) -> anyhow::Result<bool> {
    let sql = format!("select exists (select from {catalogue} where {column} = $1)");
    let exists = sqlx::query_scalar(AssertSqlSafe(sql)).bind(name);
    Ok(exists.fetch_one(admin).await?)
}

/// Runs a statement whose names are this module's own.
async fn run(admin: &mut PgConnection, sql: String) -> anyhow::Result<()> {
    sqlx::query(AssertSqlSafe(sql.clone()))
        .execute(admin)
        .await
        .with_context(|| format!("the test cluster refuses: {sql}"))?;
    Ok(())
}
