//! Tenants' own hostnames: one is routed once its DNS leads to an edge of ours and says whose it is.
//! Leading here alone proves nothing: many names do, among them such as their owners have forgotten.

use std::{net::IpAddr, time::Duration};

use futures::{StreamExt as _, stream};

use super::{Context, Error, Turn};
use crate::{
    dns::{self, Resolver},
    store::{
        domain_check::{self, Claim, Verified},
        tx::SystemTx,
    },
    waker::Topic,
};

/// Hostnames of one turn.
const BATCH: i64 = 50;
/// Hostnames looked up at once, so that slow name servers hold up little.
const AT_ONCE: usize = 25;
/// A hostname whose name servers haven't answered by then is tried again at a later turn.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(8);

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let pools = &context.state.pools;
    let mut tx = SystemTx::begin(pools).await?;
    let waiting = domain_check::waiting(&mut tx, BATCH).await?;
    let edges = domain_check::edge_addresses(&mut tx).await?;
    drop(tx);
    let dns = &context.state.dns;
    let mut checked = stream::iter(waiting)
        .map(|claim| async { (check(dns, &claim, &edges).await, claim) })
        .buffer_unordered(AT_ONCE);
    let mut turn = Turn::default();
    while let Some((verdict, claim)) = checked.next().await {
        let done = match verdict {
            Ok(()) => accept(&context, &claim, &edges).await,
            Err(reason) => refuse(&context, &claim, &reason).await,
        };
        turn.note(&claim.hostname, done)?;
    }
    turn.end()
}

/// Gives the hostname to who has proven that it is theirs. Who had it before keeps it only with a
/// proof that still holds.
async fn accept(context: &Context, claim: &Claim, edges: &[IpAddr]) -> Result<(), Error> {
    let pools = &context.state.pools;
    let mut tx = SystemTx::begin(pools).await?;
    let holder = match domain_check::verify(&mut tx, claim).await? {
        Verified::Done => {
            tx.commit().await?;
            wake(context);
            return Ok(());
        }
        Verified::HeldBy(holder) => holder,
    };
    drop(tx);
    if check(&context.state.dns, &holder, edges).await.is_ok() {
        let reason = "another service has it, and its DNS still says so".to_owned();
        return refuse(context, claim, &reason).await;
    }
    tracing::info!(hostname = holder.hostname, from = %holder.organization, to = %claim.organization, "a hostname goes to its new owner");
    let mut tx = SystemTx::begin(pools).await?;
    domain_check::lose(&mut tx, &holder).await?;
    domain_check::verify(&mut tx, claim).await?;
    tx.commit().await?;
    wake(context);
    Ok(())
}

fn wake(context: &Context) {
    context.state.waker.wake(Topic::Routes);
    context.state.waker.wake(Topic::Certificates);
}

async fn refuse(context: &Context, claim: &Claim, reason: &str) -> Result<(), Error> {
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    domain_check::refuse(&mut tx, claim, reason).await?;
    Ok(tx.commit().await?)
}

/// Whether the claim holds today; else what its maker can do.
pub(super) async fn check(dns: &Resolver, claim: &Claim, edges: &[IpAddr]) -> Result<(), String> {
    let asked = tokio::time::timeout(LOOKUP_TIMEOUT, ask(dns, claim)).await;
    let answers = asked.unwrap_or((Err(dns::Error::Silent), Err(dns::Error::Silent)));
    judge(claim, answers, edges).map_err(|fault| format!("{fault}; {}", advice(claim, edges)))
}

/// Where the name leads, and what its owner says there.
type Answers = (
    Result<Vec<IpAddr>, dns::Error>,
    Result<Vec<String>, dns::Error>,
);

/// Of a wildcard, a name below it that nobody else asks for stands for all.
async fn ask(dns: &Resolver, claim: &Claim) -> Answers {
    let name = match claim.hostname.strip_prefix("*.") {
        Some(parent) => format!("check-{}.{parent}", claim.id.uuid().simple()),
        None => claim.hostname.clone(),
    };
    let proof = claim.proof_name();
    tokio::join!(dns.addresses(&name), dns.texts(&proof))
}

