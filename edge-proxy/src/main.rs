//! The edge's process: configuration, identity, feeds, ports, and an orderly end.

use domain::ring::Ring;
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use edge_proxy::{
    config::Config,
    feeds::Feeds,
    hand_over::{self, Predecessor, Served, Sockets},
    report,
    run::{self, Parts, Running},
    upstream::memory::Memory,
};
use link::{Link, writing::Lent};
use protocol::{
    feed::FeedName,
    item::{GlobalRouteItem, RegionRouteItem},
    join::Role,
};
use proxy_protocol::TrustedProxies;
use tokio::task::JoinError;

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
    /// Takes over from the edge at the standard input, which starts this one.
    #[arg(long = hand_over::TAKE_OVER, hide = true)]
    take_over: bool,
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
        .block_on(edge(config, arguments.take_over))
}

async fn edge(config: Config, take_over: bool) -> Result<()> {
    let (predecessor, inherited) = match take_over {
        true => Predecessor::at_standard_input().map(|(it, sockets)| (Some(it), sockets))?,
        false => (None, Vec::new()),
    };
    let sockets = Sockets::open(&config, inherited).await?;
    let predecessor = match predecessor {
        Some(predecessor) => Some(predecessor.take_folder().await?),
        None => None,
    };
    let memory = Memory::new(&config.state_dir);
    let link = open_link(&config).await?;
    let region = FeedName::RegionRoutes(link.identity().region(), Ring::All);
    let global = link.follow::<GlobalRouteItem>(FeedName::GlobalRoutes(Ring::All))?;
    let region = link.follow::<RegionRouteItem>(region)?;
    let feeds = Feeds {
        global: global.state(),
        region: region.state(),
    };
    let prepared = run::prepare(Parts {
        identity: link.identity().clone(),
        feeds: feeds.clone(),
        memory,
        writing: link.writing().clone(),
        access_log: config.access_log.clone(),
        connections_per_address: config.connections_per_address,
        trusted_proxies: TrustedProxies::new(&config.trusted_proxies),
        limit_redis: config.limit.redis.clone(),
        geo_databases: config.geo.databases.clone(),
        registry: telemetry::metrics::registry().clone(),
    })?;
    let followed = vec![global.feed(), region.feed()];
    let (read, state) = (followed.clone(), Arc::clone(&prepared.state));
    let served = move || Served::of(&read, &state);
    if let Some(leaving) = &predecessor {
        let may = leaving.may_leave(&served());
        may.context("the process that serves goes on")?;
    }
    let mut running = prepared.serve(sockets.ports()?);
    let ready = move || match feeds.global.borrow().commit {
        Some(_) => Ok(()),
        None => Err("no routes yet: waiting for the control plane".to_owned()),
    };
    let operators = telemetry::metrics::serve_at(sockets.metrics()?, ready);
    link::metrics::register(telemetry::metrics::registry(), &link, followed.clone())?;
    report::spawn(&link, &config, &running, followed);
    tokio::spawn(global.run());
    tokio::spawn(region.run());
    tokio::spawn(link.clone().renew());
    if let Some(predecessor) = predecessor {
        predecessor.take_place().await?;
    }
    telemetry::watchdog::spawn();
    telemetry::supervisor::ready();
    tracing::info!(http = %config.listen_http, https = %config.listen_https, "serving");
    sockets.keep();
    let end = tokio::select! {
        () = telemetry::shutdown_signal() => End::Asked,
        broken = running.broken() => End::Broken(broken),
        lent = hand_over::when_asked(&sockets, link.writing(), served) => End::HandedOver(lent),
    };
    match end {
        End::HandedOver(_) => operators.abort(),
        // Else connections would be waiting there that nobody accepts.
        End::Asked | End::Broken(_) => sockets.close(),
    }
    drain(&running, config.drain.duration()).await;
    match end {
        End::Asked | End::HandedOver(_) => Ok(()),
        End::Broken(error) => {
            Err(error).context("a part of the edge is broken; it must be started again")
        }
    }
}

/// Why an edge ends.
enum End {
    /// By a signal.
    Asked,
    /// By a bug.
    Broken(JoinError),
    /// Another process serves, and writes.
    HandedOver(#[expect(dead_code, reason = "held until the end")] Lent),
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

async fn drain(running: &Running, limit: Duration) {
    tracing::info!(
        connections = running.drain.connections().len(),
        "draining: no new connections, what runs may finish"
    );
    running.drain.run(limit).await;
    tracing::info!("drained");
}
