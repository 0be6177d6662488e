//! Reconcilers bring plan and observation together. Each looks at the whole of its part, decides in
//! pure code and applies with compare-and-set, so that running twice is harmless; a lease only
//! saves work. Each is woken and also runs by its timer.

mod brake;
pub mod builds;
mod certificates;
pub mod deployments;
mod dns;
mod domains;
pub mod evaluations;
pub mod instances;
mod look;
mod metrics;
mod nodes;
pub mod orphans;
mod platform_routes;
mod retention;
pub mod rollout;
pub(crate) mod routes;
mod turn;

use std::{future::Future, pin::Pin, time::Duration};

use domain::name::InvalidName;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use uuid::Uuid;

use turn::{Partly, Turn};

use crate::{
    State, ca,
    dns::zone,
    secrets,
    store::{self, evaluation, lease, platform_status, ring, tx::SystemTx},
    waker::Topic,
};

/// A holder that died is followed by another after this long.
const LEASE: Duration = Duration::from_secs(5);

/// How often a task that goes on as before says so.
const TELL_EVERY: Duration = Duration::from_secs(10);

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
    #[error(transparent)]
    Zone(#[from] zone::Error),
    #[error(transparent)]
    Partly(#[from] Partly),
}

impl Error {
    /// Whether the next turn may do better by itself.
    fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Partly(partly) => partly.is_retryable(),
            Self::Zone(error) => error.is_waiting(),
            Self::Secrets(_) | Self::Certificate(_) | Self::Name(_) => false,
        }
    }
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

const TASKS: [Task; 14] = [
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
        period: Duration::from_secs(2),
        woken_by: &[Topic::Routes],
        run: |context| Box::pin(routes::run(context)),
    },
    Task {
        name: "route_sweep",
        period: routes::SWEEP,
        woken_by: &[],
        run: |context| Box::pin(routes::sweep(context)),
    },
    Task {
        name: "platform_routes",
        period: Duration::from_secs(5),
        woken_by: &[Topic::Nodes],
        run: |context| Box::pin(platform_routes::run(context)),
    },
    Task {
        name: "rollout",
        period: Duration::from_secs(2),
        woken_by: &[],
        run: |context| Box::pin(rollout::run(context)),
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
        name: "orphans",
        period: Duration::from_secs(5),
        woken_by: &[Topic::Instances],
        run: |context| Box::pin(orphans::run(context)),
    },
    Task {
        name: "domains",
        period: Duration::from_secs(30),
        woken_by: &[Topic::Domains],
        run: |context| Box::pin(domains::run(context)),
    },
    Task {
        name: "dns",
        period: Duration::from_secs(60),
        woken_by: &[Topic::Nodes],
        run: |context| Box::pin(dns::run(context)),
    },
    Task {
        name: "certificates",
        period: Duration::from_secs(5),
        woken_by: &[Topic::Certificates],
        run: |context| Box::pin(certificates::run(context)),
    },
    Task {
        name: "retention",
        period: Duration::from_secs(600),
        woken_by: &[],
        run: |context| Box::pin(retention::run(context)),
    },
];

/// What the reconcilers are called, in statuses and metrics.
pub fn names() -> impl Iterator<Item = &'static str> {
    TASKS.iter().map(|task| task.name)
}

/// Runs every reconciler until the replica is to end, then leaves it all to another.
pub async fn run(state: State) {
    let context = Context {
        state,
        holder: Uuid::now_v7(),
    };
    let mut tasks = JoinSet::new();
    for task in TASKS {
        tasks.spawn(keep_running(task, context.clone()));
    }
    tasks.spawn(brake::watch(context.clone()));
    tasks.spawn(rollout::watch(context.clone()));
    context.state.leaving.cancelled().await;
    tasks.shutdown().await;
    if let Err(error) = hand_over(&context).await {
        tracing::debug!(%error, "leases were not given back; they run out");
    }
}

/// Gives back what this replica holds, and wakes the others.
async fn hand_over(context: &Context) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    lease::release(&mut tx, context.holder).await?;
    evaluation::release(&mut tx, context.holder).await?;
    tx.commit().await?;
    for topic in TASKS.iter().flat_map(|task| task.woken_by) {
        context.state.waker.wake(*topic);
    }
    Ok(())
}

async fn keep_running(task: Task, context: Context) {
    let mut told = Told::default();
    let waker = &context.state.waker;
    let mut wakes: Vec<_> = task
        .woken_by
        .iter()
        .map(|topic| waker.subscribe(*topic))
        .collect();
    loop {
        if let Err(error) = run_once(&task, &context, &mut told).await {
            if error.is_retryable() {
                tracing::debug!(task = task.name, %error, "a reconciler waits for what it needs");
            } else if told.is_news(&error.to_string()) {
                tracing::error!(task = task.name, %error, "a reconciler failed");
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

/// What was last written about a task, so that a turn that changes nothing writes nothing.
#[derive(Default)]
struct Told {
    at: Option<Instant>,
    succeeded: bool,
    logged: Option<(Instant, String)>,
}

impl Told {
    fn is_stale(&self, succeeded: bool) -> bool {
        self.succeeded != succeeded || self.at.is_none_or(|at| at.elapsed() > TELL_EVERY)
    }

    /// Whether this was not logged a moment ago: many wake-ups meet what one of them has met.
    fn is_news(&mut self, error: &str) -> bool {
        let logged = self.logged.as_ref();
        let known = logged.is_some_and(|(at, text)| text == error && at.elapsed() < TELL_EVERY);
        if !known {
            self.logged = Some((Instant::now(), error.to_owned()));
        }
        !known
    }
}

/// Notes how a turn went, for `railhead admin doctor`.
async fn tell(
    task: &Task,
    context: &Context,
    told: &mut Told,
    result: &Result<(), Error>,
) -> Result<(), Error> {
    if !told.is_stale(result.is_ok()) {
        return Ok(());
    }
    let error = result.as_ref().err().map(ToString::to_string);
    let period = i64::try_from(task.period.as_secs()).unwrap_or(i64::MAX);
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    platform_status::note_turn(&mut tx, task.name, context.holder, period, error.as_deref())
        .await?;
    tx.commit().await?;
    told.at = Some(Instant::now());
    told.succeeded = result.is_ok();
    Ok(())
}

async fn run_once(task: &Task, context: &Context, told: &mut Told) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    // A program that does not know how a ring is rendered leaves all to the newer ones.
    if ring::newest_version(&mut tx).await? > context.state.rendering.version {
        return Ok(());
    }
    // An older program does not keep a newer one from leading.
    let name = format!(
        "reconcile/{}@{}",
        task.name, context.state.rendering.version
    );
    let epoch = lease::take(&mut tx, &name, context.holder, LEASE).await?;
    tx.commit().await?;
    if epoch.is_none() {
        return Ok(());
    }
    let began = Instant::now();
    let result = (task.run)(context.clone()).await;
    metrics::observe(task.name, began.elapsed(), result.is_ok());
    tell(task, context, told, &result).await?;
    result
}
