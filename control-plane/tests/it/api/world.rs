//! One test's world: a platform, servers of the public API, and two organizations with a person in
//! every role.

use api::role::Role;
use control_plane::{
    Config, State, http,
    identity::token::{Kind, Token},
};
use domain::id::{ApiTokenId, OrganizationId, UserId};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::Value;
use sqlx::PgPool;
use testkit::postgres::Database;
use tokio::{net::TcpListener, task::JoinSet};

use crate::orchestration::platform::Platform;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Person {
    pub user: UserId,
    /// A token with the person's role.
    pub token: String,
}

/// An organization with a person in every role.
pub struct Tenant {
    pub id: OrganizationId,
    pub owner: Person,
    pub admin: Person,
    pub developer: Person,
    pub viewer: Person,
}

impl Tenant {
    /// The person in a role.
    pub fn person(&self, role: Role) -> &Person {
        match role {
            Role::Owner => &self.owner,
            Role::Admin => &self.admin,
            Role::Developer => &self.developer,
            Role::Viewer => &self.viewer,
        }
    }
}

/// A running server of the public API.
pub struct Server {
    pub state: State,
    pub url: String,
    client: reqwest::Client,
    _tasks: JoinSet<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The problem's code.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// A text of the body.
    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_default().to_owned()
    }

    /// The same answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }
}

pub struct World {
    pub platform: Platform,
    config: Config,
    _logs: Database,
    pub server: Server,
    pub acme: Tenant,
    pub mallory: Tenant,
    /// Runs the platform, and is a member of no organization but their own.
    pub operator: Person,
}

impl World {
    pub async fn new() -> Self {
        Self::with("[limits]\nreads_per_minute = 1000000\nwrites_per_minute = 1000000").await
    }

    /// With more lines in the configuration file.
    pub async fn with(more: &str) -> Self {
        let platform = Platform::with(more).await;
        let logs = crate::logs::database().await;
        let mut config = platform.config().clone();
        config.database.logs_url = logs.url_as("railhead_owner").into();
        let server = Server::start(&config).await;
        let acme = tenant(&platform.pool, "umbrella").await;
        let mallory = tenant(&platform.pool, "mallory").await;
        let operations = organization(&platform.pool, "operations").await;
        let operator = person(&platform.pool, operations, Role::Owner, true).await;
        Self {
            platform,
            config,
            _logs: logs,
            server,
            acme,
            mallory,
            operator,
        }
    }

    /// Another server on the same databases.
    pub async fn second_server(&self) -> Server {
        Server::start(&self.config).await
    }

    /// Another server on the same databases, configured otherwise.
    pub async fn other_server(&self, change: impl FnOnce(&mut Config)) -> Server {
        let mut config = self.config.clone();
        change(&mut config);
        Server::start(&config).await
    }

    /// For looking at the database.
    pub fn pool(&self) -> &PgPool {
        &self.platform.pool
    }
}

impl Server {
    /// Serves the public API; no background work.
    async fn start(config: &Config) -> Self {
        let connecting = Box::pin(State::connect(config.clone()));
        let state = connecting.await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        let served = state.clone();
        tasks.spawn(async move { http::serve(served, listener).await.unwrap() });
        let wakes = state.waker.clone();
        tasks.spawn(wakes.run(state.pools.listen_options(), state.shutdown.clone()));
        let ca = reqwest::Certificate::from_pem(state.keys.authority.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]);
        Self {
            state,
            url: format!("https://127.0.0.1:{port}"),
            client: client.build().unwrap(),
            _tasks: tasks,
        }
    }

    /// A request that can still get headers and a body.
    pub fn request(
        &self,
        method: Method,
        path: &str,
        person: Option<&Person>,
    ) -> reqwest::RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match person {
            Some(person) => request.bearer_auth(&person.token),
            None => request,
        }
    }

    pub async fn get(&self, person: &Person, path: &str) -> Answer {
        read(self.request(Method::GET, path, Some(person))).await
    }

    pub async fn post(&self, person: &Person, path: &str, body: Value) -> Answer {
        read(self.request(Method::POST, path, Some(person)).json(&body)).await
    }

    pub async fn put(&self, person: &Person, path: &str, body: Value) -> Answer {
        read(self.request(Method::PUT, path, Some(person)).json(&body)).await
    }

    /// A change of whatever version is there.
    pub async fn patch(&self, person: &Person, path: &str, body: Value) -> Answer {
        let request = self.request(Method::PATCH, path, Some(person));
        read(request.header("if-match", "*").json(&body)).await
    }

    pub async fn delete(&self, person: &Person, path: &str) -> Answer {
        read(self.request(Method::DELETE, path, Some(person))).await
    }
}

/// Sends a request and reads the whole answer.
pub async fn read(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer {
        status,
        headers,
        body,
    }
}

async fn tenant(pool: &PgPool, name: &str) -> Tenant {
    let id = organization(pool, name).await;
    Tenant {
        id,
        owner: person(pool, id, Role::Owner, false).await,
        admin: person(pool, id, Role::Admin, false).await,
        developer: person(pool, id, Role::Developer, false).await,
        viewer: person(pool, id, Role::Viewer, false).await,
    }
}

async fn organization(pool: &PgPool, name: &str) -> OrganizationId {
    let id = OrganizationId::new();
    sqlx::query("insert into organization (id, name) values ($1, $2)")
        .bind(id.uuid())
        .bind(name)
        .execute(pool)
        .await
        .unwrap();
    id
}

/// A person who is a member, with a token of the same role.
pub async fn person(
    pool: &PgPool,
    organization: OrganizationId,
    role: Role,
    platform: bool,
) -> Person {
    let user = UserId::new();
    sqlx::query(
        r#"insert into "user" (id, email, name, is_platform_admin) values ($1, $2, $2, $3)"#,
    )
    .bind(user.uuid())
    .bind(format!("{user}@example.test"))
    .bind(platform)
    .execute(pool)
    .await
    .unwrap();
    sqlx::query("insert into membership (organization_id, user_id, role) values ($1, $2, $3)")
        .bind(organization.uuid())
        .bind(user.uuid())
        .bind(role.as_str())
        .execute(pool)
        .await
        .unwrap();
    let token = Token::generate(Kind::ApiToken);
    sqlx::query(
        "insert into api_token (id, organization_id, user_id, name, token_hash, role, platform, expires_at)
         values ($1, $2, $3, 'test', $4, $5, $6, now() + interval '1 day')",
    )
    .bind(ApiTokenId::new().uuid())
    .bind(organization.uuid())
    .bind(user.uuid())
    .bind(token.hash().as_slice())
    .bind(role.as_str())
    .bind(platform)
    .execute(pool)
    .await
    .unwrap();
    Person {
        user,
        token: token.reveal().to_owned(),
    }
}
