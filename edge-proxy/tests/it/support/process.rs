//! The edge as a process, as a supervisor starts it.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Ca, ControlPlane, client, supervisor::Supervisor, until};

/// How long what runs may still run once it is told to end.
pub const DRAIN: Duration = Duration::from_secs(5);

pub struct Process {
    pub child: Child,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub metrics: SocketAddr,
    dir: PathBuf,
    supervisor: Supervisor,
    /// Has taken over from the child.
    successor: Option<u32>,
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn spawn(dir: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
        .arg("--config")
        .arg(dir.join("edge.toml"))
        .env("NOTIFY_SOCKET", dir.join("notify"))
        .env(failpoint::VARIABLE, dir.join("failpoints"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Process {
    pub fn start(dir: &Path, control_plane: &ControlPlane, token: Option<&str>) -> Self {
        let [http, https, forward, metrics] = [(); 4].map(|()| free_port());
        let join = token.map_or_else(String::new, |token| {
            let file = dir.join("token");
            std::fs::write(&file, token).unwrap();
            format!("join_token_file = \"{}\"", file.display())
        });
        let config = format!(
            r#"
            control_plane = "https://{}"
            name = "us-east-1"
            state_dir = "{}"
            listen_http = "{http}"
            listen_https = "{https}"
            listen_forward = "{forward}"
            listen_metrics = "{metrics}"
            access_log = "{}"
            drain = "{}s"
            {join}
            "#,
            control_plane.address,
            dir.join("state").display(),
            dir.join("access.log").display(),
            DRAIN.as_secs(),
        );
        std::fs::write(dir.join("edge.toml"), config).unwrap();
        let supervisor = Supervisor::listen(&dir.join("notify"));
        Self {
            child: spawn(dir),
            http,
            https,
            metrics,
            dir: dir.to_owned(),
            supervisor,
            successor: None,
        }
    }

    /// As when it dies and its supervisor starts it again.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.dir);
    }

    /// Asks it to hand over to a new process.
    pub fn hang_up(&self) {
        signal("HUP", self.pid());
    }

    /// Waits until it tells its supervisor a line that begins so; answers the rest of it.
    pub async fn says(&self, begin: &str) -> String {
        let mut rest = None;
        until(&format!("the edge says \"{begin}\""), async || {
            rest = self.supervisor.next(begin);
            rest.is_some()
        })
        .await;
        rest.unwrap()
    }

    /// Has it hand over, and sees the process that did it end well.
    pub async fn hand_over(&mut self) {
        let before = self.pid();
        self.hang_up();
        let successor = self.says("MAINPID=").await;
        self.says("READY=1").await;
        self.successor = Some(successor.parse().unwrap());
        until("the predecessor has ended", async || {
            let _ = self.child.try_wait();
            !is_running(before)
        })
        .await;
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }

    /// Whichever process it is now.
    fn pid(&self) -> u32 {
        self.successor.unwrap_or(self.child.id())
    }

    fn kill(&mut self) {
        if let Some(pid) = self.successor.take() {
            signal("KILL", pid);
            while is_running(pid) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Resident memory in bytes: now, and the most that there ever was.
    pub fn resident_bytes(&self) -> [u64; 2] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        ["VmRSS:", "VmHWM:"].map(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            let kibibytes: u64 = kibibytes.unwrap_or_else(|| panic!("no {name} in {status}"));
            kibibytes * 1_024
        })
    }

    pub async fn answers(&self, ca: &Ca) {
        let client = client(ca, self.https);
        until("the process serves", async || {
            match client.get("https://app.test/").send().await {
                Ok(answer) => answer.text().await.is_ok_and(|text| text == "one"),
                Err(_) => false,
            }
        })
        .await;
    }

    /// Of the operators' endpoint, which comes up a moment after requests are served.
    pub async fn get(&self, path: &str) -> String {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let url = format!("http://{}{path}", self.metrics);
        let mut answer = None;
        until("the operators' endpoint answers", async || {
            answer = http.get(&url).send().await.ok();
            answer.is_some()
        })
        .await;
        answer.unwrap().text().await.unwrap()
    }

    pub async fn terminate(self) -> Duration {
        let begun = Instant::now();
        self.tell_to_end();
        self.ends_well().await;
        begun.elapsed()
    }

    /// As a supervisor does it: SIGTERM.
    pub fn tell_to_end(&self) {
        signal("TERM", self.pid());
    }

    /// By itself, with exit code 0.
    pub async fn ends_well(mut self) {
        let mut ended = None;
        until("the process ends", async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        assert_eq!(ended.unwrap().code(), Some(0));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(name: &str, pid: u32) {
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// It is nobody's child here, so that nobody may have noticed its end.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
