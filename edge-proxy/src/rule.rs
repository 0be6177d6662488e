//! A service's rules as this edge goes by them: compiled once, with the counts of their limits, which outlive a change of
//! other rules.

use std::{num::NonZeroU32, sync::Arc};

use domain::spec::{EdgeAction, EdgeRule, RateLimitAction};
use protocol::item::RulesItem;
use rules::{Admission, Decision, Fault, LimitKey, Limiter, Request, Rules};

use crate::limit::{Limits, RateLimit, Table};

/// The rules of a service.
#[derive(Debug)]
pub struct ServiceRules {
    rules: Rules,
    /// Of each rule that limits, by its index.
    limits: Vec<Option<Arc<RateLimit>>>,
}

impl ServiceRules {
    /// Compiles an item; limits that were there `before` go on counting.
    ///
    /// # Errors
    /// What can't be read.
    pub fn compile(
        item: &RulesItem,
        before: Option<&Self>,
        table: &Table,
    ) -> Result<Self, Vec<Fault>> {
        let limit = |rule: &EdgeRule| {
            let EdgeAction::RateLimit(action) = &rule.action else {
                return None;
            };
            let identity = RateLimit::identity(item.service_id, rule, action);
            let known = before.and_then(|before| before.limit(&identity));
            let new = || Arc::new(RateLimit::new(item.service_id, rule, action, table));
            Some(known.unwrap_or_else(new))
        };
        Ok(Self {
            rules: rules::compile(&item.rules)?,
            limits: item.rules.iter().map(limit).collect(),
        })
    }

    fn limit(&self, identity: &[u8; 32]) -> Option<Arc<RateLimit>> {
        let mut limits = self.limits.iter().flatten();
        limits.find(|limit| limit.is(identity)).cloned()
    }

    /// The rules themselves.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What becomes of a request, at one of so many edges.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>, limits: &Limits, edges: NonZeroU32) -> Decision {
        let counting = Counting {
            rules: self,
            limits,
            edges,
        };
        self.rules.decide(request, &counting)
    }
}

/// Counts for the rules of a service.
struct Counting<'a> {
    rules: &'a ServiceRules,
    limits: &'a Limits,
    edges: NonZeroU32,
}

impl Limiter for Counting<'_> {
    fn admit(&self, index: usize, limit: &RateLimitAction, key: &LimitKey<'_>) -> Admission {
        match self.rules.limits.get(index) {
            Some(Some(counted)) => self.limits.admit(counted, key, self.edges),
            // Never: each rule that limits has its counts.
            _ => rules::Unlimited.admit(index, limit, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::id::ServiceId;
    use http::HeaderMap;
    use rules::Verdict;

    use super::*;

    fn item(service_id: ServiceId, rules: &serde_json::Value) -> RulesItem {
        RulesItem {
            service_id,
            rules: serde_json::from_value(rules.clone()).unwrap(),
        }
    }

    fn verdict(rules: &ServiceRules, limits: &Limits) -> Verdict {
        let headers = HeaderMap::new();
        let request = Request::new("GET", "/", "a.test", &headers, [192, 0, 2, 7].into());
        rules.decide(&request, limits, NonZeroU32::MIN).verdict
    }

    #[test]
    fn a_limit_goes_on_counting_when_other_rules_change_and_begins_anew_when_it_changes() {
        let (service, limits) = (ServiceId::new(), Limits::default());
        let limit = |number: u32| {
            serde_json::json!({
                "if": "true",
                "then": { "action": "rate_limit", "key": "ip", "limit": number, "window": "1d" },
            })
        };
        let compile = |rules: serde_json::Value, before: Option<&ServiceRules>| {
            ServiceRules::compile(&item(service, &rules), before, limits.table()).unwrap()
        };
        let first = compile(serde_json::json!([limit(1)]), None);
        assert_eq!(verdict(&first, &limits), Verdict::Pass);
        assert!(matches!(verdict(&first, &limits), Verdict::RateLimited(_)));

        let other = serde_json::json!({ "if": "request.tls", "then": { "action": "allow" } });
        let second = compile(serde_json::json!([other, limit(1)]), Some(&first));
        assert!(matches!(verdict(&second, &limits), Verdict::RateLimited(_)));

        let third = compile(serde_json::json!([limit(2)]), Some(&second));
        assert_eq!(verdict(&third, &limits), Verdict::Pass);
    }

    #[test]
    fn what_this_version_can_not_read_is_refused_whole() {
        let rules = serde_json::json!([
            { "if": "true", "then": { "action": "allow" } },
            { "if": "request.of_the_future", "then": { "action": "block" } },
        ]);
        let table = Limits::default();
        let refused = ServiceRules::compile(&item(ServiceId::new(), &rules), None, table.table());
        assert_eq!(refused.unwrap_err().len(), 1);
    }
}