/// Whether every address that the name leads to is one of our edges, and its owner says that it is the
/// organization's.
fn judge(claim: &Claim, answers: Answers, edges: &[IpAddr]) -> Result<(), String> {
    let (addresses, texts) = answers;
    let hostname = &claim.hostname;
    let addresses = addresses.map_err(|error| format!("{hostname}: {error}"))?;
    if addresses.is_empty() {
        return Err(format!("{hostname} has no address"));
    }
    if let Some(other) = addresses.iter().find(|a| !edges.contains(a)) {
        return Err(format!(
            "{hostname} leads to {other}, which is no edge of this platform"
        ));
    }
    let texts = texts.map_err(|error| format!("{}: {error}", claim.proof_name()))?;
    if texts.contains(&claim.proof()) {
        Ok(())
    } else {
        Err(format!(
            "{hostname} leads here, but does not say that it is yours"
        ))
    }
}

fn advice(claim: &Claim, edges: &[IpAddr]) -> String {
    let hostname = &claim.hostname;
    let proof = format!("TXT {} \"{}\"", claim.proof_name(), claim.proof());
    let addresses: Vec<_> = edges.iter().map(ToString::to_string).collect();
    let way = match (&claim.target, addresses.is_empty()) {
        (Some(target), true) => format!("CNAME {hostname} {target}"),
        (Some(target), false) => {
            let addresses = addresses.join(" and ");
            format!("CNAME {hostname} {target} (or point it at {addresses})")
        }
        (None, _) => format!("A {hostname} {}", addresses.join(" and ")),
    };
    format!("set {way}, and {proof}")
}

#[cfg(test)]
mod tests {
    use domain::id::{DomainId, OrganizationId};

    use super::*;

    fn claim() -> Claim {
        Claim {
            id: DomainId::new(),
            organization: OrganizationId::new(),
            hostname: "www.example.com".to_owned(),
            target: Some("web-shop.apps.test".to_owned()),
        }
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn judged(claim: &Claim, found: &[&str], texts: Vec<String>) -> Result<(), String> {
        let edges = addresses(&["203.0.113.1", "203.0.113.2", "2001:db8::1"]);
        judge(claim, (Ok(addresses(found)), Ok(texts)), &edges)
    }

    #[test]
    fn a_name_that_leads_here_and_says_whose_it_is_is_good() {
        let claim = claim();
        let texts = vec!["v=spf1 -all".to_owned(), claim.proof()];
        assert_eq!(judged(&claim, &["203.0.113.2"], texts.clone()), Ok(()));
        assert_eq!(
            judged(&claim, &["203.0.113.1", "2001:db8::1"], texts),
            Ok(())
        );
    }

    #[test]
    fn leading_here_proves_nothing_without_the_organizations_own_text() {
        let (claim, foreign) = (claim(), self::claim());
        assert!(judged(&claim, &["203.0.113.1"], vec![]).is_err());
        assert!(judged(&claim, &["203.0.113.1"], vec![foreign.proof()]).is_err());
    }

    #[test]
    fn one_address_elsewhere_is_too_many() {
        let claim = claim();
        let texts = vec![claim.proof()];
        let found = ["203.0.113.1", "198.51.100.7"];
        let reason = judged(&claim, &found, texts.clone()).unwrap_err();
        assert!(reason.contains("198.51.100.7"), "{reason}");
        assert!(judged(&claim, &[], texts).is_err());
    }

    #[test]
    fn a_wildcards_proof_is_at_the_name_above() {
        let mut claim = claim();
        claim.hostname = "*.example.com".to_owned();
        assert_eq!(claim.proof_name(), "_railhead.example.com");
    }

    #[test]
    fn the_advice_names_every_record() {
        let mut claim = claim();
        claim.organization = uuid::Uuid::nil().into();
        let edges = addresses(&["203.0.113.1", "203.0.113.2"]);
        insta::assert_snapshot!(advice(&claim, &edges), @r#"set CNAME www.example.com web-shop.apps.test (or point it at 203.0.113.1 and 203.0.113.2), and TXT _railhead.www.example.com "railhead-verification=org_00000000000000000000000000000000""#);
        insta::assert_snapshot!(advice(&claim, &[]), @r#"set CNAME www.example.com web-shop.apps.test, and TXT _railhead.www.example.com "railhead-verification=org_00000000000000000000000000000000""#);
        claim.target = None;
        insta::assert_snapshot!(advice(&claim, &edges), @r#"set A www.example.com 203.0.113.1 and 203.0.113.2, and TXT _railhead.www.example.com "railhead-verification=org_00000000000000000000000000000000""#);
    }
}
