//! Brings orders for certificates on: each turn, each that is due by one step. A step asks the authority outside of any
//! transaction, and is written down with a compare-and-set: a replica that was overtaken writes nothing.

use std::time::Duration;

use chrono::Utc;
use domain::deployment::acknowledgement::{Acknowledgement, judge};
use futures::{StreamExt as _, stream};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use zeroize::Zeroizing;

use super::{
    super::{Context, Error, Turn},
    metrics, preflight,
    windows::chance,
};
use crate::{
    acme::{
        self, Authority, Kind, Validation,
        chain::Chain,
        order::{self, Code, LOOK, Order, PATIENCE, Placed, Problem, Step, backoff, renew_at},
        problem_of,
    },
    secrets::{self, Label},
    store::{
        self, acme_account, certificate_order,
        domain_certificate::{self, Issuer, New},
        event::{self, NewEvent},
        route,
        tx::{Access as _, SystemTx},
    },
    waker::Topic,
};

/// Orders of one turn.
const BATCH: i64 = 50;
/// Orders that authorities are asked about at once.
const AT_ONCE: usize = 10;
/// Hostnames that are found to need a certificate in one turn.
const OPENED: i64 = 1_000;
/// A step that was not written down by then is another replica's.
const HOLD: Duration = Duration::from_secs(120);
/// When this platform's own budget at the authority is spent.
const BUDGET: Duration = Duration::from_secs(120);

/// What follows from a step.
enum Next {
    /// The order is there now, and looked at again after this time.
    Step(Step, Duration),
    /// It begins anew after this time.
    Failed(Problem, Duration),
    /// The certificate, and its key (PEM).
    Issued(Chain, Zeroizing<String>),
}

impl Next {
    fn failed(order: &Order, problem: Problem) -> Self {
        let failures = order.failures + u32::from(problem.code.counts());
        let wait = backoff(problem.code, failures);
        Self::Failed(problem, wait)
    }
}

pub(super) async fn advance(context: &Context) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    certificate_order::close_unwanted(&mut tx).await?;
    let platform_domain = &context.state.config.platform_domain;
    certificate_order::open(&mut tx, platform_domain, OPENED).await?;
    let due = certificate_order::claim(&mut tx, HOLD, BATCH).await?;
    tx.commit().await?;
    let mut stepped = stream::iter(due)
        .map(|order| async move { (one(context, &order).await, order) })
        .buffer_unordered(AT_ONCE);
    let mut turn = Turn::default();
    while let Some((done, order)) = stepped.next().await {
        turn.note(&order.hostname, done)?;
    }
    turn.end()
}

async fn one(context: &Context, order: &Order) -> Result<(), Error> {
    let Some(name) = authority_of(context, order) else {
        return Ok(());
    };
    let next = match turn_at(context, order, &name).await {
        Ok(next) => next,
        Err(Failure::Order(problem)) => Next::failed(order, problem),
        Err(Failure::Ours(error)) => return Err(error),
    };
    record(context, order, &name, next).await
}

async fn turn_at(context: &Context, order: &Order, name: &str) -> Result<Next, Failure> {
    let authority = context.state.authorities.open(name).await?;
    let next = step(context, order, &authority).await;
    if next.is_err() {
        pause(context, &authority).await?;
    }
    next
}

/// Where the order is, or will be.
fn authority_of(context: &Context, order: &Order) -> Option<String> {
    if let Some(placed) = order.step.placed() {
        return Some(placed.authority.clone());
    }
    let configured = context.state.authorities.in_order();
    let index = order::authority(order.failures, configured.len())?;
    configured
        .get(index)
        .map(|authority| authority.name.clone())
}

/// What keeps a step from being done.
enum Failure {
    /// It ends the order, and its owner is told.
    Order(Problem),
    /// The database, or our own keys: the order waits.
    Ours(Error),
}

