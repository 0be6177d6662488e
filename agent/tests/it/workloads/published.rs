//! Published ports while the engine is killed and starts again: open all the time, to this machine and to
//! others, and never to a container that has ended.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use agent::{reconcile::Engine, runtime::architecture};
use domain::id::EnvironmentId;
use nix::sched::{CloneFlags, setns};

use super::{
    machine::{Machine, on_a_machine},
    node::{Node, web},
    process::{run, until},
};

const SERVER: &[&str] = &["httpd", "-f", "-p", "8080", "-h", "/www"];
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Asks again and again, from some network.
struct Requests {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<BTreeMap<String, usize>>,
}

impl Requests {
    fn start(address: SocketAddr, network: &Path) -> Self {
        let network = std::fs::File::open(network).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asking = std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            let mut outcomes = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                let outcome = match ask(address) {
                    Ok(status) => status,
                    Err(error) => error.to_string(),
                };
                *outcomes.entry(outcome).or_default() += 1;
                std::thread::sleep(PAUSE);
            }
            outcomes
        });
        Self { stop, asking }
    }

    /// How often it came to what.
    fn stop(self) -> BTreeMap<String, usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().unwrap()
    }
}

/// The status of the answer.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

async fn engine_is(node: &Node, state: Engine) {
    let what = format!("the agent sees that the engine is {state:?}");
    until(what.as_str(), async || {
        (node.engine() == state).then_some(())
    })
    .await;
}

fn standing_rules() -> usize {
    let rules = run("iptables", &["-t", "nat", "-S", "RAILHEAD-STANDBY"]);
    rules.lines().filter(|line| line.starts_with("-A")).count()
}

#[test]
fn they_stay_open_while_the_engine_starts_again() {
    on_a_machine(async |machine: Machine| {
        let image = machine.image("web", "1000", SERVER, architecture()).await;
        let mut node = Node::start(machine);
        let items = [(); 3].map(|()| web(&image, EnvironmentId::new()));
        node.want(&items.each_ref());
        let networks = [
            PathBuf::from("/proc/thread-self/ns/net"),
            node.machine.outside(),
        ];
        let mut requests = Vec::new();
        for item in &items {
            let address = node.ready(item).await;
            for network in &networks {
                requests.push(Requests::start(address, network));
            }
        }
        for agent_dies_too in [false, true] {
            node.machine.kill_engine().await;
            if agent_dies_too {
                node.restart();
            }
            engine_is(&node, Engine::Away).await;
            until("all are looked after", async || {
                (standing_rules() == items.len()).then_some(())
            })
            .await;
            node.machine.start_engine().await;
            engine_is(&node, Engine::Answers).await;
            until("the engine's own serve", async || {
                (standing_rules() == 0).then_some(())
            })
            .await;
        }
        for requests in requests {
            let outcomes = requests.stop();
            assert_eq!(outcomes.len(), 1, "{outcomes:?}");
            assert!(outcomes["200"] > 100, "{outcomes:?}");
        }
    });
}

#[test]
fn what_has_ended_gets_nothing_any_more() {
    on_a_machine(async |machine: Machine| {
        let image = machine.image("web", "1000", SERVER, architecture()).await;
        let mut node = Node::start(machine);
        let items = [(); 2].map(|()| web(&image, EnvironmentId::new()));
        node.want(&items.each_ref());
        for item in &items {
            node.ready(item).await;
        }
        let pid = node.machine.pid(items[0].id).await;
        node.machine.kill_engine().await;
        until("both are looked after", async || {
            (standing_rules() == 2).then_some(())
        })
        .await;
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        until("only the living one is", async || {
            (standing_rules() == 1).then_some(())
        })
        .await;
    });
}
