//! The cluster that all tests share: the one named by the environment, or a private one.

use std::{
    env,
    fs::{self, File, Permissions},
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use rand::RngExt as _;
use sqlx::{Connection as _, PgConnection};

use crate::wait;

const VARIABLE: &str = "RAILHEAD_TEST_DATABASE_URL";
/// The private cluster ends by itself: no test process knows whether it is the last one.
const LIFETIME: &str = "4h";
const START: Duration = Duration::from_secs(60);

/// A superuser's URL of the cluster.
pub async fn superuser_url() -> anyhow::Result<String> {
    match env::var(VARIABLE) {
        Ok(url) => Ok(url),
        Err(_) => private().await,
    }
}

async fn private() -> anyhow::Result<String> {
    let dir = env::temp_dir().join(format!("railhead-test-postgres-{}", own_uid()?));
    let lock = File::create(dir.with_extension("lock")).context("can't make the lock file")?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    let url_file = dir.join("url");
    if let Ok(url) = fs::read_to_string(&url_file)
        && PgConnection::connect(&url).await.is_ok()
    {
        return Ok(url);
    }
    let url = start(&dir).await?;
    fs::write(&url_file, &url).context("can't write the cluster's URL")?;
    drop(lock);
    Ok(url)
}

fn own_uid() -> anyhow::Result<u32> {
    Ok(fs::metadata("/proc/self").context("no /proc here")?.uid())
}

async fn start(dir: &Path) -> anyhow::Result<String> {
    if dir.exists() {
        fs::remove_dir_all(dir).context("can't remove the former cluster")?;
    }
    fs::create_dir(dir).context("can't make the cluster's folder")?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    let password = hex::encode(rand::rng().random::<[u8; 16]>());
    let password_file = dir.join("password");
    fs::write(&password_file, &password)?;
    let user = unprivileged_user()?;
    if let Some((uid, gid)) = user {
        chown(dir, Some(uid), Some(gid))?;
        chown(&password_file, Some(uid), Some(gid))?;
    }
    let binaries = binaries()?;
    init(&binaries, dir, &password_file, user)?;
    let port = free_port()?;
    serve(&binaries, dir, port, user)?;
    let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
    wait::until(START, async || PgConnection::connect(&url).await.is_ok()).await;
    Ok(url)
}

/// The newest installed PostgreSQL.
fn binaries() -> anyhow::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").with_context(|| {
        format!(
            "no PostgreSQL is installed: run ./dev setup, or set {VARIABLE} to a superuser's URL"
        )
    })?;
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .context("/usr/lib/postgresql has no version in it: run ./dev setup")?;
    Ok(format!("/usr/lib/postgresql/{newest}/bin").into())
}

/// PostgreSQL refuses to run as root: then it runs as the user its package made.
fn unprivileged_user() -> anyhow::Result<Option<(u32, u32)>> {
    if own_uid()? != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let fields = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&"postgres"))
        .context("there is no user postgres: run ./dev setup")?;
    let [_, _, uid, gid, ..] = fields.as_slice() else {
        bail!("the user postgres can't be read from /etc/passwd");
    };
    Ok(Some((uid.parse()?, gid.parse()?)))
}

fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").stdin(Stdio::null());
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn init(
    binaries: &Path,
    dir: &Path,
    password_file: &Path,
    user: Option<(u32, u32)>,
) -> anyhow::Result<()> {
    let output = command(&binaries.join("initdb"), user)
        // SCRAM costs an unoptimised client more than most tests cost; nothing leaves loopback.
        .args(["--username=postgres", "--auth=password"])
        .args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
        .arg(format!("--pwfile={}", password_file.display()))
        .arg("--pgdata")
        .arg(dir.join("data"))
        .output()
        .context("can't run initdb")?;
    ensure!(
        output.status.success(),
        "initdb failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn serve(binaries: &Path, dir: &Path, port: u16, user: Option<(u32, u32)>) -> anyhow::Result<()> {
    let log = File::create(dir.join("log")).context("can't make the cluster's log")?;
    // Nothing here outlives a crash of the machine, so nothing waits for the disk.
    let settings = [
        "fsync=off".to_owned(),
        "full_page_writes=off".to_owned(),
        "synchronous_commit=off".to_owned(),
        "max_connections=400".to_owned(),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={}", dir.display()),
    ];
    command(Path::new("timeout"), user)
        .args(["--signal=INT", LIFETIME])
        .arg(binaries.join("postgres"))
        .arg("-D")
        .arg(dir.join("data"))
        .args(settings.iter().flat_map(|setting| ["-c", setting]))
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("can't start PostgreSQL")?;
    Ok(())
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}