impl From<acme::Error> for Failure {
    fn from(error: acme::Error) -> Self {
        match (problem_of(&error), error) {
            (_, acme::Error::Store(error)) => Self::Ours(error.into()),
            (_, acme::Error::Secrets(error)) => Self::Ours(error.into()),
            (Some(problem), _) => Self::Order(problem),
            (None, error) => Self::Order(Problem::new(Code::Unavailable, error.to_string())),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Ours(error.into())
    }
}

impl From<secrets::Error> for Failure {
    fn from(error: secrets::Error) -> Self {
        Self::Ours(error.into())
    }
}

/// The authority may have asked to be left alone.
async fn pause(context: &Context, authority: &Authority) -> Result<(), Error> {
    let Some(wait) = authority.patience() else {
        return Ok(());
    };
    let config = authority.config();
    tracing::warn!(
        authority = config.name,
        ?wait,
        "a certificate authority wants to be left alone"
    );
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    acme_account::pause(&mut tx, config.directory.as_str(), wait).await?;
    Ok(tx.commit().await?)
}

async fn step(context: &Context, order: &Order, authority: &Authority) -> Result<Next, Failure> {
    if !matches!(order.step, Step::Waiting) && order.at_step_for > PATIENCE {
        return Ok(Next::failed(order, stuck(order, authority)));
    }
    match &order.step {
        Step::Waiting => place(context, order, authority).await,
        Step::Published(placed) => begin(context, order, placed, authority).await,
        Step::Validating(placed) => validate(context, order, placed, authority).await,
        Step::Finalizing(placed, _) => finalize(context, order, placed, authority).await,
    }
}

fn stuck(order: &Order, authority: &Authority) -> Problem {
    let minutes = PATIENCE.as_secs() / 60;
    let name = &authority.config().name;
    match &order.step {
        Step::Waiting | Step::Published(_) => Problem::new(
            Code::Edges,
            format!(
                "not every edge has taken over what {name} is to be answered within {minutes} minutes; see railhead admin doctor"
            ),
        ),
        Step::Validating(_) | Step::Finalizing(..) => Problem::new(
            Code::Unavailable,
            format!("{name} has not got further within {minutes} minutes"),
        ),
    }
}

async fn place(context: &Context, order: &Order, authority: &Authority) -> Result<Next, Failure> {
    let config = authority.config();
    if let Some(problem) = preflight::check(context, order, config).await? {
        return Ok(Next::failed(order, problem));
    }
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let may = acme_account::spend(&mut tx, config.directory.as_str(), config.orders()).await?;
    tx.commit().await?;
    if !may {
        let reason = format!(
            "many certificates are ordered from {} just now; this one is in the queue",
            config.name
        );
        return Ok(Next::Failed(
            Problem::new(Code::RateLimited, reason),
            BUDGET,
        ));
    }
    let renews = order.renews.as_ref().filter(|(of, _)| *of == config.name);
    let renews = renews.map(|(_, chain)| chain.as_str());
    let placed = authority
        .place(&order.hostname, Kind::after(order.failures), renews)
        .await?;
    Ok(Next::Step(Step::Published(placed), Duration::ZERO))
}

/// An authority asks from several places, and DNS leads it to any edge: all have to know the answer.
async fn begin(
    context: &Context,
    order: &Order,
    placed: &Placed,
    authority: &Authority,
) -> Result<Next, Failure> {
    if let Some(challenge) = &placed.challenge {
        let mut tx = SystemTx::begin(&context.state.pools).await?;
        let positions = certificate_order::published(&mut tx, &order.hostname, challenge).await?;
        let edges = route::followers(&mut tx, &positions).await?;
        drop(tx);
        if judge(&edges, true) == Acknowledgement::Waiting {
            return Ok(Next::Step(order.step.clone(), LOOK));
        }
        authority.begin(placed).await?;
    }
    Ok(Next::Step(Step::Validating(placed.clone()), LOOK))
}

async fn validate(
    context: &Context,
    order: &Order,
    placed: &Placed,
    authority: &Authority,
) -> Result<Next, Failure> {
    match authority.validation(placed).await? {
        Validation::Pending => Ok(Next::Step(order.step.clone(), LOOK)),
        Validation::Failed(problem) => Ok(Next::failed(order, problem)),
        Validation::Ready => {
            let key = KeyPair::generate().map_err(acme::Error::from)?;
            let key = Zeroizing::new(key.serialize_pem());
            let label = Label::certificate_order(order.organization, order.domain);
            let sealed = context.state.secrets.seal(&label, key.as_bytes()).await?;
            let step = Step::Finalizing(placed.clone(), sealed);
            Ok(Next::Step(step, Duration::ZERO))
        }
        Validation::Requested => Ok(Next::failed(
            order,
            Problem::new(
                Code::Refused,
                format!(
                    "{} made a certificate for a key that is lost",
                    placed.authority
                ),
            ),
        )),
    }
}

async fn finalize(
    context: &Context,
    order: &Order,
    placed: &Placed,
    authority: &Authority,
) -> Result<Next, Failure> {
    let Some(sealed) = order.step.key() else {
        return Ok(Next::Step(Step::Waiting, Duration::ZERO));
    };
    let label = Label::certificate_order(order.organization, order.domain);
    let key = context.state.secrets.open_text(&label, sealed).await?;
    authority
        .request(placed, &request(&order.hostname, &key)?)
        .await?;
    let Some(pem) = authority.chain(placed).await? else {
        return Ok(Next::Step(order.step.clone(), LOOK));
    };
    let chain = Chain::check(&pem, &key, &order.hostname, Utc::now());
    let chain = chain.map_err(|source| acme::Error::Issued {
        authority: placed.authority.clone(),
        source,
    })?;
    Ok(Next::Issued(chain, key))
}

/// A request for a certificate, DER.
fn request(hostname: &str, key_pem: &str) -> Result<Vec<u8>, acme::Error> {
    let key = KeyPair::from_pem(key_pem)?;
    let mut wanted = CertificateParams::new([hostname.to_owned()])?;
    wanted.distinguished_name = DistinguishedName::new();
    Ok(wanted.serialize_request(&key)?.der().to_vec())
}

async fn record(
    context: &Context,
    order: &Order,
    authority: &str,
    next: Next,
) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let written = match &next {
        Next::Step(step, wait) => certificate_order::advance(&mut tx, order, step, *wait).await?,
        Next::Failed(problem, wait) => fail(&mut tx, order, problem, *wait).await?,
        Next::Issued(chain, key) => keep(context, &mut tx, order, authority, (chain, key)).await?,
    };
    if !written {
        return Ok(());
    }
    tx.commit().await?;
    tell(order, authority, &next);
    let waker = &context.state.waker;
    match next {
        // What edges answer has changed.
        Next::Step(Step::Published(_), _) | Next::Failed(..) => waker.wake(Topic::Nodes),
        Next::Step(..) => {}
        Next::Issued(..) => [Topic::Nodes, Topic::Routes]
            .into_iter()
            .for_each(|topic| waker.wake(topic)),
    }
    waker.wake(Topic::Certificates);
    Ok(())
}

