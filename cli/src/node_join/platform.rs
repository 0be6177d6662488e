//! The platform that a machine joins, as its control plane tells whoever holds a token.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use domain::name::Name;
use protocol::{
    join::{JoinTokenStatus, JoinedNode, Role},
    join_token::{JoinToken, MachineToken},
};
use url::Url;

use super::{
    error::{Error, Result},
    host::Identity,
    options::Options,
};

/// Further off, leases and certificates of nodes go wrong.
const CLOCK_OFF_AT_MOST: i64 = 30;
const READY_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What of a machine token is wanted here.
pub struct Wanted {
    /// Base URL of the node API.
    control_plane: Url,
    tokens: BTreeMap<Role, JoinToken>,
}

impl Wanted {
    /// Of the token's roles, those that the options do not leave out.
    pub fn of(token: &str, options: &Options) -> Result<Self> {
        let token: MachineToken = token.trim().parse()?;
        let address = || Error::Address(token.control_plane.clone());
        let control_plane: Url = token.control_plane.parse().map_err(|_| address())?;
        if control_plane.scheme() != "https" || control_plane.host_str().is_none() {
            return Err(address());
        }
        let mut tokens = token.tokens();
        tokens.retain(|role, _| match role {
            Role::Agent => !options.no_agent,
            Role::Edge => !options.no_edge,
        });
        Ok(Self {
            control_plane,
            tokens,
        })
    }

    /// Our programs that it needs.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> {
        self.tokens.keys().map(|role| match role {
            Role::Agent => "agent",
            Role::Edge => "edge-proxy",
        })
    }

    /// Whether it runs workloads.
    pub fn has_agent(&self) -> bool {
        self.tokens.contains_key(&Role::Agent)
    }
}

/// A platform, and this machine's way into it.
#[derive(Debug)]
pub struct Platform {
    /// Base URL of the node API.
    pub control_plane: Url,
    /// Where the machine will stand.
    pub region: Name,
    /// The registry, `host:port`.
    pub registry: String,
    /// The CA, PEM.
    pub ca: String,
    /// Of the roles that are wanted here.
    pub tokens: BTreeMap<Role, JoinToken>,
    /// The nodes that the tokens were used for.
    pub nodes: BTreeMap<Role, JoinedNode>,
}

impl Platform {
    /// Asks the control plane about every token. Uses nothing up.
    pub async fn look_up(wanted: Wanted) -> Result<Self> {
        let mut platform = None;
        for (role, token) in &wanted.tokens {
            let status = ask(&wanted.control_plane, token).await?;
            check_clock(Utc::now(), status.now)?;
            let found = platform.get_or_insert_with(|| Self::of(&wanted.control_plane, &status));
            found.nodes.extend(status.node.map(|node| (*role, node)));
        }
        let mut platform = platform.ok_or(Error::NoRole)?;
        platform.tokens = wanted.tokens;
        Ok(platform)
    }

    fn of(control_plane: &Url, status: &JoinTokenStatus) -> Self {
        Self {
            control_plane: control_plane.clone(),
            region: status.region.clone(),
            registry: status.registry.clone(),
            ca: status.ca.clone(),
            tokens: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }

    /// Whether this machine may use the tokens: what is used was used here, and what it is already is of
    /// this platform and region.
    pub fn check(&self, identities: &BTreeMap<Role, Identity>) -> Result {
        for (role, node) in &self.nodes {
            let here = identities.get(role).is_some_and(|own| own.node == node.id);
            if !here {
                return Err(Error::Used {
                    role: role.as_str(),
                    node: node.id,
                });
            }
        }
        for identity in identities.values() {
            if identity.ca.trim() != self.ca.trim() {
                let what = format!("node {} of another platform", identity.node);
                return Err(Error::Elsewhere { what });
            }
            if identity.region != self.region {
                let what = format!("node {} of region {}", identity.node, identity.region);
                return Err(Error::Elsewhere { what });
            }
        }
        Ok(())
    }

    /// Waits until the control plane shows a node of each role in `joining` as ready.
    pub async fn wait_ready(&mut self, joining: &[Role]) -> Result {
        let deadline = tokio::time::Instant::now() + READY_WITHIN;
        loop {
            for role in joining {
                if let Some(token) = self.tokens.get(role)
                    && let Ok(status) = ask(&self.control_plane, token).await
                {
                    self.nodes.extend(status.node.map(|node| (*role, node)));
                }
            }
            let missing = self.missing(joining);
            if missing.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::NotReady {
                    missing: missing.join(" and "),
                });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn missing(&self, joining: &[Role]) -> Vec<&'static str> {
        let not_ready = joining
            .iter()
            .filter(|role| !self.nodes.get(role).is_some_and(|node| node.ready));
        not_ready.map(|role| role.as_str()).collect()
    }
}

async fn ask(control_plane: &Url, token: &JoinToken) -> Result<JoinTokenStatus> {
    link::identity::look_up(control_plane, token)
        .await
        .map_err(Error::ControlPlane)
}

fn check_clock(here: DateTime<Utc>, there: DateTime<Utc>) -> Result {
    let seconds = (here - there).num_seconds();
    if seconds.abs() > CLOCK_OFF_AT_MOST {
        return Err(Error::Clock { seconds });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(node: &str, region: &str) -> Identity {
        Identity {
            node: node.parse().unwrap(),
            region: region.parse().unwrap(),
            ca: "CA".into(),
        }
    }

    #[test]
    fn a_clock_that_is_off_is_refused_either_way() {
        let now = Utc::now();
        assert!(check_clock(now, now + chrono::TimeDelta::seconds(20)).is_ok());
        for minutes in [10, -10] {
            let error = check_clock(now, now + chrono::TimeDelta::minutes(minutes)).unwrap_err();
            assert_eq!(error.code(), "clock_off", "{error}");
        }
    }

    #[test]
    fn a_token_that_was_used_elsewhere_and_a_node_of_elsewhere_are_refused() {
        let (here, there) = (
            "nod_0192f3c8000070008000a1b2c3d4e5f6",
            "nod_0192f3c8000070008000a1b2c3d4e5f7",
        );
        let used = JoinedNode {
            id: here.parse().unwrap(),
            name: "n1".parse().unwrap(),
            ready: true,
        };
        let platform = Platform {
            control_plane: "https://10.0.0.1:8444".parse().unwrap(),
            region: "eu-west".parse().unwrap(),
            registry: String::new(),
            ca: "CA\n".into(),
            tokens: BTreeMap::new(),
            nodes: [(Role::Agent, used)].into(),
        };
        let check = |identity: Identity| platform.check(&[(Role::Agent, identity)].into());
        assert!(check(identity(here, "eu-west")).is_ok());
        assert_eq!(
            platform.check(&BTreeMap::new()).unwrap_err().code(),
            "join_token_used"
        );
        assert_eq!(
            check(identity(there, "eu-west")).unwrap_err().code(),
            "join_token_used"
        );
        assert_eq!(
            check(identity(here, "us-east")).unwrap_err().code(),
            "node_elsewhere"
        );
        let foreign = Identity {
            ca: "other".into(),
            ..identity(here, "eu-west")
        };
        assert_eq!(check(foreign).unwrap_err().code(), "node_elsewhere");
    }
}
