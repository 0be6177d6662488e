//! How foreign repositories are touched: by a program without privileges, in the build network,
//! with an emptied environment and limits. Nothing here goes through a shell.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

use domain::quantity::Bytes;

/// Largest output that is kept of a program.
const OUTPUT_MAX: u64 = 32 << 20;
/// Address space of a program: index-pack of a hostile pack must not take the node's memory.
const ADDRESS_SPACE_MAX: u64 = 4 << 30;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where and as whom programs run.
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// Network namespace.
    pub netns: PathBuf,
    /// User and group.
    pub uid: u32,
    /// Largest file that a program may write.
    pub max_file: Bytes,
}

impl Sandbox {
    /// `program` with its arguments, not started yet.
    pub fn command(&self, program: &str, directory: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(option("--net=", &self.netns))
            .arg("--")
            .args(["prlimit", "--core=0"])
            .arg(format!("--fsize={}", self.max_file.0))
            .arg(format!("--as={ADDRESS_SPACE_MAX}"))
            .arg("setpriv")
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.uid))
            .args(["--clear-groups", "--no-new-privs"])
            .args([
                "--inh-caps=-all",
                "--ambient-caps=-all",
                "--bounding-set=-all",
            ])
            .arg("--")
            .arg(program)
            .current_dir(directory)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

fn option(name: &str, value: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push::<&OsStr>(value.as_ref());
    option
}

/// Runs a command to its end. Dropping the future ends the whole process group.
pub async fn output(mut command: Command) -> std::io::Result<Output> {
    let mut child = command.spawn()?;
    let _group = child.id().map(Group);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (stdout, stderr, status) = tokio::try_join!(capped(stdout), capped(stderr), child.wait())?;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

async fn capped(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        (&mut pipe).take(OUTPUT_MAX).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

/// A process group that ends with this value.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0) {
            // ESRCH only says that all of it has ended already.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
