//! The part `[dns.provider.route53]`: which users each region's edges are for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::PathBuf,
};

use aws_sdk_route53::types::ResourceRecordSetRegion;
use domain::name::Name;
use serde::Deserialize;
use url::Url;

/// As Route 53 divides the world.
const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];

/// Amazon Route 53.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route53 {
    /// Of the zone, such as `Z1R8UBAEXAMPLE`.
    pub hosted_zone_id: String,
    /// Shared credentials file of AWS, of which the profile `default` is used. Without one the usual chain is gone
    /// through: environment, web identity, the machine's role.
    pub credentials_file: Option<PathBuf>,
    /// Where the API is; Amazon's own place unless something else stands in for it.
    pub endpoint_url: Option<Url>,
    /// How users are told apart.
    #[serde(default)]
    pub policy: Policy,
    /// The port of edges that Route 53 checks.
    #[serde(default = "default_health_check_port")]
    pub health_check_port: u16,
    /// Which users each region's edges are for. The edges of a region that is not named are for everybody else.
    #[serde(default)]
    pub regions: BTreeMap<Name, Placing>,
}

const fn default_health_check_port() -> u16 {
    443
}

/// How users are told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// By continent and country.
    #[default]
    Geolocation,
    /// By the latency that Amazon has measured to its own regions.
    Latency,
}

/// Which users a region's edges are for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Placing {
    /// Codes of continents: AF, AN, AS, EU, NA, OC, SA.
    pub continents: Vec<String>,
    /// Codes of countries, ISO 3166-1 alpha-2; they go before their continent.
    pub countries: Vec<String>,
    /// The AWS region that it is nearest to, such as `eu-west-1`.
    pub aws_region: Option<String>,
}

impl Route53 {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.hosted_zone_id.is_empty() {
            return Err("dns.provider.route53.hosted_zone_id must not be empty".to_owned());
        }
        match self.policy {
            Policy::Geolocation => self.check_places(),
            Policy::Latency => self.check_aws_regions(),
        }
    }

    fn check_places(&self) -> Result<(), String> {
        let mut taken = BTreeSet::new();
        for (region, placing) in &self.regions {
            let Placing {
                continents,
                countries,
                ..
            } = placing;
            if continents.is_empty() && countries.is_empty() {
                return Err(wrong(region, "names no continent and no country"));
            }
            if let Some(code) = continents
                .iter()
                .find(|c| !CONTINENTS.contains(&c.as_str()))
            {
                let known = CONTINENTS.join(", ");
                return Err(wrong(
                    region,
                    format!("\"{code}\" is no continent; one of {known}"),
                ));
            }
            if let Some(code) = countries.iter().find(|code| !is_country(code)) {
                return Err(wrong(
                    region,
                    format!("\"{code}\" is no country's code, such as DE"),
                ));
            }
            let codes = continents.iter().map(|code| ("continent", code));
            for place in codes.chain(countries.iter().map(|code| ("country", code))) {
                if !taken.insert(place) {
                    let (kind, code) = place;
                    return Err(wrong(region, format!("{kind} {code} is there twice")));
                }
            }
        }
        Ok(())
    }

    fn check_aws_regions(&self) -> Result<(), String> {
        let mut taken = BTreeSet::new();
        for (region, placing) in &self.regions {
            let Some(aws_region) = &placing.aws_region else {
                return Err(wrong(region, "needs an aws_region for the policy latency"));
            };
            if !ResourceRecordSetRegion::values().contains(&aws_region.as_str()) {
                return Err(wrong(region, format!("\"{aws_region}\" is no AWS region")));
            }
            if !taken.insert(aws_region) {
                return Err(wrong(region, format!("{aws_region} is there twice")));
            }
        }
        Ok(())
    }
}

fn is_country(code: &str) -> bool {
    code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn wrong(region: &Name, what: impl Display) -> String {
    format!("dns.provider.route53.regions.{region}: {what}")
}
