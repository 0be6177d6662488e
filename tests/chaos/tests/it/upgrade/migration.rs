//! Today's migrations run while a control plane of the last release works by the schema that it knows: its users notice
//! nothing, and today's program goes on beside it.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use api::{
    client::{Client, Config},
    variable::Variable,
};
use chaos::{
    migration::{Asked, History},
    postgres::Server,
    report,
};
use e2e::{command::succeed, platform::Platform, wait};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use super::{forget_what_is_newer, last_release};

const DATABASES: [(&str, &str, &str); 2] = [
    ("railhead", "railhead_upgrade", "railhead_owner"),
    ("railhead_logs", "railhead_upgrade_logs", "railhead_logs"),
];
const READY_WITHIN: Duration = Duration::from_secs(30);
const USERS: usize = 4;
/// Below what a token may ask in a second, all users together.
const PAUSE: Duration = Duration::from_millis(10);
/// Migrations are done in a quarter of a second here: in it each user has set and looked at least once.
const MET_AT_LEAST: usize = 2 * USERS;

#[tokio::test]
async fn migrations_run_while_the_last_release_works_by_the_old_schema() -> Result<()> {
    let platform = Platform::alone().await?;
    let server = Server::of(&platform)?;
    make_databases(&server).await?;
    let folder = tempfile::tempdir()?;
    let older = Installed::new(&platform, &last_release()?, folder.path(), "older")?;
    let newer = Installed::new(
        &platform,
        &platform.data()?.join("bin"),
        folder.path(),
        "newer",
    )?;
    older.call(&["migrate"]).await?;
    older.bootstrap(folder.path()).await?;

    let history = upgraded(&older, &newer, folder.path()).await?;
    drop_databases(&server).await?;
    report::write("migration", &told(&history))?;
    let verdict = history.judge(MET_AT_LEAST);
    ensure!(verdict.is_pass(), "{verdict}");
    Ok(())
}

async fn upgraded(older: &Installed, newer: &Installed, folder: &Path) -> Result<History> {
    let _older = older.serve()?;
    let client = older.ready(folder).await?;
    let service = a_service(&client).await?;
    let (stop, stopped) = watch::channel(false);
    let mut users = JoinSet::new();
    for user in 0..USERS {
        users.spawn(use_it(
            client.clone(),
            service.clone(),
            user,
            stopped.clone(),
        ));
    }
    let began = Instant::now();
    newer.call(&["migrate"]).await?;
    let migration = (began, Instant::now());
    let _newer = newer.serve()?;
    let successor = newer.ready(folder).await?;
    stop.send_replace(true);

    let mut history = History {
        migration,
        asked: Vec::new(),
        acknowledged: BTreeMap::new(),
        shown: BTreeMap::new(),
    };
    while let Some(user) = users.join_next().await {
        let (asked, acknowledged) = user?;
        history.asked.extend(asked);
        history.acknowledged.extend(acknowledged);
    }
    let shown: Vec<Variable> = successor.list(&format!("{service}/variables")).await?;
    let values = shown
        .into_iter()
        .filter_map(|one| Some((one.name.to_string(), one.value?)));
    history.shown = values.collect();
    Ok(history)
}

/// Sets a variable of its own and looks at all, again and again; what it asked, and what was acknowledged last.
async fn use_it(
    client: Arc<Client>,
    service: String,
    user: usize,
    stopped: watch::Receiver<bool>,
) -> (Vec<Asked>, Option<(String, String)>) {
    let name = format!("USER_{user}");
    let (mut asked, mut acknowledged) = (Vec::new(), None);
    let mut number = 0_u32;
    while !*stopped.borrow() {
        number += 1;
        let began = Instant::now();
        let value = number.to_string();
        let set = client
            .put::<_, Value>(
                &format!("{service}/variables/{name}"),
                &json!({ "value": value }),
            )
            .await;
        if set.is_ok() {
            acknowledged = Some((name.clone(), value));
        }
        asked.push(outcome(began, set.map(drop)));
        let began = Instant::now();
        let seen = client.list::<Value>(&format!("{service}/variables")).await;
        asked.push(outcome(began, seen.map(drop)));
        sleep(PAUSE).await;
    }
    (asked, acknowledged)
}

fn outcome(began: Instant, answer: Result<(), api::client::Error>) -> Asked {
    Asked {
        during: (began, Instant::now()),
        problem: answer.err().map(|error| error.to_string()),
    }
}

