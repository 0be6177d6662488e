//! `./dev up`: from nothing, or from anything in between, to two regions with a live application. Every
//! phase looks before it acts, so a second call changes nothing.

use std::{
    env, fs,
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    api, authority, balancer, base_image, bootstrap, control_plane, down, engine, example,
    firewall::Allowed,
    internet, mounts, names, netns, node,
    plan::{Plan, Region, port},
    postgres::{self, Cluster},
    process::{self, Process},
    redis, registry,
    state::{Phase, State},
    trust,
};
use crate::{
    cargo::{cargo, target_dir},
    command::{CommandExt as _, command},
    output::say,
};

/// Our programs.
pub const BINARIES: [&str; 4] = ["control-plane", "agent", "edge-proxy", "railhead"];
const READY_WITHIN: Duration = Duration::from_secs(90);

/// What can be set from outside.
pub struct Settings {
    /// Where traces go (`RAILHEAD_DEV_OTLP`).
    pub otlp: Option<String>,
    /// Private addresses that builds may reach all the same (`RAILHEAD_DEV_BUILD_ALLOW`, comma-separated).
    pub build_allowed: Vec<Allowed>,
    /// Start what is built already.
    pub no_build: bool,
}

impl Settings {
    /// What whole-system tests listen for.
    pub fn for_tests(plan: &Plan) -> Result<Self> {
        let open = [port::TEST_GIT, port::TEST_OPEN];
        let allowed = open.map(|port| format!("{}:{port}", plan.host()).parse());
        Ok(Self {
            otlp: Some(format!("http://{}:{}", plan.host(), port::OTLP)),
            build_allowed: allowed.into_iter().collect::<Result<_>>()?,
            no_build: false,
        })
    }

    /// From the environment.
    pub fn read() -> Result<Self> {
        let listed = env::var("RAILHEAD_DEV_BUILD_ALLOW").unwrap_or_default();
        let build_allowed: Result<_> = listed
            .split(',')
            .filter(|part| !part.is_empty())
            .map(str::parse)
            .collect();
        Ok(Self {
            otlp: env::var("RAILHEAD_DEV_OTLP")
                .ok()
                .filter(|otlp| !otlp.is_empty()),
            build_allowed: build_allowed.context("reading RAILHEAD_DEV_BUILD_ALLOW")?,
            no_build: false,
        })
    }
}

/// Brings the platform up and says how to use it.
pub fn run(plan: &Plan, settings: &Settings) -> Result<()> {
    let mut clock = Clock::start();
    recover(plan)?;
    process::release_all(plan)?;
    thread::scope(|scope| {
        let hub = base_image::hub_is_reachable();
        let images = (!hub).then(|| scope.spawn(base_image::ensure_made));
        let network = scope.spawn(|| start_foundation(plan, settings));
        if !settings.no_build {
            build()?;
        }
        clock.done("build");
        join(network)?;
        clock.done("network, PostgreSQL, Redis");
        if let Some(images) = images {
            join(images)?;
            clock.done("base images");
        }
        start_platform(plan, settings, &mut clock, !hub)
    })?;
    let host = deploy_example(plan, &mut clock)?;
    print_summary(plan, &host, &clock);
    Ok(())
}

/// Ends what a supervisor that is gone has left behind.
fn recover(plan: &Plan) -> Result<()> {
    let state = State::read(plan)?;
    if state.supervisor.is_some() && state.live_supervisor().is_none() {
        say!("  the supervisor is gone: ending what it left");
        down::end_processes(plan, &state)?;
    }
    Ok(())
}

/// The first time takes minutes: whoever watches sees what cargo is at.
fn build() -> Result<()> {
    say!("  building the programs (the first time takes some minutes)");
    let mut build = cargo(["build", "--workspace", "--bins"])?;
    if !io::stderr().is_terminal() {
        build.arg("--quiet");
    }
    build.run().context("building")
}

fn start_foundation(plan: &Plan, settings: &Settings) -> Result<()> {
    mounts::ensure_data(plan)?;
    netns::ensure(plan, &settings.build_allowed)?;
    let cluster = Cluster::of(plan);
    cluster.ensure()?;
    fs::create_dir_all(plan.data().join("redis"))?;
    start_supervisor(plan)?;
    want(
        plan,
        &[
            cluster.process()?,
            redis::process(plan),
            names::process(plan)?,
            authority::process(plan)?,
            internet::process(plan),
        ],
    )?;
    wait_until("the way out to the internet", || internet::is_open(plan))?;
    postgres::ensure_databases(plan, &cluster)
}

