//! Health checks at Route 53: one for each region, by the region's own name. Ours are known by the reference that
//! they were made with; others are never touched.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_route53::{
    Client,
    types::{HealthCheck, HealthCheckConfig, HealthCheckType},
};

use crate::dns::{owner::Owner, provider::Error, record::Check};

use super::{failure, unfit};

/// Pages of 100 checks that are read at most.
const PAGES: usize = 20;
const INTERVAL_SECONDS: i32 = 10;
/// Checks in a row that have to fail, or to succeed again.
const FAILURES: i32 = 3;

/// The health checks that we have made.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// By what they check; of several the one with the lowest id.
    ids: BTreeMap<Check, String>,
    all: BTreeSet<String>,
}

impl Checks {
    pub(super) async fn read(client: &Client, owner: &Owner) -> Result<Self, Error> {
        let mut checks = Self::default();
        let mut marker = None;
        for _ in 0..PAGES {
            let page = client.list_health_checks().set_marker(marker).send().await;
            let page = page.map_err(|error| failure("list health checks", &error))?;
            for found in &page.health_checks {
                if found.caller_reference.starts_with(&prefix(owner)) {
                    checks.add(found);
                }
            }
            if !page.is_truncated {
                return Ok(checks);
            }
            marker = page.next_marker;
        }
        Err(Error::Limit(format!(
            "the AWS account has more than {} health checks",
            100 * PAGES
        )))
    }

    fn add(&mut self, found: &HealthCheck) {
        self.all.insert(found.id.clone());
        let Some(check) = found.health_check_config.as_ref().and_then(described) else {
            return;
        };
        let id = self.ids.entry(check).or_insert_with(|| found.id.clone());
        if found.id < *id {
            id.clone_from(&found.id);
        }
    }

    /// What a set's health check checks.
    pub(super) fn described(&self, id: &str) -> Check {
        let known = self.ids.iter().find(|(_, known)| *known == id);
        match known {
            Some((check, _)) => check.clone(),
            None => Check::Unknown(id.to_owned()),
        }
    }

    /// The id of a health check that is there.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn id(&self, check: &Check) -> Result<String, Error> {
        match check {
            Check::Unknown(id) => Ok(id.clone()),
            Check::Tcp { host, port } => {
                self.ids.get(check).cloned().ok_or_else(|| {
                    Error::Limit(format!("there is no health check of {host}:{port}"))
                })
            }
        }
    }

    /// Makes it unless it is there.
    pub(super) async fn ensure(
        &mut self,
        client: &Client,
        owner: &Owner,
        check: &Check,
    ) -> Result<(), Error> {
        let Check::Tcp { host, port } = check else {
            return Ok(());
        };
        if self.ids.contains_key(check) {
            return Ok(());
        }
        let config = HealthCheckConfig::builder()
            .r#type(HealthCheckType::Tcp)
            .fully_qualified_domain_name(host)
            .port(i32::from(*port))
            .request_interval(INTERVAL_SECONDS)
            .failure_threshold(FAILURES)
            .build()
            .map_err(unfit)?;
        // Route 53 takes no reference twice, also after the check was removed.
        let reference = format!("{}{:016x}", prefix(owner), rand::random::<u64>());
        let made = client.create_health_check();
        let made = made
            .caller_reference(reference)
            .health_check_config(config)
            .send()
            .await
            .map_err(|error| failure("create a health check", &error))?;
        let made = made.health_check.ok_or_else(|| {
            Error::Limit("Route 53 has made a health check and does not say which".to_owned())
        })?;
        self.all.insert(made.id.clone());
        self.ids.insert(check.clone(), made.id);
        Ok(())
    }

    /// Removes those of ours that no set has.
    pub(super) async fn remove_unused(
        &self,
        client: &Client,
        used: &BTreeSet<String>,
    ) -> Result<(), Error> {
        for id in self.all.difference(used) {
            let removed = client
                .delete_health_check()
                .health_check_id(id)
                .send()
                .await;
            removed.map_err(|error| failure("remove a health check", &error))?;
        }
        Ok(())
    }
}

/// At most 64 characters together with 16 digits.
fn prefix(owner: &Owner) -> String {
    format!("railhead/{}/", owner.installation().simple())
}

fn described(config: &HealthCheckConfig) -> Option<Check> {
    let is_as_made = config.r#type == HealthCheckType::Tcp
        && config.ip_address().is_none_or(str::is_empty)
        && config.request_interval == Some(INTERVAL_SECONDS)
        && config.failure_threshold == Some(FAILURES)
        && config.inverted != Some(true)
        && config.disabled != Some(true);
    let host = config.fully_qualified_domain_name.clone()?;
    let port = u16::try_from(config.port?).ok()?;
    is_as_made.then_some(Check::Tcp { host, port })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn check(id: &str, port: i32) -> HealthCheck {
        let config = HealthCheckConfig::builder()
            .r#type(HealthCheckType::Tcp)
            .fully_qualified_domain_name("eu-west.edge.apps.example.com")
            .port(port)
            .request_interval(INTERVAL_SECONDS)
            .failure_threshold(FAILURES);
        HealthCheck::builder()
            .id(id)
            .caller_reference("railhead/1/2")
            .health_check_config(config.build().unwrap())
            .health_check_version(1)
            .build()
            .unwrap()
    }

    fn tcp(port: u16) -> Check {
        Check::Tcp {
            host: "eu-west.edge.apps.example.com".to_owned(),
            port,
        }
    }

    #[test]
    fn of_two_alike_one_counts_and_a_set_with_the_other_is_to_be_mended() {
        let mut checks = Checks::default();
        checks.add(&check("b", 443));
        checks.add(&check("a", 443));
        checks.add(&check("c", 444));
        assert_eq!(checks.id(&tcp(443)).unwrap(), "a");
        assert_eq!(checks.described("a"), tcp(443));
        assert_eq!(checks.described("b"), Check::Unknown("b".to_owned()));
        assert_eq!(checks.all.len(), 3);
        assert!(checks.id(&tcp(445)).is_err());
    }

    #[test]
    fn one_that_was_changed_by_hand_is_not_taken_for_ours() {
        let mut changed = check("a", 443);
        if let Some(config) = &mut changed.health_check_config {
            config.inverted = Some(true);
        }
        let mut checks = Checks::default();
        checks.add(&changed);
        assert_eq!(checks.described("a"), Check::Unknown("a".to_owned()));
        assert!(checks.id(&tcp(443)).is_err());
    }

    #[test]
    fn a_reference_is_as_long_as_route_53_takes() {
        let prefix = prefix(&Owner::new(Uuid::max()));
        assert!(prefix.len() + 16 <= 64, "{prefix}");
    }
}
