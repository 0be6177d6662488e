//! Brings orders for certificates on: each turn, some of those that are due by one step. A step asks the authority outside
//! of any transaction, and is written down with a compare-and-set: a replica that was overtaken writes nothing.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt as _, future::join_all};
use tokio::time::timeout;

use super::{
    super::{Context, Error, Turn},
    record::record,
    step::{Failure, Next, step},
};
use crate::{
    acme::{
        Authority,
        order::{self, Code, Order, PATIENCE, Problem, Step},
    },
    store::{acme_account, certificate_order, tx::SystemTx},
};

/// Orders of one turn: authorities are asked about all of them at once.
const BATCH: i64 = 10;
/// Hostnames that are found to need a certificate in one turn.
const OPENED: i64 = 1_000;
/// A step takes no longer.
const STEP: Duration = Duration::from_secs(100);
/// A step that was not written down by then is another replica's.
const HOLD: Duration = Duration::from_secs(120);
/// After a hiccup of an authority that has the order.
const RETRY: Duration = Duration::from_secs(10);

pub(super) async fn advance(context: &Context, alone: bool) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    certificate_order::close_unwanted(&mut tx, alone).await?;
    let mut due = Vec::new();
    if !alone {
        let platform_domain = &context.state.config.platform_domain;
        certificate_order::open(&mut tx, platform_domain, OPENED).await?;
        due = certificate_order::claim(&mut tx, HOLD, BATCH).await?;
    }
    tx.commit().await?;
    // To the end, also where one fails: an order that was placed is to be written down.
    let done = join_all(due.into_iter().map(|order| one(context, order))).await;
    let mut turn = Turn::default();
    for (hostname, done) in done {
        turn.note(hostname, done)?;
    }
    turn.end()
}

async fn one(
    context: &Context,
    order: Result<Order, crate::store::Error>,
) -> (String, Result<(), Error>) {
    match order {
        Ok(order) => (order.hostname.clone(), bring_on(context, &order).await),
        Err(error) => ("an order".to_owned(), Err(error.into())),
    }
}

async fn bring_on(context: &Context, order: &Order) -> Result<(), Error> {
    let Some(name) = authority_of(context, order) else {
        return Ok(());
    };
    // What an authority says may be rubbish of a kind that its client does not survive.
    let turn = AssertUnwindSafe(turn_at(context, order, &name)).catch_unwind();
    let next = match timeout(STEP, turn).await {
        Ok(Ok(next)) => next,
        Ok(Err(_)) => Err(unavailable(&name, "its answer can't be understood")),
        Err(_) => Err(unavailable(&name, "it does not answer")),
    };
    let next = match next {
        Ok(next) => next,
        Err(Failure::Ours(error)) => return Err(error),
        Err(Failure::Order { problem, patience }) => what_next(order, problem, patience),
    };
    record(context, order, &name, next).await
}

fn unavailable(authority: &str, why: &str) -> Failure {
    Failure::Order {
        problem: Problem::new(Code::Unavailable, format!("{authority}: {why}")),
        patience: None,
    }
}

/// An order that stands at the authority is worth more than a moment: it may end with a certificate.
fn what_next(order: &Order, problem: Problem, patience: Option<Duration>) -> Next {
    let stands = !matches!(order.step, Step::Waiting) && order.at_step_for <= PATIENCE;
    if stands && problem.code.passes() {
        return Next::Step(order.step.clone(), patience.unwrap_or(RETRY));
    }
    let wait = order::backoff(problem.code, order.failures + 1);
    Next::Failed(
        problem,
        patience.map_or(wait, |patience| patience.max(wait)),
    )
}

/// Where the order is, or will be.
fn authority_of(context: &Context, order: &Order) -> Option<String> {
    if let Some(placed) = order.step.placed() {
        return Some(placed.authority.clone());
    }
    let configured = context.state.authorities.in_order();
    let index = order::authority(order.failures, configured.len())?;
    let chosen = configured.get(index);
    chosen.map(|authority| authority.name.clone())
}

async fn turn_at(context: &Context, order: &Order, name: &str) -> Result<Next, Failure> {
    let authority = context.state.authorities.open(name).await?;
    let mut next = step(context, order, &authority).await;
    if let Err(Failure::Order { problem, patience }) = &mut next {
        *patience = authority.patience();
        if let Some(wait) = patience.filter(|_| problem.code == Code::Unavailable) {
            pause(context, &authority, wait).await;
        }
    }
    next
}

/// It is not up to the hostname. When this can't be written down, the next order hears it again.
async fn pause(context: &Context, authority: &Authority, wait: Duration) {
    let config = authority.config();
    tracing::warn!(
        authority = config.name,
        ?wait,
        "a certificate authority wants to be left alone"
    );
    let paused: Result<(), crate::store::Error> = async {
        let mut tx = SystemTx::begin(&context.state.pools).await?;
        acme_account::pause(&mut tx, config.directory.as_str(), wait).await?;
        tx.commit().await
    }
    .await;
    if let Err(error) = paused {
        tracing::warn!(%error, "that could not be written down");
    }
}

#[cfg(test)]
mod tests {
    use domain::id::{DomainId, OrganizationId};

    use super::*;
    use crate::acme::order::Placed;

    fn at(step: Step, failures: u32, minutes: u64) -> Order {
        Order {
            domain: DomainId::new(),
            organization: OrganizationId::new(),
            hostname: "a.test".into(),
            version: 1,
            failures,
            at_step_for: Duration::from_secs(60 * minutes),
            is_renewal: false,
            renews: None,
            step,
        }
    }

    fn placed() -> Step {
        Step::Validating(Placed {
            authority: "x".into(),
            url: "https://x.test/1".into(),
            challenge: None,
        })
    }

    #[test]
    fn an_order_that_stands_outlives_a_hiccup_and_nothing_else() {
        let after = |order: &Order, code, patience: Option<u64>| {
            let patience = patience.map(Duration::from_secs);
            match what_next(order, Problem::new(code, "why"), patience) {
                Next::Step(_, wait) => ("goes on", wait.as_secs()),
                Next::Failed(_, wait) => ("fails", wait.as_secs()),
                Next::Issued(..) => unreachable!(),
            }
        };
        let young = at(placed(), 0, 1);
        assert_eq!(after(&young, Code::Unavailable, None), ("goes on", 10));
        assert_eq!(after(&young, Code::RateLimited, Some(90)), ("goes on", 90));
        assert_eq!(after(&young, Code::Validation, None), ("fails", 60));
        let old = at(placed(), 1, 16);
        assert_eq!(after(&old, Code::Unavailable, None), ("fails", 600));
        let waiting = at(Step::Waiting, 0, 0);
        assert_eq!(after(&waiting, Code::Unavailable, None), ("fails", 60));
        assert_eq!(
            after(&waiting, Code::RateLimited, Some(7_200)),
            ("fails", 7_200)
        );
    }
}