fn start_platform(plan: &Plan, settings: &Settings, clock: &mut Clock, images: bool) -> Result<()> {
    let otlp = settings.otlp.as_deref();
    copy_binaries(plan)?;
    example::ensure_repository(plan)?;
    control_plane::configure(plan, &Cluster::of(plan), otlp)?;
    control_plane::migrate(plan)?;
    trust::ensure(plan)?;
    clock.done("schema, keys, certificates");
    if images {
        base_image::ensure_pushed(plan)?;
    }
    let mut processes = vec![
        registry::process(plan)?,
        control_plane::process(plan, &plan.first_replica())?,
        balancer::process(plan)?,
    ];
    for region in plan.regions() {
        processes.push(engine::workloads(plan, &region)?);
        processes.push(engine::builds(plan, &region)?);
    }
    want(plan, &processes)?;
    // One after the other, so that a new version leaves the API up.
    for replica in plan.replicas().skip(1) {
        want(plan, &[control_plane::process(plan, &replica)?])?;
    }
    wait_until("the registry", || registry::answers(plan))?;
    wait_until("the API", || api::answers(plan))?;
    clock.done("registry, engines, control planes, balancer");
    bootstrap::ensure(plan)?;
    want(plan, &node_processes(plan, otlp)?)?;
    clock.done("agents and edges of both regions");
    Ok(())
}

fn node_processes(plan: &Plan, otlp: Option<&str>) -> Result<Vec<Process>> {
    let mut processes = Vec::new();
    for region in plan.regions() {
        for role in node::ROLES {
            bootstrap::ensure_join_token(plan, &region, role)?;
            processes.push(node::process(plan, &region, role, otlp)?);
        }
    }
    Ok(processes)
}

fn deploy_example(plan: &Plan, clock: &mut Clock) -> Result<String> {
    let host = example::ensure_deployed(plan)?;
    clock.done("example deployed");
    example::wait_until_served(plan, &host)?;
    clock.done("example answers at both edges");
    Ok(host)
}

/// Asks for processes and waits until all are ready.
fn want(plan: &Plan, processes: &[Process]) -> Result<()> {
    for process in processes {
        process::want(plan, process)?;
    }
    for process in processes {
        let ready = || is_ready(plan, process);
        wait_until(&process.name, ready).with_context(|| {
            format!(
                "{}; see ./dev logs {}",
                last_words(plan, &process.name),
                process.name
            )
        })?;
    }
    Ok(())
}

fn is_ready(plan: &Plan, process: &Process) -> bool {
    State::read(plan).is_ok_and(|state| {
        state.process(&process.name).is_some_and(|observed| {
            observed.state == Phase::Ready && observed.fingerprint == process.fingerprint
        })
    })
}

fn last_words(plan: &Plan, name: &str) -> String {
    let log = fs::read_to_string(plan.log(name)).unwrap_or_default();
    log.lines()
        .rfind(|line| !line.starts_with("supervisor:"))
        .unwrap_or("no output")
        .to_owned()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    while !condition() {
        if Instant::now() > deadline {
            bail!("{what} was not ready within {READY_WITHIN:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn start_supervisor(plan: &Plan) -> Result<()> {
    if State::read(plan)?.live_supervisor().is_some() {
        return Ok(());
    }
    fs::create_dir_all(plan.data().join("log"))?;
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(plan.log("supervisor"))?;
    // setsid: a terminal that closes must not end the platform.
    let mut supervise = command(["setsid", "--fork"]);
    supervise
        .arg(copy_of_this_program(plan)?)
        .args(["dev", "supervise"])
        .env("RAILHEAD_DEV_DIR", &plan.dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    supervise.run().context("starting the supervisor")?;
    wait_until("the supervisor", || {
        State::read(plan).is_ok_and(|state| state.live_supervisor().is_some())
    })
}

/// For the supervisor. From `/proc`, where it is readable even after a build has replaced its file.
fn copy_of_this_program(plan: &Plan) -> Result<PathBuf> {
    let (new, copy) = (plan.bin("xtask.new"), plan.bin("xtask"));
    fs::create_dir_all(plan.data().join("bin"))?;
    fs::copy("/proc/self/exe", &new)
        .and_then(|_| fs::rename(&new, &copy))
        .with_context(|| format!("copying this program to {}", copy.display()))?;
    Ok(copy)
}

/// The platform runs copies, so that a build in the checkout never changes what runs.
fn copy_binaries(plan: &Plan) -> Result<()> {
    for name in BINARIES {
        let (from, to) = (target_dir()?.join("debug").join(name), plan.bin(name));
        let mut copy: Command = command(["install", "--compare", "-D", "--mode=755"]);
        copy.arg(&from)
            .arg(&to)
            .read()
            .with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

/// What the thread has come to.
pub fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn print_summary(plan: &Plan, host: &str, clock: &Clock) {
    say!(
        "\nRailhead is up ({:.1} s).",
        clock.begun.elapsed().as_secs_f64()
    );
    say!("  API        {}", plan.api_url());
    say!(
        "  token      {}",
        plan.dir.join("secrets/admin.token").display()
    );
    say!("  CA         {}", plan.dir.join("ca.pem").display());
    for region in plan.regions() {
        print_region(plan, &region, host);
    }
}

fn print_region(plan: &Plan, region: &Region, host: &str) {
    say!("  {:<10} {}", region.name, region.address());
    say!(
        "             {}",
        example::curl(plan, region, host).join(" ")
    );
}

/// Says how long each phase took.
struct Clock {
    begun: Instant,
    last: Instant,
}

impl Clock {
    fn start() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            last: now,
        }
    }

    fn done(&mut self, phase: &str) {
        say!("  {:>6.1} s  {phase}", self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
    }
}
