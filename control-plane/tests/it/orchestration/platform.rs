//! A platform for one test: a database of its own, replicas of the control plane in this process,
//! fake nodes, and the intents that the API would write.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use control_plane::{
    Config, State, ca, jobs, node_http, reconcile,
    secrets::{Label, LocalKey, Sealer},
    store::{self, Pools, evaluation, tx::SystemTx},
    waker::Topic,
};
use domain::{
    deployment::{Reason, Source},
    id::{
        DeploymentId, EnvironmentId, JoinTokenId, OrganizationId, ProjectId, RegionId, ReleaseId,
        ServiceId, VariableId,
    },
    spec::ServiceSpec,
};
use protocol::{join::Role, join_token::JoinToken};
use sha2::{Digest as _, Sha256};
use sqlx::{PgPool, types::Json};
use tempfile::TempDir;
use testkit::{
    fake_agent::FakeAgent,
    fake_edge::FakeEdge,
    postgres::{Database, template},
    wait::{until, until_some},
};
use tokio::{net::TcpListener, task::JoinSet};

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
        let state = State::connect(self.config.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        let wakes = state.waker.clone();
        tasks.spawn(wakes.run(state.pools.listen_options(), state.shutdown.clone()));
        tasks.spawn(reconcile::run(state.clone()));
        tasks.spawn(jobs::run(state.clone()));
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

    /// A web service with its default hostname.
    pub async fn service(&self, name: &str, spec: &str) -> ServiceId {
        let id = ServiceId::new();
        let spec: ServiceSpec = serde_json::from_str(spec).unwrap();
        sqlx::query(
            "insert into service (id, organization_id, environment_id, name, spec) values ($1, $2, $3, $4, $5)",
        )
        .bind(id.uuid())
        .bind(self.organization.uuid())
        .bind(self.environment.uuid())
        .bind(name)
        .bind(Json(spec))
        .execute(&self.pool)
        .await
        .unwrap();
        sqlx::query(
            "insert into domain (id, organization_id, service_id, hostname, kind) values ($1, $2, $3, $4, 'default')",
        )
        .bind(domain::id::DomainId::new().uuid())
        .bind(self.organization.uuid())
        .bind(id.uuid())
        .bind(format!("{name}-shop.railhead.test"))
        .execute(&self.pool)
        .await
        .unwrap();
        id
    }

    pub async fn variable(&self, service: ServiceId, name: &str, value: &str) {
        let label = Label::variable(self.organization, service, name, 1);
        let sealed = self.sealer.seal(&label, value.as_bytes()).await.unwrap();
        sqlx::query(
            "insert into variable (id, organization_id, environment_id, service_id, name, ciphertext, wrapped_key)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(VariableId::new().uuid())
        .bind(self.organization.uuid())
        .bind(self.environment.uuid())
        .bind(service.uuid())
        .bind(name)
        .bind(sealed.ciphertext)
        .bind(sealed.wrapped_key)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Asks for a deployment from a git repository.
    pub async fn deploy(&self, replica: &Replica, service: ServiceId) -> DeploymentId {
        let source = Source::Git {
            repo: "https://git.example.com/acme/shop.git".into(),
            reference: None,
            root: "/".into(),
            deploy_key: None,
        };
        self.deployment(replica, service, source, Reason::Deploy)
            .await
    }

    pub async fn rollback(
        &self,
        replica: &Replica,
        service: ServiceId,
        release: ReleaseId,
    ) -> DeploymentId {
        let source = Source::Release { id: release };
        self.deployment(replica, service, source, Reason::Rollback)
            .await
    }

    async fn deployment(
        &self,
        replica: &Replica,
        service: ServiceId,
        source: Source,
        reason: Reason,
    ) -> DeploymentId {
        let id = DeploymentId::new();
        sqlx::query(
            "insert into deployment (id, organization_id, service_id, number, source, spec, reason, state)
             select $1, $2, $3, (select coalesce(max(number), 0) + 1 from deployment where service_id = $3),
                $4, spec, $5, 'queued' from service where id = $3",
        )
        .bind(id.uuid())
        .bind(self.organization.uuid())
        .bind(service.uuid())
        .bind(Json(source))
        .bind(reason.as_str())
        .execute(&self.pool)
        .await
        .unwrap();
        replica.state.waker.wake(Topic::Deployments);
        id
    }

    /// Changes the service's specification without a deployment.
    pub async fn respec(&self, replica: &Replica, service: ServiceId, spec: &str) {
        let spec: ServiceSpec = serde_json::from_str(spec).unwrap();
        sqlx::query("update service set spec = $2 where id = $1")
            .bind(service.uuid())
            .bind(Json(spec))
            .execute(&self.pool)
            .await
            .unwrap();
        let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
        evaluation::request(&mut tx, self.organization, service, "scale")
            .await
            .unwrap();
        tx.commit().await.unwrap();
        replica.state.waker.wake(Topic::Evaluations);
    }

    pub async fn state_of(&self, deployment: DeploymentId) -> String {
        sqlx::query_scalar("select state from deployment where id = $1")
            .bind(deployment.uuid())
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Waits until the deployment is in this state, and fails when it ends in another.
    pub async fn reaches(&self, deployment: DeploymentId, state: &str) {
        let seen = until_some(DEADLINE, async || {
            let now = self.state_of(deployment).await;
            let over = ["live", "failed", "canceled", "superseded"].contains(&now.as_str());
            (now == state || over).then_some(now)
        })
        .await;
        assert_eq!(seen, state, "{:?}", self.problem_of(deployment).await);
    }

    pub async fn problem_of(&self, deployment: DeploymentId) -> Option<(String, String)> {
        let row: (Option<String>, Option<String>) =
            sqlx::query_as("select error_code, error_message from deployment where id = $1")
                .bind(deployment.uuid())
                .fetch_one(&self.pool)
                .await
                .unwrap();
        row.0.zip(row.1)
    }

    /// Waits until a count is this.
    pub async fn counts(&self, sql: &'static str, service: ServiceId, wanted: i64) {
        let mut last = -1;
        let reached = tokio::time::timeout(
            DEADLINE,
            until(DEADLINE * 2, async || {
                last = self.count(sql, service).await;
                last == wanted
            }),
        );
        let reached = reached.await.is_ok();
        assert!(reached, "{sql}: {last} instead of {wanted}");
    }

    pub async fn count(&self, sql: &'static str, service: ServiceId) -> i64 {
        sqlx::query_scalar(sql)
            .bind(service.uuid())
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }
}

/// Instances of a service ($1) that have not gone.
pub const INSTANCES: &str = "select count(*) from instance where service_id = $1 and purpose = 'serve' and stopped_at is null";

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
