//! Reconcilers bring plan and observation together. Each looks at the whole of its part, decides in
//! pure code and applies with compare-and-set, so that running twice is harmless; a lease only
//! saves work. Each is woken and also runs by its timer.

mod builds;
mod certificates;
mod deletions;
mod deployments;
mod domains;
mod evaluations;
mod instances;
mod metrics;
mod nodes;
mod platform_routes;
mod retention;
mod routes;

use std::{future::Future, pin::Pin, time::Duration};

use domain::name::InvalidName;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

use crate::{
    State, ca, secrets,
    store::{self, lease, tx::SystemTx},
    waker::Topic,
};

/// A holder that died is followed by another after this long.
const LEASE: Duration = Duration::from_secs(10);

/// What keeps a reconciler from doing its work; it tries again at its next turn.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    #[error(transparent)]
    Certificate(#[from] ca::Error),
    #[error("a stored name is none: {0}")]
    Name(#[from] InvalidName),
}

type Run = fn(Context) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// What a reconciler works with.
#[derive(Clone)]
pub struct Context {
    pub state: State,
    /// Names this process in claims and leases.
    pub holder: Uuid,
}

struct Task {
    name: &'static str,
    /// Without a wake-up it runs this often.
    period: Duration,
    woken_by: &'static [Topic],
    run: Run,
}

const TASKS: [Task; 10] = [
    Task {
        name: "evaluations",
        period: Duration::from_secs(2),
        woken_by: &[Topic::Evaluations],
        run: |context| Box::pin(evaluations::run(context)),
    },
    Task {
        name: "deployments",
        period: Duration::from_secs(2),
        woken_by: &[Topic::Deployments],
        run: |context| Box::pin(deployments::run(context)),
    },
    Task {
        name: "builds",
        period: Duration::from_secs(2),
        woken_by: &[Topic::Deployments],
        run: |context| Box::pin(builds::run(context)),
    },
    Task {
        name: "routes",
        period: Duration::from_secs(5),
        woken_by: &[Topic::Routes],
        run: |context| Box::pin(routes::run(context)),
    },
    Task {
        name: "platform_routes",
        period: Duration::from_secs(5),
        woken_by: &[Topic::Routes],
        run: |context| Box::pin(platform_routes::run(context)),
    },
    Task {
        name: "instances",
        period: Duration::from_secs(2),
        woken_by: &[Topic::Instances],
        run: |context| Box::pin(instances::run(context)),
    },
    Task {
        name: "nodes",
        period: Duration::from_secs(1),
        woken_by: &[],
        run: |context| Box::pin(nodes::run(context)),
    },
    Task {
        name: "deletions",
        period: Duration::from_secs(5),
        woken_by: &[Topic::Deletions],
        run: |context| Box::pin(deletions::run(context)),
    },
    Task {
        name: "domains",
        period: Duration::from_secs(30),
        woken_by: &[Topic::Domains],
        run: |context| Box::pin(domains::run(context)),
    },
    Task {
        name: "retention",
        period: Duration::from_secs(600),
        woken_by: &[],
        run: |context| Box::pin(retention::run(context)),
    },
];

/// Runs every reconciler until the shutdown, then gives their leases back.
pub async fn run(state: State) {
    let context = Context {
        state,
        holder: Uuid::now_v7(),
    };
    let mut tasks = JoinSet::new();
    for task in TASKS {
        tasks.spawn(keep_running(task, context.clone()));
    }
    context.state.shutdown.cancelled().await;
    tasks.shutdown().await;
    if let Err(error) = release(&context).await {
        tracing::debug!(%error, "leases were not given back; they run out");
    }
}

async fn release(context: &Context) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    lease::release(&mut tx, context.holder).await?;
    Ok(tx.commit().await?)
}

async fn keep_running(task: Task, context: Context) {
    let waker = &context.state.waker;
    let mut wakes: Vec<_> = task
        .woken_by
        .iter()
        .map(|topic| waker.subscribe(*topic))
        .collect();
    loop {
        if let Err(error) = run_once(&task, &context).await {
            match &error {
                Error::Store(store) if store.is_retryable() => {
                    tracing::debug!(task = task.name, %error, "a reconciler waits for the database");
                }
                _ => tracing::error!(task = task.name, %error, "a reconciler failed"),
            }
        }
        wait(&mut wakes, task.period).await;
    }
}

/// Until one of the topics is woken, or the timer says so.
async fn wait(wakes: &mut [watch::Receiver<()>], period: Duration) {
    let mut woken: FuturesUnordered<_> = wakes.iter_mut().map(watch::Receiver::changed).collect();
    // When there is no topic the timer alone counts.
    let next = async {
        if woken.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    };
    let _ = tokio::time::timeout(period, next).await;
}

async fn run_once(task: &Task, context: &Context) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let name = format!("reconcile/{}", task.name);
    let epoch = lease::take(&mut tx, &name, context.holder, LEASE).await?;
    tx.commit().await?;
    if epoch.is_none() {
        return Ok(());
    }
    let began = tokio::time::Instant::now();
    let result = (task.run)(context.clone()).await;
    metrics::observe(task.name, began.elapsed(), result.is_ok());
    result
}
