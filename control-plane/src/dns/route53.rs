//! A zone at Amazon Route 53: users are told apart by where they are, and Amazon checks each region by itself.

mod checks;
mod convert;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use aws_config::{
    BehaviorVersion, Region, profile::ProfileFileCredentialsProvider, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_route53::{
    Client,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    types::{self, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType},
};

use crate::config::dns::{Placing, Policy, Route53 as Config};

use super::{
    goal::Shape,
    owner::{Owner, marked_name},
    plan::Change,
    provider::{Error, Provider},
    record::{Check, Place, RecordSet},
};

use checks::Checks;

/// Route 53 is one for the whole world; its API is signed for this region.
const SIGNED_FOR: &str = "us-east-1";
const ATTEMPT: Duration = Duration::from_secs(8);
const OPERATION: Duration = Duration::from_secs(20);
const ATTEMPTS: u32 = 3;
/// Pages of 300 sets that are read at most.
const PAGES: usize = 50;
/// Records of one call; Route 53 takes 1,000, and counts one that is replaced twice.
const RECORDS: usize = 1_000;
/// Of a record that answers a challenge, in seconds.
const CHALLENGE_TTL: i64 = 60;

/// What is asked for.
const LIST: &str = "list record sets";
const CHANGE: &str = "change record sets";

/// One hosted zone.
pub(super) struct Route53 {
    client: Client,
    zone_id: String,
    domain: String,
    owner: Owner,
}

/// Which users each region's edges are for.
pub(super) fn shape(config: &Config, domain: &str) -> Shape {
    let regions = config.regions.iter();
    let places = regions.map(|(region, placing)| (region.clone(), places(config.policy, placing)));
    Shape::ByPlace {
        places: places.collect(),
        has_default: config.policy == Policy::Geolocation,
        domain: domain.to_owned(),
        check_port: config.health_check_port,
    }
}

fn places(policy: Policy, placing: &Placing) -> Vec<Place> {
    match policy {
        Policy::Geolocation => {
            let continents = placing.continents.iter().cloned().map(Place::Continent);
            let countries = placing.countries.iter().cloned().map(Place::Country);
            continents.chain(countries).collect()
        }
        Policy::Latency => {
            let region = placing.aws_region.iter().cloned();
            region.map(Place::AwsRegion).collect()
        }
    }
}

impl Route53 {
    /// Nobody is asked anything yet, but for the machine's own configuration of AWS.
    pub(super) async fn connect(config: &Config, domain: &str, owner: &Owner) -> Self {
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::from_static(SIGNED_FOR))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts);
        if let Some(file) = &config.credentials_file {
            let files = EnvConfigFiles::builder()
                .with_file(EnvConfigFileKind::Credentials, file)
                .build();
            let provider = ProfileFileCredentialsProvider::builder().profile_files(files);
            loader = loader.credentials_provider(provider.profile_name("default").build());
        }
        if let Some(url) = &config.endpoint_url {
            loader = loader.endpoint_url(url.as_str().trim_end_matches('/'));
        }
        Self {
            client: Client::new(&loader.load().await),
            zone_id: config.hosted_zone_id.clone(),
            domain: domain.to_owned(),
            owner: *owner,
        }
    }

    /// Sets at and below the platform's domain: in Route 53's order, by labels from the right, they follow each other.
    async fn sets(&self) -> Result<Vec<ResourceRecordSet>, Error> {
        let mut found = Vec::new();
        let mut start = (Some(self.domain.clone()), None, None);
        for _ in 0..PAGES {
            let (name, kind, id) = start;
            let page = self.client.list_resource_record_sets();
            let page = page.hosted_zone_id(&self.zone_id);
            let page = page
                .set_start_record_name(name)
                .set_start_record_type(kind)
                .set_start_record_identifier(id)
                .send()
                .await
                .map_err(|error| failure(LIST, &error))?;
            for set in page.resource_record_sets {
                let name = convert::plain_name(&set.name);
                if crate::config::is_within(&name, &self.domain) {
                    found.push(set);
                } else if !convert::sorts_within(&name, &self.domain) {
                    return Ok(found);
                }
            }
            if !page.is_truncated {
                return Ok(found);
            }
            start = (
                page.next_record_name,
                page.next_record_type,
                page.next_record_identifier,
            );
        }
        Err(Error::Limit(format!(
            "the hosted zone {} has more than {} record sets below {}: give it a zone of its own",
            self.zone_id,
            300 * PAGES,
            self.domain
        )))
    }

    async fn send(&self, changes: Vec<types::Change>) -> Result<(), Error> {
        let batch = ChangeBatch::builder()
            .comment("Railhead")
            .set_changes(Some(changes))
            .build()
            .map_err(unfit)?;
        let call = self.client.change_resource_record_sets();
        call.hosted_zone_id(&self.zone_id)
            .change_batch(batch)
            .send()
            .await
            .map_err(|error| failure(CHANGE, &error))?;
        Ok(())
    }

    /// The TXT records of a name, as Route 53 has them.
    async fn texts(&self, name: &str) -> Result<Option<ResourceRecordSet>, Error> {
        let call = self.client.list_resource_record_sets();
        let page = call
            .hosted_zone_id(&self.zone_id)
            .start_record_name(name)
            .start_record_type(RrType::Txt)
            .max_items(1)
            .send()
            .await
            .map_err(|error| failure(LIST, &error))?;
        let is_it = |set: &ResourceRecordSet| {
            set.r#type == RrType::Txt && convert::plain_name(&set.name) == name
        };
        Ok(page.resource_record_sets.into_iter().find(is_it))
    }
}