async fn fail(
    tx: &mut SystemTx,
    order: &Order,
    problem: &Problem,
    wait: Duration,
) -> Result<bool, Error> {
    if !certificate_order::fail(tx, order, problem, wait).await? {
        return Ok(false);
    }
    if problem.code.counts() {
        let mut event = NewEvent::new("certificate.failed", order.domain);
        event.data = serde_json::json!({ "hostname": order.hostname, "code": problem.code.word() });
        event::append(tx.executor(), order.organization, &[event]).await?;
    }
    Ok(true)
}

async fn keep(
    context: &Context,
    tx: &mut SystemTx,
    order: &Order,
    authority: &str,
    (chain, key): (&Chain, &Zeroizing<String>),
) -> Result<bool, Error> {
    if !certificate_order::close(tx, order).await? {
        return Ok(false);
    }
    let (id, version) = domain_certificate::next(tx, order.domain).await?;
    let label = Label::certificate(id, version);
    let sealed = context.state.secrets.seal(&label, key.as_bytes()).await?;
    let life = (chain.not_before, chain.not_after);
    let new = New {
        domain: order.domain,
        organization: order.organization,
        id,
        version,
        issuer: &Issuer::Acme(authority.to_owned()),
        chain_pem: &chain.pem,
        key: &sealed,
        not_before: chain.not_before,
        not_after: chain.not_after,
        renew_at: Some(renew_at(life, None, chance(order.domain))),
    };
    domain_certificate::put(tx, &new).await?;
    let event = NewEvent::new("certificate.issued", order.domain);
    event::append(tx.executor(), order.organization, &[event]).await?;
    Ok(true)
}

fn tell(order: &Order, authority: &str, next: &Next) {
    match next {
        Next::Step(..) => {}
        Next::Failed(problem, wait) => {
            metrics::ended(authority, problem.code.word());
            tracing::warn!(hostname = order.hostname, authority, code = problem.code.word(), reason = problem.message, again_in = ?wait, "no certificate yet");
        }
        Next::Issued(chain, _) => {
            metrics::ended(authority, "issued");
            tracing::info!(hostname = order.hostname, authority, not_after = %chain.not_after, "a certificate was issued");
        }
    }
}
