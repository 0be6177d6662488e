//! The platform's PostgreSQL, past the control plane: copies of it, a standby that follows it, and what takes
//! its place at the same address, as a service address moves. What takes the place stays there.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use e2e::{command::succeed, platform::Platform, wait};
use serde_json::Value;
use tokio::process::{Child, Command};

const PROCESS: &str = "postgres";
const REQUIRE: [&str; 2] = ["alter system set synchronous_standby_names = '*'", RELOAD];
const REQUIRE_NO_MORE: [&str; 2] = ["alter system reset synchronous_standby_names", RELOAD];
const RELOAD: &str = "select pg_reload_conf()";
const STREAMS_WITHIN: Duration = Duration::from_secs(30);

/// The server that the control planes know.
#[derive(Debug, Clone)]
pub struct Server {
    program: PathBuf,
    settings: Vec<String>,
    data: PathBuf,
    socket: PathBuf,
    port: String,
}

impl Server {
    /// As the supervisor was asked to run it.
    pub fn of(platform: &Platform) -> Result<Self> {
        let data = platform.status.ca_file.parent();
        let run = data.and_then(Path::parent).context("no run folder")?;
        let file = run.join("processes").join(format!("{PROCESS}.json"));
        let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let process: Value = serde_json::from_slice(&text)?;
        let argv: Vec<String> = serde_json::from_value(process["argv"].clone())?;
        let mut words = argv.into_iter();
        let program = words.next().context("no program")?.into();
        let settings: Vec<_> = words.filter(|word| word.contains('=')).collect();
        let setting = |name: &str| {
            let found = settings.iter().find_map(|one| one.strip_prefix(name));
            found.map(str::to_owned).context("a setting is missing")
        };
        Ok(Self {
            program,
            data: run.join("data").join(PROCESS),
            socket: setting("unix_socket_directories=")?.into(),
            port: setting("port=")?,
            settings,
        })
    }

    /// Runs SQL as the superuser.
    pub async fn sql(&self, statements: &str) -> Result<String> {
        let mut psql = self.psql(&[statements]);
        Ok(succeed(&mut psql).await?.stdout.trim().to_owned())
    }

    fn psql(&self, statements: &[&str]) -> Command {
        let mut psql = as_owner(Path::new("psql"));
        psql.args(["--no-psqlrc", "-qtA", "--set=ON_ERROR_STOP=1"])
            .arg("--host")
            .arg(&self.socket)
            .args(["--port", &self.port, "--dbname", "railhead"]);
        for statement in statements {
            psql.args(["--command", statement]);
        }
        psql
    }

    /// A backup of it as it is now, to be restored by [`Server::is_replaced_by`].
    pub async fn back_up(&self) -> Result<PathBuf> {
        self.copy("postgres-backup", &[]).await
    }

    async fn copy(&self, name: &str, options: &[&str]) -> Result<PathBuf> {
        let copy = self.empty_folder(&self.data.with_file_name(name))?;
        let mut backup = as_owner(&self.program("pg_basebackup"));
        backup
            .arg("--host")
            .arg(&self.socket)
            .args(["--port", &self.port, "--wal-method=stream"])
            .args(["--checkpoint=fast", "--no-sync", "--no-manifest"])
            .args(options)
            .arg("--pgdata")
            .arg(&copy);
        succeed(&mut backup).await?;
        Ok(copy)
    }

    /// Lets it start again, at the same address, with other data. It must have been held.
    pub async fn is_replaced_by(&self, data: &Path, platform: &Platform) -> Result<()> {
        let replaced = self.data.with_extension("replaced");
        if replaced.exists() {
            fs::remove_dir_all(&replaced)?;
        }
        fs::rename(&self.data, &replaced).context("putting the old data away")?;
        fs::rename(data, &self.data).context("putting other data in its place")?;
        platform.bring_back(PROCESS).await?;
        fs::remove_dir_all(&replaced).context("removing the old data")
    }

    /// Kills it and keeps it down.
    pub async fn is_lost(&self, platform: &Platform) -> Result<()> {
        platform.kill_and_hold(PROCESS).await
    }

