//! Tenants' own hostnames: one is routed once its DNS leads to an edge of ours, which nobody but the
//! owner of the name can bring about.

use std::{net::IpAddr, time::Duration};

use super::{Context, Error};
use crate::{
    store::{
        domain_check::{self, Waiting},
        tx::SystemTx,
    },
    waker::Topic,
};

/// Hostnames of one turn.
const BATCH: i64 = 20;
/// A name server that hasn't answered by then is asked again at the next turn.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn run(context: Context) -> Result<(), Error> {
    let pools = &context.state.pools;
    let mut tx = SystemTx::begin(pools).await?;
    let waiting = domain_check::waiting(&mut tx, BATCH).await?;
    let edges = domain_check::edge_addresses(&mut tx).await?;
    drop(tx);
    for domain in waiting {
        let resolved = resolve(&domain).await;
        let mut tx = SystemTx::begin(pools).await?;
        match verdict(&domain.hostname, resolved, &edges) {
            Ok(()) => domain_check::verified(&mut tx, &domain).await?,
            Err(reason) => domain_check::refused(&mut tx, &domain, &reason).await?,
        }
        tx.commit().await?;
        context.state.waker.wake(Topic::Routes);
    }
    Ok(())
}

/// Where the name leads. Of a wildcard, a name below it that nobody else asks for.
async fn resolve(domain: &Waiting) -> Result<Vec<IpAddr>, String> {
    let name = match domain.hostname.strip_prefix("*.") {
        Some(parent) => format!("check-{}.{parent}", domain.id.uuid().simple()),
        None => domain.hostname.clone(),
    };
    let lookup = tokio::net::lookup_host((name, 443));
    match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => Ok(addresses.map(|address| address.ip()).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the name server does not answer".to_owned()),
    }
}

/// Whether every address that the name leads to is one of our edges; else what to do.
fn verdict(
    hostname: &str,
    resolved: Result<Vec<IpAddr>, String>,
    edges: &[IpAddr],
) -> Result<(), String> {
    let wanted = || {
        let list: Vec<_> = edges.iter().map(ToString::to_string).collect();
        format!("point it at {}", list.join(" and "))
    };
    if edges.is_empty() {
        return Err("the platform has no edge yet".to_owned());
    }
    match resolved {
        Err(error) => Err(format!(
            "{hostname} does not resolve ({error}); {}",
            wanted()
        )),
        Ok(found) if found.is_empty() => Err(format!("{hostname} has no address; {}", wanted())),
        Ok(found) => match found.iter().find(|address| !edges.contains(address)) {
            None => Ok(()),
            Some(other) => Err(format!(
                "{hostname} leads to {other}, which is no edge of this platform; {}",
                wanted()
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_is_good_when_all_its_addresses_are_edges_of_ours() {
        let edges = addresses(&["203.0.113.1", "203.0.113.2"]);
        let ask = |found: &[&str]| verdict("www.example.com", Ok(addresses(found)), &edges);
        assert_eq!(ask(&["203.0.113.2"]), Ok(()));
        assert_eq!(ask(&["203.0.113.1", "203.0.113.2"]), Ok(()));
        assert!(ask(&[]).is_err());
        let reason = ask(&["203.0.113.1", "198.51.100.7"]).unwrap_err();
        assert!(
            reason.contains("198.51.100.7") && reason.contains("203.0.113.2"),
            "{reason}"
        );
        assert!(verdict("a.example.com", Err("x".into()), &edges).is_err());
        assert!(verdict("a.example.com", Ok(addresses(&["203.0.113.1"])), &[]).is_err());
    }
}
