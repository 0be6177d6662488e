//! What an authority would refuse is found before it is asked: refusals count against the platform there.

use std::net::IpAddr;

use super::super::{Context, Error, domains};
use crate::{
    acme::order::{Code, Order, Problem},
    config,
    dns::{self, Resolver},
    store::{domain_check, tx::SystemTx},
};

/// Why the authority would refuse the hostname today, if it would.
pub(super) async fn check(
    context: &Context,
    order: &Order,
    authority: &config::Authority,
) -> Result<Option<Problem>, Error> {
    if order.hostname.starts_with("*.") {
        return Ok(Some(Problem::new(
            Code::Wildcard,
            format!(
                "a certificate for {} takes a proof by DNS, which this platform can't give; upload one: railhead cert import",
                order.hostname
            ),
        )));
    }
    let dns = &context.state.dns;
    if order.is_renewal {
        // It serves, whatever its records look like today: a content network before it, for example.
        return Ok(caa(dns, &order.hostname, authority).await);
    }
    let mut tx = SystemTx::begin(&context.state.pools).await?;
    let claim = domain_check::find(&mut tx, order.domain).await?;
    let edges: Vec<IpAddr> = domain_check::edge_addresses(&mut tx).await?;
    drop(tx);
    let Some(claim) = claim else { return Ok(None) };
    if let Err(reason) = domains::check(dns, &claim, &edges).await {
        return Ok(Some(Problem::new(Code::Dns, reason)));
    }
    Ok(caa(dns, &order.hostname, authority).await)
}

async fn caa(dns: &Resolver, hostname: &str, authority: &config::Authority) -> Option<Problem> {
    let ours = &authority.caa_identities;
    let first = ours.first()?;
    let found = dns.issuers(hostname).await;
    judge(found, ours).err().map(|reason| {
        Problem::new(
            Code::Caa,
            format!("{hostname}: {reason}; set CAA {hostname} 0 issue \"{first}\""),
        )
    })
}

/// An authority must not issue when CAA records name others alone (RFC 8659 §4). What can't be looked up from here may be
/// from there.
fn judge(found: Result<Option<Vec<String>>, dns::Error>, ours: &[String]) -> Result<(), String> {
    match found {
        Ok(None) | Err(_) => Ok(()),
        Ok(Some(allowed)) if allowed.iter().any(|one| is_ours(one, ours)) => Ok(()),
        Ok(Some(allowed)) if allowed.iter().all(String::is_empty) => {
            Err("its CAA records allow no authority at all".to_owned())
        }
        Ok(Some(allowed)) => Err(format!("its CAA records allow only {}", allowed.join(", "))),
    }
}

fn is_ours(allowed: &str, ours: &[String]) -> bool {
    ours.iter().any(|one| one.eq_ignore_ascii_case(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_is_not_named_where_others_are_may_not_issue() {
        let ours = ["LetsEncrypt.org".to_owned()];
        let judged = |names: Option<&[&str]>| {
            let names = names.map(|names| names.iter().map(|n| (*n).to_owned()).collect());
            judge(Ok(names), &ours)
        };
        assert_eq!(judged(None), Ok(()));
        assert_eq!(judged(Some(&["other.test", "letsencrypt.org"])), Ok(()));
        assert!(
            judged(Some(&["other.test"]))
                .unwrap_err()
                .contains("only other.test")
        );
        assert!(judged(Some(&[""])).unwrap_err().contains("no authority"));
        assert_eq!(judge(Err(dns::Error::Silent), &ours), Ok(()));
    }
}
