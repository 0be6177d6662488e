//! A PostgreSQL cluster that lives as long as a run of tests or benchmarks.

use std::{
    env, fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    command::command,
    dev::{postgres::Cluster, process::as_user},
};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It does, as in production: benchmarks measure it.
    Full,
    /// It never does: nothing of a test outlives a crash.
    None,
}

/// A running cluster; ends with this value.
pub struct TestCluster {
    cluster: Cluster,
    server: Child,
    folder: PathBuf,
    password: String,
}

impl TestCluster {
    /// Makes and starts it.
    pub fn start(durability: Durability) -> Result<Self> {
        let folder = env::temp_dir().join(format!("railhead-test-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let cluster = Cluster {
            data: folder.join("data"),
            socket: folder.join("socket"),
            port: TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port(),
            durable: durability == Durability::Full,
        };
        cluster.ensure()?;
        let server = serve(&cluster, &folder)?;
        let started = Self {
            cluster,
            server,
            folder,
            password: hex::encode(rand::random::<[u8; 16]>()),
        };
        started.set_password()?;
        Ok(started)
    }

    /// A superuser's URL.
    pub fn url(&self) -> String {
        format!(
            "postgres://postgres:{}@127.0.0.1:{}/postgres",
            self.password, self.cluster.port
        )
    }

    /// Also waits until it answers at all.
    fn set_password(&self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let statement = format!("alter role postgres password '{}'", self.password);
        while let Err(error) = self.cluster.sql("postgres", &statement) {
            if Instant::now() > deadline {
                return Err(error.context("the test cluster does not answer"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        // SIGQUIT: nothing of it is needed any more.
        kill(
            Pid::from_raw(self.server.id().cast_signed()),
            Signal::SIGQUIT,
        )?;
        let status = self.server.wait()?;
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("removing {}", self.folder.display()))?;
        if status.code().is_none() {
            bail!("PostgreSQL ended with {status}");
        }
        Ok(())
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("dev: ending the test cluster: {error:#}");
        }
    }
}

fn serve(cluster: &Cluster, folder: &std::path::Path) -> Result<Child> {
    let log = fs::File::create(folder.join("postgres.log"))?;
    let mut words = as_user("postgres");
    words.extend(cluster.process()?.argv);
    words.extend(["-c", "max_connections=400"].map(str::to_owned));
    let mut server: Command = command(words);
    server
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting PostgreSQL for the tests")
}