    fn program(&self, name: &str) -> PathBuf {
        self.program.with_file_name(name)
    }

    /// One that belongs to PostgreSQL's user, without what an earlier test has left in it.
    fn empty_folder(&self, folder: &Path) -> Result<PathBuf> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let owner = fs::metadata(&self.data)?;
        chown(folder, Some(owner.uid()), Some(owner.gid()))?;
        fs::set_permissions(folder, owner.permissions())?;
        Ok(folder.to_owned())
    }
}

/// A server that holds what the platform's has acknowledged, and waits for its place.
pub struct Standby {
    primary: Server,
    own: Server,
    process: Child,
}

impl Standby {
    /// Makes one; from now on a commit is acknowledged when both servers have it.
    pub async fn follow(primary: Server) -> Result<Self> {
        let data = primary
            .copy("postgres-standby", &["--write-recovery-conf"])
            .await?;
        let socket = primary.empty_folder(&primary.socket.with_file_name("postgres-standby"))?;
        let own = Server {
            data,
            socket,
            ..primary.clone()
        };
        let process = own.serve()?;
        let standby = Self {
            primary,
            own,
            process,
        };
        standby.streams("async").await?;
        standby.is_required().await?;
        standby.streams("sync").await?;
        Ok(standby)
    }

    async fn streams(&self, how: &str) -> Result<()> {
        wait::outcome(STREAMS_WITHIN, || async {
            let statement = "select state, sync_state from pg_stat_replication";
            let found = self.primary.sql(statement).await?;
            ensure!(found == format!("streaming|{how}"), "replication: {found}");
            Ok(())
        })
        .await
    }

    async fn is_required(&self) -> Result<()> {
        succeed(&mut self.primary.psql(&REQUIRE)).await.map(drop)
    }

    /// The platform's server is killed; this one is promoted and takes its place.
    pub async fn take_over(mut self, platform: &Platform) -> Result<()> {
        self.primary.is_lost(platform).await?;
        let outcome = self.promoted().await;
        let data = match &outcome {
            Ok(()) => self.own.data.clone(),
            // The platform goes on with what it had.
            Err(_) => return platform.bring_back(PROCESS).await.and(outcome),
        };
        self.primary.is_replaced_by(&data, platform).await
    }

    async fn promoted(&mut self) -> Result<()> {
        self.own.control(&["promote"]).await?;
        self.own.control(&["stop", "--mode=fast"]).await?;
        let ended = self.process.wait().await?;
        ensure!(ended.success(), "the standby ended with {ended}");
        Ok(())
    }
}

impl Drop for Standby {
    /// Where the test ended early, no commit must wait for this one.
    #[expect(
        clippy::print_stderr,
        reason = "the test has ended: nobody else could be told"
    )]
    fn drop(&mut self) {
        let mut reset = self.primary.psql(&REQUIRE_NO_MORE);
        match reset.as_std_mut().output() {
            Ok(done) if done.status.success() => {}
            outcome => eprintln!("commits may wait for a standby: {outcome:?}"),
        }
    }
}

impl Server {
    /// A second server of the same settings, reached by its socket alone. It ends with this test.
    fn serve(&self) -> Result<Child> {
        let log = fs::File::create(self.socket.join("log"))?;
        let mut serve = as_owner(&self.program);
        serve.arg("-D").arg(&self.data);
        for setting in &self.settings {
            serve.args(["-c", setting]);
        }
        let sockets = format!("unix_socket_directories={}", self.socket.display());
        serve
            .args(["-c", "listen_addresses=", "-c", &sockets])
            .stderr(log)
            .spawn()
            .context("starting the standby")
    }

    async fn control(&self, words: &[&str]) -> Result<()> {
        let mut control = as_owner(&self.program("pg_ctl"));
        control.args(words).arg("--pgdata").arg(&self.data);
        succeed(&mut control).await.map(drop)
    }
}

/// A program of PostgreSQL's user; it ends with this test, even when that is killed.
fn as_owner(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "postgres", "--regid", "postgres"])
        .args(["--init-groups", "--pdeathsig", "QUIT", "--"])
        .arg(program)
        .current_dir("/")
        .kill_on_drop(true);
    command
}
