//! An edge hands over to a new process: another program, another configuration. Users come and go meanwhile.

mod users;

use std::{fs, path::Path};

use bytes::Bytes;
use domain::id::ServiceId;
use futures::StreamExt as _;
use protocol::feed::FeedName;
use tempfile::TempDir;
use testkit::publisher::{Change, Publisher};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use self::users::Users;
use crate::support::{Agent, Ca, ControlPlane, Instance, Process, Routes, client, until};

/// What is served from the beginning, and what comes later.
const HOSTNAMES: [&str; 2] = ["app.test", "later.app.test"];

/// An edge, and a control plane that changes its routes.
struct Platform {
    control_plane: ControlPlane,
    global: watch::Sender<Bytes>,
    publisher: Publisher,
    service: ServiceId,
    edge: Process,
    dir: TempDir,
    _behind: (Agent, Instance),
}

impl Platform {
    async fn start() -> Self {
        let (ca, service) = (Ca::new(), ServiceId::new());
        let agent = Agent::start(&ca, "us-east").await;
        let instance = Instance::start("one", agent.node_id).await;
        agent.holds(service, &instance);
        let [now, _] = HOSTNAMES;
        let routes = Routes::default()
            .certificate(&ca, &HOSTNAMES)
            .hostname(now, service, &["us-east"])
            .agent(&agent)
            .service(service, &[&instance]);
        let [global, region] = routes.changes();
        let mut publisher = Publisher::new("routes/global".parse().unwrap(), ca.feed_key());
        let _ = publisher.publish(global);
        let global = watch::Sender::new(Bytes::from(publisher.full(routes.keys())));
        let document = {
            let name = "routes/region/us-east".parse().unwrap();
            let mut publisher = Publisher::new(name, ca.feed_key());
            let _ = publisher.publish(region);
            watch::Sender::new(Bytes::from(publisher.full(Change::default())))
        };
        let documents = global.clone();
        let control_plane = ControlPlane::sending(ca, move |feed| {
            let document = match feed {
                FeedName::GlobalRoutes(_) => documents.subscribe(),
                _ => document.subscribe(),
            };
            WatchStream::new(document).map(Ok).boxed()
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let edge = Process::start(dir.path(), &control_plane, Some(&control_plane.token()));
        edge.answers(control_plane.ca()).await;
        Self {
            control_plane,
            global,
            publisher,
            service,
            edge,
            dir,
            _behind: (agent, instance),
        }
    }

    fn publish_the_later_one(&mut self) {
        let routes = Routes::default().hostname(HOSTNAMES[1], self.service, &["us-east"]);
        let [change, _] = routes.changes();
        let _ = self.publisher.publish(change);
        let document = self.publisher.full(Change::default());
        self.global.send_replace(Bytes::from(document));
    }

    async fn serves_the_later_one(&self) {
        let client = client(self.control_plane.ca(), self.edge.https);
        until("the route of a change is served", async || {
            let url = format!("https://{}/", HOSTNAMES[1]);
            let answer = client.get(url).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("edge.toml")
    }

    /// The edge goes on: it follows its feeds, and what it writes is there after its end.
    async fn goes_on_as_before(mut self) {
        self.publish_the_later_one();
        self.serves_the_later_one().await;
        self.control_plane.stop();
        self.edge.restart();
        self.serves_the_later_one().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_user_notices_that_another_process_takes_over() {
    let mut platform = Platform::start().await;
    let users = Users::start(platform.control_plane.ca(), platform.edge.https);
    for _ in 0..2 {
        users.some_more().await;
        let stream = users.begin_stream().await;
        platform.edge.hand_over().await;
        users.some_more().await;
        stream.comes_whole().await;
    }
    users.end().await;
    platform.goes_on_as_before().await;
}

#[tokio::test]
async fn a_configuration_that_is_none_leaves_everything_as_it_is() {
    let mut platform = Platform::start().await;
    let good = fs::read_to_string(platform.config()).unwrap();
    fs::write(platform.config(), format!("{good}\ndrian = 3")).unwrap();
    platform.edge.hang_up();
    platform.edge.says("STATUS=nothing was handed over").await;
    fs::write(platform.config(), good).unwrap();
    platform.edge.answers(platform.control_plane.ca()).await;
    platform.edge.hand_over().await;
    platform.goes_on_as_before().await;
}

#[tokio::test]
async fn a_new_process_that_dies_with_the_folder_in_its_hand_gives_it_back() {
    let platform = Platform::start().await;
    arm(platform.dir.path(), "edge-folder-taken");
    platform.edge.hang_up();
    platform.edge.says("STATUS=nothing was handed over").await;
    platform.edge.answers(platform.control_plane.ca()).await;
    platform.goes_on_as_before().await;
}

#[tokio::test]
async fn a_new_process_that_finds_less_on_the_disk_does_not_take_over_and_the_disk_is_mended() {
    let mut platform = Platform::start().await;
    let base = platform.dir.path().join("state/feeds/routes-global/base");
    fs::write(&base, "spoiled").unwrap();
    platform.edge.hang_up();
    platform.edge.says("STATUS=nothing was handed over").await;
    platform.edge.answers(platform.control_plane.ca()).await;
    platform.control_plane.stop();
    until("the disk is mended", async || {
        fs::read(&base).unwrap() != b"spoiled"
    })
    .await;
    platform.edge.restart();
    platform.edge.answers(platform.control_plane.ca()).await;
}

#[tokio::test]
async fn another_port_is_listened_on_as_soon_as_it_is_configured() {
    let mut platform = Platform::start().await;
    let config = fs::read_to_string(platform.config()).unwrap();
    let before = platform.edge.https;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let next = free.local_addr().unwrap();
    drop(free);
    let config = config.replace(&before.to_string(), &next.to_string());
    fs::write(platform.config(), config).unwrap();
    platform.edge.hand_over().await;
    platform.edge.https = next;
    platform.edge.answers(platform.control_plane.ca()).await;
    assert!(tokio::net::TcpStream::connect(before).await.is_err());
}

fn arm(dir: &Path, point: &str) {
    let folder = dir.join("failpoints");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(point), "").unwrap();
}
