//! The edge's process: configuration, identity, feeds, ports, and an orderly end.

use domain::ring::Ring;
use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use edge_proxy::{
    config::Config,
    feeds::Feeds,
    report,
    run::{self, Parts, Ports, Running},
    upstream::memory::Memory,
};
use link::Link;
use protocol::{
    feed::FeedName,
    item::{GlobalRouteItem, RegionRouteItem},
    join::Role,
};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Pingora calls every client that leaves early an error; what matters is in the access log, the
/// metrics and our own lines.
const LOG_FILTER: &str = "info,pingora_core::apps=off,pingora_proxy=off";

/// Railhead's edge: TLS, routing, health, forwarding between regions.
#[derive(Parser)]
#[command(name = "edge-proxy", version)]
struct Arguments {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    telemetry::init_crypto();
    match serve(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "the edge can't run");
            #[allow(clippy::print_stderr, reason = "logging may not have started")]
            {
                eprintln!("edge-proxy: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<()> {
    let config = Config::read(&arguments.config)?;
    let _telemetry = telemetry::init(&telemetry::Config {
        service: "edge-proxy",
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        log_filter: Some(log_filter(&config)),
    })?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the async runtime")?
        .block_on(edge(config))
}

async fn edge(config: Config) -> Result<()> {
    let memory = Memory::new(&config.state_dir);
    let link = open_link(&config).await?;
    let region = FeedName::RegionRoutes(link.identity().region(), Ring::All);
    let global = link.follow::<GlobalRouteItem>(FeedName::GlobalRoutes(Ring::All))?;
    let region = link.follow::<RegionRouteItem>(region)?;
    let feeds = Feeds {
        global: global.state(),
        region: region.state(),
    };
    let mut running = run::start(Parts {
        identity: link.identity().clone(),
        feeds: feeds.clone(),
        ports: bind(&config).await?,
        memory,
        access_log: config.access_log.clone(),
        connections_per_address: config.connections_per_address,
        registry: telemetry::metrics::registry().clone(),
    })?;
    let ready = move || match feeds.global.borrow().commit {
        Some(_) => Ok(()),
        None => Err("no routes yet: waiting for the control plane".to_owned()),
    };
    telemetry::metrics::serve(config.listen_metrics, ready).await?;
    let followed = vec![global.feed(), region.feed()];
    link::metrics::register(telemetry::metrics::registry(), &link, followed.clone())?;
    report::spawn(&link, &config, &running, followed);
    tokio::spawn(global.run());
    tokio::spawn(region.run());
    tokio::spawn(link.renew());
    telemetry::watchdog::spawn();
    telemetry::watchdog::ready();
    tracing::info!(http = %config.listen_http, https = %config.listen_https, "serving");
    until_end(&mut running, config.drain.duration()).await
}

fn log_filter(config: &Config) -> String {
    let configured = config.telemetry.log_filter.clone();
    configured.unwrap_or_else(|| LOG_FILTER.to_owned())
}

async fn open_link(config: &Config) -> Result<Link> {
    let control_plane = config
        .control_plane
        .parse()
        .with_context(|| format!("control_plane \"{}\" is no URL", config.control_plane))?;
    let link = Link::open(link::Config {
        control_plane,
        name: config.name.clone(),
        role: Role::Edge,
        state_dir: config.state_dir.clone(),
        node_key_file: None,
        join_token_file: config.join_token_file.clone(),
    });
    Ok(link.await?)
}

async fn until_end(running: &mut Running, drain: Duration) -> Result<()> {
    let broken = tokio::select! {
        () = telemetry::shutdown_signal() => None,
        broken = running.broken() => Some(broken),
    };
    tracing::info!(
        connections = running.drain.connections().len(),
        "draining: no new connections, what runs may finish"
    );
    running.drain.run(drain).await;
    tracing::info!("drained");
    match broken {
        None => Ok(()),
        Some(error) => Err(error).context("a part of the edge is broken; it must be started again"),
    }
}

async fn bind(config: &Config) -> Result<Ports> {
    let listen = async |key: &str, address: std::net::SocketAddr| {
        TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {key} = {address}"))
    };
    Ok(Ports {
        http: listen("listen_http", config.listen_http).await?,
        https: listen("listen_https", config.listen_https).await?,
        forward: listen("listen_forward", config.listen_forward).await?,
    })
}
