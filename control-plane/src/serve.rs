//! A running replica: both listeners, the background work, and an orderly end.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    Config, State, http, jobs, logs, node_http,
    readiness::{self, NotReady},
    reconcile, workflow,
};

/// How often readiness is looked at again, and counted audit events are written.
const TICK: Duration = Duration::from_secs(2);
/// Background work that hasn't ended this long after the signal is cut.
const DRAIN: Duration = Duration::from_secs(25);

/// Why this replica should get no traffic; none when it should.
type Readiness = Arc<Mutex<Result<(), NotReady>>>;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When it can't start: the message says what was tried and what to do.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let state = State::connect(config).await?;
    let mut tasks = JoinSet::new();
    spawn_listeners(&state, &mut tasks).await?;
    let listen_options = state.pools.listen_options();
    tasks.spawn(
        state
            .waker
            .clone()
            .run(listen_options, state.shutdown.clone()),
    );
    tasks.spawn(reconcile::run(state.clone()));
    tasks.spawn(jobs::run(state.clone()));
    tasks.spawn(workflow::run(state.clone()));
    tasks.spawn(logs::run(Arc::clone(&state.logs), state.shutdown.clone()));
    let readiness = Readiness::new(Mutex::new(Err(NotReady::Starting)));
    tasks.spawn(keep_house(state.clone(), Arc::clone(&readiness)));
    let leaving = state.leaving.clone();
    telemetry::metrics::serve(state.config.listen_metrics, move || {
        if leaving.is_cancelled() {
            return Err(NotReady::Ending.to_string());
        }
        let readiness = readiness.lock().unwrap_or_else(PoisonError::into_inner);
        readiness.as_ref().copied().map_err(ToString::to_string)
    })
    .await?;
    telemetry::watchdog::spawn();
    telemetry::supervisor::ready();
    tracing::info!(
        api = %state.config.listen,
        node_api = %state.config.listen_node,
        "the control plane serves"
    );
    tokio::select! {
        () = telemetry::shutdown_signal() => {}
        () = state.shutdown.cancelled() => {}
    }
    end(&state, tasks).await;
    Ok(())
}

async fn spawn_listeners(state: &State, tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
    let api = listener(state.config.listen, "listen").await?;
    let node_api = listener(state.config.listen_node, "listen_node").await?;
    tasks.spawn(or_end(state.clone(), http::serve(state.clone(), api)));
    tasks.spawn(or_end(
        state.clone(),
        node_http::serve(state.clone(), node_api),
    ));
    Ok(())
}

async fn listener(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("can't listen on {address}; choose another {key}"))
}

/// A listener that can't serve ends the process: its supervisor starts it again.
async fn or_end(state: State, listener: impl Future<Output = anyhow::Result<()>>) {
    if let Err(error) = listener.await {
        tracing::error!(error = %format!("{error:#}"), "a listener can't serve");
        state.shutdown.cancel();
    }
}

/// Small things that are due every few seconds.
async fn keep_house(state: State, readiness: Readiness) {
    loop {
        let now = readiness::check(&state).await;
        *readiness.lock().unwrap_or_else(PoisonError::into_inner) = now;
        if let Err(error) = state.recorder.flush(false).await {
            tracing::warn!(%error, "counted audit events could not be written");
        }
        state.limits.forget_idle();
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Other replicas take the background work over at once; requests are answered until the load balancer has
/// seen that this one is no longer ready, then listeners close and what has begun is finished.
async fn end(state: &State, mut tasks: JoinSet<()>) {
    tracing::info!("the control plane ends");
    state.leaving.cancel();
    let noticed = state.config.shutdown_delay.duration();
    let _ = tokio::time::timeout(noticed, state.shutdown.cancelled()).await;
    state.shutdown.cancel();
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::warn!(after = ?DRAIN, "background work was cut");
    }
    if let Err(error) = state.recorder.flush(true).await {
        tracing::warn!(%error, "counted audit events could not be written");
    }
}
