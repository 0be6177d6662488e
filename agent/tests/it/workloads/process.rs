//! Programs of a test, and waiting for what they bring about.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::StreamExt;

/// A test's thread is in its machine's namespace, and so is what it runs.
pub use crate::programs::run;

/// Nothing here takes that long; a loaded machine may.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is waited for, told when it does not come.
pub trait What {
    fn text(&self) -> String;
}

impl What for &str {
    fn text(&self) -> String {
        (*self).to_owned()
    }
}

impl<F: Fn() -> String> What for F {
    fn text(&self) -> String {
        self()
    }
}

/// Waits for a state of the world.
pub async fn until<T>(what: impl What, mut state: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = state().await {
            return value;
        }
        assert!(Instant::now() < end, "never: {}", what.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A program that ends with its value.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        // It may have been killed by the test.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Starts a program whose output goes to a file.
pub fn spawn(program: &str, arguments: &[&str], log: &Path) -> Process {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Process(child)
}

/// The lines of a program that runs in a container, and its exit code.
pub async fn exec(
    client: &bollard::Docker,
    instance: domain::id::InstanceId,
    command: &[&str],
) -> (String, i64) {
    use bollard::exec::{StartExecOptions, StartExecResults};
    let config = bollard::models::ExecConfig {
        cmd: Some(command.iter().map(|part| (*part).to_owned()).collect()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..Default::default()
    };
    let made = client
        .create_exec(&format!("rh-{instance}"), config)
        .await
        .unwrap();
    let mut text = String::new();
    let started = client
        .start_exec(&made.id, None::<StartExecOptions>)
        .await
        .unwrap();
    if let StartExecResults::Attached { mut output, .. } = started {
        while let Some(Ok(line)) = output.next().await {
            text.push_str(&line.to_string());
        }
    }
    let done = client.inspect_exec(&made.id).await.unwrap();
    (text, done.exit_code.unwrap_or(-1))
}
