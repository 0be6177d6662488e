//! What the edge does with a service's requests before an instance gets them: rules, in order. The first one that ends
//! a request is the last one that is looked at. Conditions are CEL; the crate `rules` reads them.

mod action;
mod password;
mod rate;

use serde::{Deserialize, Serialize};

use crate::name::Name;

pub use action::{
    AllowAction, BasicAuthAction, BlockAction, EdgeAction, HeaderChanges, HeadersAction,
    MaintenanceAction, RateLimitAction, RedirectAction, RewriteAction,
};
pub use password::{InvalidPasswordHash, PasswordHash};
pub use rate::{InvalidRateLimitKey, RateLimitKey};

/// Rules of one service.
pub const RULES_MAX: usize = 64;

/// Bytes of a condition.
pub const CONDITION_MAX: usize = 1024;

/// What the edge does with a service's requests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct EdgeSpec {
    /// In order. At most 64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<EdgeRule>,
}

impl EdgeSpec {
    /// Whether nothing is asked of the edge.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// A condition, and what is done with the requests that meet it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EdgeRule {
    /// For logs and metrics; its place, such as `#3`, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// A CEL expression about `request` that is true or false, such as `request.path.startsWith("/login")`.
    #[serde(rename = "if")]
    pub condition: String,
    /// What is done.
    #[serde(rename = "then")]
    pub action: EdgeAction,
}

impl EdgeRule {
    /// What it is called among its service's rules, of which it is the one at this index.
    #[must_use]
    pub fn label(&self, index: usize) -> String {
        match &self.name {
            Some(name) => name.to_string(),
            None => format!("#{}", index.saturating_add(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ServiceSpec;

    /// As in the sample of `railhead.toml`.
    const SAMPLE: &str = r#"{"edge":{"rules":[{
        "if": "request.path.startsWith(\"/login\") && request.method == \"POST\"",
        "then": { "action": "rate_limit", "key": "ip", "limit": 20, "window": "1m" }
    }]}}"#;

    #[test]
    fn the_samples_rule_is_read_and_written_again() {
        let spec: ServiceSpec = serde_json::from_str(SAMPLE).unwrap();
        assert_eq!(spec.check(), []);
        let EdgeAction::RateLimit(limit) = &spec.edge.rules[0].action else {
            panic!("{spec:?}");
        };
        assert_eq!((limit.key.clone(), limit.limit), (RateLimitKey::Ip, 20));
        let written = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<ServiceSpec>(&written).unwrap(), spec);
        assert_eq!(spec.edge.rules[0].label(2), "#3");
    }

    #[test]
    fn a_service_without_rules_is_written_as_before_there_were_any() {
        let spec: ServiceSpec = serde_json::from_str("{}").unwrap();
        let written = serde_json::to_value(&spec).unwrap();
        assert!(written.get("edge").is_none(), "{written}");
    }

    #[test]
    fn what_an_action_does_not_know_is_refused() {
        for action in [
            r#"{"action":"bloc"}"#,
            r#"{"action":"block","stauts":404}"#,
            r#"{"action":"allow","status":200}"#,
            r#"{"action":"rate_limit","key":"cookie","limit":1,"window":"1s"}"#,
            r#"{"action":"basic_auth","users":{"a":"secret"}}"#,
            r#"{"status":403}"#,
        ] {
            let rule = format!(r#"{{"if":"true","then":{action}}}"#);
            assert!(serde_json::from_str::<EdgeRule>(&rule).is_err(), "{rule}");
        }
    }
}
