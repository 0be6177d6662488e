//! A platform for one test: a database of its own, replicas of the control plane in this process,
//! fake nodes, and the intents that the API would write.

mod intent;
mod watch;

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use control_plane::{
    Config, State, ca,
    feed::route::{RENDERING, Rendering},
    jobs, node_http, reconcile,
    secrets::{LocalKey, Sealer},
    store::{self, Pools, tx::SystemTx},
    workflow,
};
use domain::id::{EnvironmentId, JoinTokenId, OrganizationId, ProjectId, RegionId};
use protocol::{join::Role, join_token::JoinToken};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tempfile::TempDir;
use testkit::{
    fake_agent::FakeAgent,
    fake_edge::FakeEdge,
    postgres::{Database, template},
    wait::until_some,
};
use tokio::{net::TcpListener, task::JoinSet};

pub use watch::INSTANCES;

/// Nothing here takes that long; a loaded machine may.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A platform with two regions.
pub struct Platform {
    pub database: Database,
    /// As superuser: for looking and for intents.
    pub pool: PgPool,
    pub sealer: Sealer,
    pub organization: OrganizationId,
    pub project: ProjectId,
    pub environment: EnvironmentId,
    config: Config,
    _dir: TempDir,
}

/// A running control plane; ended like a killed process when dropped.
pub struct Replica {
    pub state: State,
    pub url: reqwest::Url,
    _tasks: JoinSet<()>,
}

impl Platform {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines in the configuration file.
    pub async fn with(more: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        show_logs();
        let database = migrated().await;
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("kek");
        std::fs::write(&key, "07".repeat(32)).unwrap();
        let config = config(&database, &key, more, dir.path());
        let pool = PgPool::connect(&database.superuser_url()).await.unwrap();
        let sealer = Sealer::new(LocalKey::read(&key).unwrap());
        let pools = Pools::connect(&config.database).await.unwrap();
        let mut tx = SystemTx::begin(&pools).await.unwrap();
        ca::ensure(&mut tx, &sealer, "railhead.test").await.unwrap();
        tx.commit().await.unwrap();
        let mut platform = Self {
            database,
            pool,
            sealer,
            organization: OrganizationId::new(),
            project: ProjectId::new(),
            environment: EnvironmentId::new(),
            config,
            _dir: dir,
        };
        platform.tenants().await;
        platform
    }