#[async_trait]
impl Provider for Route53 {
    async fn list(&self) -> Result<Vec<RecordSet>, Error> {
        let sets = self.sets().await?;
        let checks = if sets.iter().any(|set| set.health_check_id.is_some()) {
            Checks::read(&self.client, &self.owner).await?
        } else {
            Checks::default()
        };
        let read = sets
            .iter()
            .filter_map(|set| convert::record_set(set, &checks));
        Ok(read.collect())
    }

    async fn change(&self, changes: &[Change]) -> Result<(), Error> {
        let mut checks = Checks::default();
        if changes.iter().any(has_check) {
            checks = Checks::read(&self.client, &self.owner).await?;
            for check in changes.iter().filter_map(needed) {
                checks.ensure(&self.client, &self.owner, check).await?;
            }
        }
        for batch in batches(changes)? {
            let steps = batch.iter().map(|change| convert::change(change, &checks));
            self.send(steps.collect::<Result<_, _>>()?).await?;
        }
        if changes.iter().any(has_check) {
            let used = self.sets().await?.into_iter();
            let used = used.filter_map(|set| set.health_check_id).collect();
            checks.remove_unused(&self.client, &used).await?;
        }
        Ok(())
    }

    async fn put_text(&self, name: &str, value: &str) -> Result<(), Error> {
        let value = convert::quoted(value)?;
        let found = self.texts(name).await?;
        let ttl = found.as_ref().and_then(|set| set.ttl);
        let mut values: Vec<ResourceRecord> =
            found.map_or_else(Vec::new, |set| set.resource_records.unwrap_or_default());
        if values.iter().any(|record| record.value == value) {
            return Ok(());
        }
        values.push(convert::record(value)?);
        let set = convert::texts(name, ttl.unwrap_or(CHALLENGE_TTL), values)?;
        self.send(vec![convert::step(ChangeAction::Upsert, set)?])
            .await
    }

    async fn remove_text(&self, name: &str, value: &str) -> Result<(), Error> {
        let value = convert::quoted(value)?;
        let Some(found) = self.texts(name).await? else {
            return Ok(());
        };
        let before = found.resource_records().len();
        let mut values = found.resource_records().to_vec();
        values.retain(|record| record.value != value);
        let step = match values.len() {
            left if left == before => return Ok(()),
            0 => convert::step(ChangeAction::Delete, found)?,
            _ => {
                let ttl = found.ttl.unwrap_or(CHALLENGE_TTL);
                convert::step(ChangeAction::Upsert, convert::texts(name, ttl, values)?)?
            }
        };
        self.send(vec![step]).await
    }
}

/// Whether a health check comes or goes by it.
fn has_check(change: &Change) -> bool {
    match change {
        Change::Create(set) | Change::Delete(set) => set.check().is_some(),
        Change::Replace { old, new } => old.check().is_some() || new.check().is_some(),
    }
}

/// The health check that has to be there before.
fn needed(change: &Change) -> Option<&Check> {
    match change {
        Change::Create(new) | Change::Replace { new, .. } => new.check(),
        Change::Delete(_) => None,
    }
}

/// As few calls as Route 53 takes; what is about one name is never parted.
fn batches(changes: &[Change]) -> Result<Vec<Vec<&Change>>, Error> {
    let mut by_name: BTreeMap<String, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        by_name.entry(subject(change)).or_default().push(change);
    }
    let mut batches: Vec<(usize, Vec<&Change>)> = Vec::new();
    for (name, changes) in by_name {
        let weight: usize = changes.iter().map(|change| weight(change)).sum();
        if weight > RECORDS {
            return Err(Error::Limit(format!(
                "{name} needs more than {RECORDS} records: Route 53 does not take them at once"
            )));
        }
        match batches.last_mut() {
            Some((sum, batch)) if *sum + weight <= RECORDS => {
                *sum += weight;
                batch.extend(changes);
            }
            _ => batches.push((weight, changes)),
        }
    }
    Ok(batches.into_iter().map(|(_, batch)| batch).collect())
}

/// A mark goes with its name.
fn subject(change: &Change) -> String {
    let name = change.name();
    marked_name(name).unwrap_or_else(|| name.to_owned())
}

fn weight(change: &Change) -> usize {
    match change {
        Change::Create(set) | Change::Delete(set) => set.values.len(),
        Change::Replace { new, .. } => 2 * new.values.len(),
    }
}

fn provider() -> String {
    "Route 53".to_owned()
}

fn unfit(error: BuildError) -> Error {
    Error::Limit(format!("a call to Route 53 is incomplete: {error}"))
}

/// By the code that Route 53 answered with; none when it did not answer.
fn failure<E>(action: &'static str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let provider = provider();
    match error.code() {
        Some(
            "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "PriorRequestNotComplete",
        ) => Error::Throttled { provider, action },
        Some("InvalidChangeBatch") => Error::Changed {
            provider,
            reason: causes(error),
        },
        Some("ServiceUnavailable" | "InternalFailure") | None => Error::Unavailable {
            provider,
            action,
            reason: causes(error),
        },
        Some(_) => Error::Refused {
            provider,
            action,
            reason: causes(error),
        },
    }
}

/// The whole chain: the first of it only says which kind of error it is.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}

#[cfg(test)]
mod tests;
