//! One step of an order at its authority. Repeated, a step finds what became of it.

use std::time::Duration;

use chrono::Utc;
use domain::deployment::acknowledgement::{Acknowledgement, judge};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use zeroize::Zeroizing;

use super::{
    super::{Context, Error},
    preflight,
};
use crate::{
    acme::{
        self, Authority, Kind, Validation,
        chain::Chain,
        order::{Code, LOOK, Order, PATIENCE, Placed, Problem, Step},
        problem_of,
    },
    secrets::{self, Label},
    store::{
        self,
        acme_account::{self, Budget},
        certificate_order, route,
        tx::SystemTx,
    },
};

/// While this platform's own budget at the authority is spent.
const QUEUE: Duration = Duration::from_secs(120);

/// What follows from a step.
pub(super) enum Next {
    /// The order is there now, and looked at again after this time.
    Step(Step, Duration),
    /// It begins anew after this time.
    Failed(Problem, Duration),
    /// The certificate, and its key (PEM).
    Issued(Chain, Zeroizing<String>),
}

/// What keeps a step from being done.
pub(super) enum Failure {
    /// The owner of the hostname is told.
    Order {
        problem: Problem,
        /// How long the authority asks to be left alone.
        patience: Option<Duration>,
    },
    /// The database, or our own keys: the order waits.
    Ours(Error),
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Order {
            problem,
            patience: None,
        }
    }
}

impl From<acme::Error> for Failure {
    fn from(error: acme::Error) -> Self {
        match (problem_of(&error), error) {
            (_, acme::Error::Store(error)) => Self::Ours(error.into()),
            (_, acme::Error::Secrets(error)) => Self::Ours(error.into()),
            (Some(problem), _) => problem.into(),
            (None, error) => Problem::new(Code::Unavailable, error.to_string()).into(),
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

pub(super) async fn step(
    context: &Context,
    order: &Order,
    authority: &Authority,
) -> Result<Next, Failure> {
    if !matches!(order.step, Step::Waiting) && order.at_step_for > PATIENCE {
        return Err(stuck(order, authority).into());
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
                "not every edge has taken over what {name} is to be answered within {minutes} minutes"
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
    let directory = config.directory.as_str();
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let budget = acme_account::budget(&mut tx, directory, config.orders()).await?;
    drop(tx);
    match budget {
        Budget::Open => {}
        Budget::Spent => return Ok(Next::Step(Step::Waiting, QUEUE)),
        Budget::NoAccount => return new_account(context, authority).await,
    }
    if let Some(problem) = preflight::check(context, order, config).await? {
        return Err(problem.into());
    }
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    acme_account::spend(&mut tx, directory, config.orders()).await?;
    tx.commit().await?;
    // What an authority does not want to hear of once, it may not want to hear of again.
    let renews = order.renews.as_ref().filter(|_| order.failures == 0);
    let renews = renews.filter(|(of, _)| *of == config.name);
    let chain = renews.map(|(_, chain)| chain.as_str());
    let kind = Kind::after(order.failures);
    match authority.place(&order.hostname, kind, chain).await {
        Ok(placed) => Ok(Next::Step(Step::Published(placed), Duration::ZERO)),
        Err(error) if error.is_of_no_account() => new_account(context, authority).await,
        Err(error) => Err(error.into()),
    }
}

/// The authority has forgotten the platform, or the database has forgotten the authority: the next turn makes an account.
async fn new_account(context: &Context, authority: &Authority) -> Result<Next, Failure> {
    context.state.authorities.forget(authority).await?;
    Ok(Next::Step(Step::Waiting, LOOK))
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
        authority.begin(placed, Kind::after(order.failures)).await?;
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
        Validation::Failed(problem) => Err(problem.into()),
        Validation::Ready => {
            let key = KeyPair::generate().map_err(acme::Error::from)?;
            let key = Zeroizing::new(key.serialize_pem());
            let label = Label::certificate_order(order.organization, order.domain);
            let sealed = context.state.secrets.seal(&label, key.as_bytes()).await?;
            let step = Step::Finalizing(placed.clone(), sealed);
            Ok(Next::Step(step, Duration::ZERO))
        }
        Validation::Requested => Err(Problem::new(
            Code::Refused,
            format!(
                "{} made a certificate for a key that is lost",
                placed.authority
            ),
        )
        .into()),
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
    let wanted = request(&order.hostname, &key)?;
    authority.request(placed, &wanted).await?;
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