    async fn tenants(&mut self) {
        for region in ["us-east", "eu-west"] {
            sqlx::query("insert into region (id, name) values ($1, $2)")
                .bind(RegionId::new().uuid())
                .bind(region)
                .execute(&self.pool)
                .await
                .unwrap();
        }
        let (organization, project) = (self.organization.uuid(), self.project.uuid());
        sqlx::query("insert into organization (id, name) values ($1, 'acme')")
            .bind(organization)
            .execute(&self.pool)
            .await
            .unwrap();
        sqlx::query("insert into project (id, organization_id, name) values ($1, $2, 'shop')")
            .bind(project)
            .bind(organization)
            .execute(&self.pool)
            .await
            .unwrap();
        sqlx::query(
            "insert into environment (id, organization_id, project_id, name) values ($1, $2, $3, 'production')",
        )
        .bind(self.environment.uuid())
        .bind(organization)
        .bind(project)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// The configuration file that replicas start with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes it for replicas that start later.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The control plane's own way to the database, without a replica.
    pub async fn pools(&self) -> Pools {
        Pools::connect(&self.config.database).await.unwrap()
    }

    /// Starts a control plane on this database.
    pub async fn replica(&self) -> Replica {
        self.replica_rendering(RENDERING).await
    }

    /// One that renders routes in another way.
    pub async fn replica_rendering(&self, rendering: Rendering) -> Replica {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.start(listener, rendering).await
    }

    /// One that nodes reach where they reached another.
    pub async fn replica_at(&self, url: &reqwest::Url) -> Replica {
        let address = ("127.0.0.1", url.port().unwrap());
        // The killed one lets go of its port when its tasks are dropped.
        let listener = until_some(DEADLINE, async || TcpListener::bind(address).await.ok()).await;
        self.start(listener, RENDERING).await
    }

    async fn start(&self, listener: TcpListener, rendering: Rendering) -> Replica {
        let config = self.config.clone();
        let connecting = Box::pin(State::connect_rendering(config, rendering));
        let state = connecting.await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        let wakes = state.waker.clone();
        tasks.spawn(wakes.run(state.pools.listen_options(), state.shutdown.clone()));
        tasks.spawn(reconcile::run(state.clone()));
        tasks.spawn(jobs::run(state.clone()));
        tasks.spawn(workflow::run(state.clone()));
        let node_api = state.clone();
        tasks.spawn(async move { node_http::serve(node_api, listener).await.unwrap() });
        Replica {
            state,
            url: format!("https://127.0.0.1:{port}").parse().unwrap(),
            _tasks: tasks,
        }
    }

    /// A join token, good for `minutes`.
    pub async fn join_token(&self, region: &str, role: Role, minutes: i32) -> String {
        let keys: String =
            sqlx::query_scalar("select public_pem from platform_key where name = 'ca'")
                .fetch_one(&self.pool)
                .await
                .unwrap();
        let token = JoinToken {
            id: JoinTokenId::new(),
            secret: hex::encode(rand::random::<[u8; 32]>()),
            ca_sha256: spki_sha256(&keys),
        };
        sqlx::query(
            "insert into join_token (id, region_id, role, secret_hash, expires_at)
             select $1, id, $3, $4, now() + make_interval(mins => $5) from region where name = $2",
        )
        .bind(token.id.uuid())
        .bind(region)
        .bind(role.as_str())
        .bind(Sha256::digest(token.secret.as_bytes()).as_slice())
        .bind(minutes)
        .execute(&self.pool)
        .await
        .unwrap();
        token.to_string()
    }

    pub async fn agent(&self, replica: &Replica, region: &str, name: &str) -> FakeAgent {
        let token = self.join_token(region, Role::Agent, 15).await;
        FakeAgent::join(replica.url.clone(), &token, name)
            .await
            .unwrap()
    }

    pub async fn edge(&self, replica: &Replica, region: &str, name: &str) -> FakeEdge {
        let token = self.join_token(region, Role::Edge, 15).await;
        FakeEdge::join(replica.url.clone(), &token, name)
            .await
            .unwrap()
    }
}

/// `RUST_LOG` says how much; shown when the test fails.
fn show_logs() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
}

async fn migrated() -> Database {
    static FINGERPRINT: OnceLock<String> = OnceLock::new();
    let fingerprint = FINGERPRINT.get_or_init(|| {
        let all = store::MIGRATIONS.iter().map(|m| hex::encode(&m.checksum));
        all.collect::<Vec<_>>().join("-")
    });
    template("control_plane", fingerprint, async |owner_url: &str| {
        let owner = PgPool::connect(owner_url).await?;
        store::MIGRATIONS.run(&owner).await?;
        owner.close().await;
        Ok(())
    })
    .await
    .unwrap()
    .database()
    .await
    .unwrap()
}

fn config(database: &Database, key: &std::path::Path, more: &str, dir: &std::path::Path) -> Config {
    let text = format!(
        r#"
        public_url = "https://127.0.0.1:8443"
        node_url = "https://127.0.0.1:8444"
        platform_domain = "railhead.test"
        listen = "127.0.0.1:0"
        listen_node = "127.0.0.1:0"
        listen_metrics = "127.0.0.1:0"
        [database]
        owner_url = "{}"
        system_url = "{}"
        app_url = "{}"
        logs_url = "{}"
        [keys]
        encryption_key_file = "{}"
        [registry]
        host = "127.0.0.1:5000"
        {more}
        "#,
        database.url_as("railhead_owner"),
        database.url_as("railhead_system"),
        database.url_as("railhead_app"),
        database.url_as("railhead_logs"),
        key.display(),
    );
    let path: PathBuf = dir.join("control-plane.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

fn spki_sha256(pem: &str) -> [u8; 32] {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    Sha256::digest(certificate.public_key().raw).into()
}