/// The path of one.
async fn a_service(client: &Client) -> Result<String> {
    let id = |of: &Value| of["id"].as_str().map(str::to_owned).context("no id");
    let organizations: Vec<Value> = client.list("/v1/organizations").await?;
    let organization = id(organizations.first().context("no organization")?)?;
    let path = format!("/v1/organizations/{organization}/projects");
    let project = id(&client.post(&path, &json!({ "name": "shop" })).await?)?;
    let path = format!("/v1/projects/{project}/environments");
    let environments: Vec<Value> = client.list(&path).await?;
    let environment = match environments.first() {
        Some(environment) => id(environment)?,
        None => id(&client.post(&path, &json!({ "name": "production" })).await?)?,
    };
    let path = format!("/v1/environments/{environment}/services");
    let service: Value = client
        .post(&path, &json!({ "name": "web", "spec": {} }))
        .await?;
    Ok(format!("/v1/services/{}", id(&service)?))
}

fn told(history: &History) -> Value {
    let (began, ended) = history.migration;
    let longest = history
        .asked
        .iter()
        .map(|one| one.during.1 - one.during.0)
        .max();
    json!({
        "migration_seconds": (ended - began).as_secs_f64(),
        "requests": history.asked.len(),
        "requests_during_the_migration": history.met(),
        "longest_answer_seconds": longest.unwrap_or_default().as_secs_f64(),
    })
}

/// A program of the control plane with a configuration of its own.
struct Installed {
    program: PathBuf,
    config: PathBuf,
    address: SocketAddr,
}

impl Installed {
    /// As the platform's first one, but with databases and addresses of its own.
    fn new(platform: &Platform, programs: &Path, folder: &Path, name: &str) -> Result<Self> {
        let of_platform = platform.data()?.join("secrets/control-plane-1.toml");
        let mut text = fs::read_to_string(&of_platform)
            .with_context(|| format!("reading {}", of_platform.display()))?;
        for (database, own, _) in DATABASES {
            text = text.replace(&format!("/{database}\""), &format!("/{own}\""));
        }
        let mut config: toml::Table = text.parse()?;
        let [api, node, metrics] = [free_address()?, free_address()?, free_address()?];
        for (key, value) in [
            ("public_url", format!("https://{api}")),
            ("node_url", format!("https://{node}")),
            ("listen", api.to_string()),
            ("listen_node", node.to_string()),
            ("listen_metrics", metrics.to_string()),
        ] {
            config.insert(key.to_owned(), value.into());
        }
        // Nobody stands before it.
        for key in ["telemetry", "trusted_proxies"] {
            config.remove(key);
        }
        forget_what_is_newer(&mut config);
        let file = folder.join(format!("{name}.toml"));
        fs::write(&file, config.to_string())?;
        Ok(Self {
            program: programs.join("control-plane"),
            config: file,
            address: api,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).kill_on_drop(true);
        command
    }

    async fn call(&self, arguments: &[&str]) -> Result<String> {
        Ok(succeed(self.command().args(arguments)).await?.stdout)
    }

    /// Makes an administrator, and a file with a token of theirs.
    async fn bootstrap(&self, folder: &Path) -> Result<()> {
        let password = folder.join("password");
        fs::write(&password, "an upgrade is no time for guesses\n")?;
        let mut bootstrap = self.command();
        bootstrap
            .args(["admin", "bootstrap", "--organization", "acme"])
            .args(["--email", "admin@railhead.test", "--password-file"])
            .arg(password)
            .arg("--token-file")
            .arg(folder.join("token"));
        succeed(&mut bootstrap).await.map(drop)
    }

    fn serve(&self) -> Result<Child> {
        let log = fs::File::create(self.config.with_extension("log"))?;
        let mut serve = self.command();
        serve.arg("serve").stdout(log.try_clone()?).stderr(log);
        serve
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))
    }

    async fn ready(&self, folder: &Path) -> Result<Arc<Client>> {
        let client = Client::new(Config {
            address: format!("https://{}", self.address).parse()?,
            ca: Some(self.call(&["admin", "ca"]).await?),
            token: Some(fs::read_to_string(folder.join("token"))?.trim().to_owned()),
            user_agent: "railhead-chaos".to_owned(),
            observer: Arc::new(|_| {}),
        })?;
        let answers = || async {
            let all = client.list::<Value>("/v1/organizations").await;
            Ok(all.map(drop)?)
        };
        let log = self.config.with_extension("log");
        wait::outcome(READY_WITHIN, answers)
            .await
            .with_context(|| fs::read_to_string(log).unwrap_or_default())?;
        Ok(Arc::new(client))
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Anew: a run that was cut off may have left some.
async fn make_databases(server: &Server) -> Result<()> {
    drop_databases(server).await?;
    for (_, database, owner) in DATABASES {
        let make = format!("create database {database} owner {owner}");
        server.sql(&make).await?;
    }
    Ok(())
}

async fn drop_databases(server: &Server) -> Result<()> {
    for (_, database, _) in DATABASES {
        let drop = format!("drop database if exists {database} with (force)");
        server.sql(&drop).await?;
    }
    Ok(())
}
