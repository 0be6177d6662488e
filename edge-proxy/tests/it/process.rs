//! The edge as a process: it joins, serves, goes on without the control plane, starts again from its
//! disk, and ends in order.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{Agent, Ca, ControlPlane, Instance, Routes, client, until};

struct Process {
    child: Child,
    https: SocketAddr,
    metrics: SocketAddr,
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Process {
    fn start(dir: &Path, control_plane: &ControlPlane, token: Option<&str>) -> Self {
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
            drain = "5s"
            {join}
            "#,
            control_plane.address,
            dir.join("state").display(),
            dir.join("access.log").display(),
        );
        let file = dir.join("edge.toml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_edge-proxy"))
            .arg("--config")
            .arg(file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            https,
            metrics,
        }
    }

    async fn answers(&self, ca: &Ca) {
        let client = client(ca, self.https);
        until("the process serves", async || {
            match client.get("https://app.test/").send().await {
                Ok(answer) => answer.text().await.is_ok_and(|text| text == "one"),
                Err(_) => false,
            }
        })
        .await;
    }

    async fn get(&self, path: &str) -> String {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let answer = http.get(format!("http://{}{path}", self.metrics)).send();
        answer.await.unwrap().text().await.unwrap()
    }

    async fn terminate(mut self) -> Duration {
        let begun = Instant::now();
        let told = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(told.unwrap().success());
        until("the process ends", async || {
            self.child.try_wait().unwrap().is_some()
        })
        .await;
        assert!(self.child.try_wait().unwrap().unwrap().success());
        begun.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn an_edge_joins_acknowledges_and_outlives_the_control_plane() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let agent = Agent::start(&ca, "us-east").await;
    let service = domain::id::ServiceId::new();
    let instance = Instance::start("one", agent.node_id).await;
    agent.holds(service, &instance);
    let routes = Routes::default()
        .certificate(&ca, &["app.test"])
        .hostname("app.test", service, &["us-east"])
        .agent(&agent)
        .service(service, &[&instance]);
    let control_plane = ControlPlane::start(ca, routes).await;

    let token = control_plane.token();
    let edge = Process::start(dir.path(), &control_plane, Some(&token));
    edge.answers(control_plane.ca()).await;
    until("both feeds are acknowledged", async || {
        control_plane
            .last_report()
            .is_some_and(|report| report.feeds.len() == 2)
    })
    .await;
    assert_eq!(edge.get("/readyz").await, "ready\n");
    let metrics = edge.get("/metrics").await;
    for name in [
        "railhead_edge_requests_total",
        "railhead_link_feed_generation",
        "railhead_build_info",
    ] {
        assert!(metrics.contains(name), "{name}");
    }

    control_plane.stop();
    edge.answers(control_plane.ca()).await;
    let ended = edge.terminate().await;
    assert!(ended < Duration::from_secs(5), "{ended:?}");

    let again = Process::start(dir.path(), &control_plane, None);
    again.answers(control_plane.ca()).await;
    assert_eq!(again.get("/readyz").await, "ready\n");
    assert!(
        !std::fs::read_to_string(dir.path().join("access.log"))
            .unwrap()
            .is_empty()
    );
}
