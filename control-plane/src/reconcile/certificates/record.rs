//! Writes down what became of an order's step, in one transaction with what follows from it.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{
    super::{Context, Error},
    metrics,
    step::Next,
    windows::chance,
};
use crate::{
    acme::{
        chain::Chain,
        order::{Code, Order, Problem, Step, renew_at},
    },
    secrets::Label,
    store::{
        certificate_order,
        domain_certificate::{self, Issuer, New},
        event::{self, NewEvent},
        tx::{Access as _, SystemTx},
    },
    waker::Topic,
};

/// Nothing is written for an order that somebody else has brought on meanwhile.
pub(super) async fn record(
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
    for topic in woken(order, &next) {
        context.state.waker.wake(*topic);
    }
    Ok(())
}

/// Who has something to do now.
fn woken(order: &Order, next: &Next) -> &'static [Topic] {
    match next {
        // What edges answer has changed.
        Next::Step(Step::Published(_), _) if matches!(order.step, Step::Waiting) => {
            &[Topic::Nodes, Topic::Certificates]
        }
        Next::Step(_, wait) if wait.is_zero() => &[Topic::Certificates],
        Next::Step(..) => &[],
        Next::Failed(..) if matches!(order.step, Step::Waiting) => &[],
        Next::Failed(..) => &[Topic::Nodes],
        Next::Issued(..) => &[Topic::Nodes, Topic::Routes, Topic::Certificates],
    }
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
    let mut event = NewEvent::new("certificate.failed", order.domain);
    event.data = serde_json::json!({ "hostname": order.hostname, "code": problem.code.word() });
    event::append(tx.executor(), order.organization, &[event]).await?;
    Ok(true)
}

/// Unless its owner has another one by now.
async fn keep(
    context: &Context,
    tx: &mut SystemTx,
    order: &Order,
    authority: &str,
    (chain, key): (&Chain, &Zeroizing<String>),
) -> Result<bool, Error> {
    let wanted = domain_certificate::lock(tx, order.domain, &["automatic"]).await?;
    if !wanted || !certificate_order::close(tx, order).await? {
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
    if !domain_certificate::put(tx, &new).await? {
        return Ok(false);
    }
    let event = NewEvent::new("certificate.issued", order.domain);
    event::append(tx.executor(), order.organization, &[event]).await?;
    Ok(true)
}

/// What its owner can mend is no matter for the platform's operators.
fn tell(order: &Order, authority: &str, next: &Next) {
    let hostname = &order.hostname;
    match next {
        Next::Step(..) => {}
        Next::Failed(problem, again_in) => {
            let (code, reason) = (problem.code.word(), &problem.message);
            metrics::ended(authority, code);
            match problem.code {
                Code::Dns | Code::Caa | Code::Validation | Code::Wildcard => {
                    tracing::info!(
                        hostname,
                        authority,
                        code,
                        reason,
                        ?again_in,
                        "no certificate yet"
                    );
                }
                Code::Refused | Code::RateLimited | Code::Unavailable | Code::Edges => {
                    tracing::warn!(
                        hostname,
                        authority,
                        code,
                        reason,
                        ?again_in,
                        "no certificate yet"
                    );
                }
            }
        }
        Next::Issued(chain, _) => {
            metrics::ended(authority, "issued");
            tracing::info!(hostname, authority, not_after = %chain.not_after, "a certificate was issued");
        }
    }
}
