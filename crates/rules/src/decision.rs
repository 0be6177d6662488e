//! What becomes of a request by a service's rules: one after the other, until one ends it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::spec::{BasicAuthAction, EdgeAction, RateLimitAction};
use http::{header, uri::PathAndQuery};

use crate::{
    LimitKey, Request, Rules,
    rule::{Action, Rule},
};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it goes on.
    pub verdict: Verdict,
    /// The index of the rule that ended it, or let it through.
    pub decided_by: Option<usize>,
    /// What an instance is asked for instead.
    pub rewritten: Option<PathAndQuery>,
    /// Indices of the rules whose changes of headers are made, in order.
    pub headers: Vec<usize>,
    /// What is left of the tightest limit that wants to be told.
    pub quota: Option<Quota>,
    /// The first rule that would have refused it, and only counts.
    pub dry_run: Option<usize>,
}

/// Whether a request goes on. What else there is to say, the rule that decided says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// To an instance.
    Pass,
    /// It is refused.
    Block {
        /// The status of the answer.
        status: u16,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// The status of the answer.
        status: u16,
        /// Where.
        location: String,
    },
    /// There were too many.
    RateLimited(Quota),
    /// It brought no password, or a wrong one.
    Unauthorized,
    /// The service is not to be asked.
    Maintenance,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// As the rule says.
    pub limit: u32,
    /// Requests that would pass now.
    pub remaining: u32,
    /// Of a request that passed: until the whole limit is there again; of one that was refused: until the next one passes.
    pub reset: Duration,
    /// Edges don't count together at the moment.
    pub degraded: bool,
}

/// What a limit says to one more request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may pass.
    Admitted(Quota),
    /// It may not.
    Refused(Quota),
}

/// Who counts.
pub trait Limiter {
    /// Counts a request for the limit of the rule at this index.
    fn admit(&self, index: usize, limit: &RateLimitAction, key: &LimitKey<'_>) -> Admission;
}

/// Counts nothing, and refuses nobody.
#[derive(Debug, Clone, Copy)]
pub struct Unlimited;

impl Limiter for Unlimited {
    fn admit(&self, _index: usize, limit: &RateLimitAction, _key: &LimitKey<'_>) -> Admission {
        Admission::Admitted(Quota {
            limit: limit.limit,
            remaining: limit.limit,
            reset: Duration::ZERO,
            degraded: false,
        })
    }
}

impl Decision {
    const fn pass() -> Self {
        Self {
            verdict: Verdict::Pass,
            decided_by: None,
            rewritten: None,
            headers: Vec::new(),
            quota: None,
            dry_run: None,
        }
    }

    fn announce(&mut self, quota: Quota) {
        let is_tighter = |known: Quota| quota.remaining < known.remaining;
        if self.quota.is_none_or(is_tighter) {
            self.quota = Some(quota);
        }
    }
}

impl Rules {
    /// Decides. Every condition sees the request as the client sent it.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>, limiter: &impl Limiter) -> Decision {
        let mut decision = Decision::pass();
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.condition.holds(request) {
                continue;
            }
            if let Some(verdict) = rule.apply(index, request, limiter, &mut decision) {
                decision.verdict = verdict;
                decision.decided_by = Some(index);
                break;
            }
        }
        decision
    }
}

impl Rule {
    /// None when later rules are asked as well.
    fn apply(
        &self,
        index: usize,
        request: &Request<'_>,
        limiter: &impl Limiter,
        decision: &mut Decision,
    ) -> Option<Verdict> {
        match (&self.written, &self.action) {
            (EdgeAction::Block(block), _) => Some(Verdict::Block {
                status: block.status,
            }),
            (EdgeAction::Allow(_), _) => Some(Verdict::Pass),
            (EdgeAction::Maintenance(_), _) => Some(Verdict::Maintenance),
            (EdgeAction::Redirect(redirect), Action::Redirect(to)) => Some(Verdict::Redirect {
                status: redirect.status,
                location: to.location(request),
            }),
            (EdgeAction::Rewrite(rewrite), Action::Rewrite(path)) => {
                decision.rewritten = path.path(request, rewrite.strip_prefix.as_deref());
                None
            }
            (EdgeAction::Headers(_), _) => {
                decision.headers.push(index);
                None
            }
            (EdgeAction::BasicAuth(auth), _) => {
                (!is_authorized(auth, request)).then_some(Verdict::Unauthorized)
            }
            (EdgeAction::RateLimit(limit), Action::RateLimit(source)) => {
                let key = source.key(request)?;
                match limiter.admit(index, limit, &key) {
                    Admission::Admitted(quota) => {
                        if limit.headers {
                            decision.announce(quota);
                        }
                        None
                    }
                    Admission::Refused(_) if limit.dry_run => {
                        decision.dry_run.get_or_insert(index);
                        None
                    }
                    Admission::Refused(quota) => Some(Verdict::RateLimited(quota)),
                }
            }
            // A rule is compiled as what it was written as.
            (EdgeAction::Redirect(_) | EdgeAction::Rewrite(_) | EdgeAction::RateLimit(_), _) => {
                None
            }
        }
    }
}

/// Whether the request brings a user's password (RFC 7617).
fn is_authorized(auth: &BasicAuthAction, request: &Request<'_>) -> bool {
    let Some((user, password)) = credentials(request) else {
        return false;
    };
    auth.users
        .get(&user)
        .is_some_and(|hash| hash.fits(&password))
}

fn credentials(request: &Request<'_>) -> Option<(String, String)> {
    let given = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = given.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use domain::spec::{EdgeRule, PasswordHash};
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::compile;

    /// Admits so many.
    struct Few(Cell<u32>);

    impl Limiter for Few {
        fn admit(&self, _index: usize, limit: &RateLimitAction, _key: &LimitKey<'_>) -> Admission {
            let left = self.0.get();
            self.0.set(left.saturating_sub(1));
            let quota = Quota {
                limit: limit.limit,
                remaining: left.saturating_sub(1),
                reset: Duration::from_secs(1),
                degraded: false,
            };
            match left {
                0 => Admission::Refused(quota),
                _ => Admission::Admitted(quota),
            }
        }
    }

    fn rules(text: &str) -> Rules {
        let rules: Vec<EdgeRule> = serde_json::from_str(text).unwrap();
        compile(&rules).unwrap()
    }

    fn decide(rules: &Rules, path: &str, headers: &HeaderMap, limiter: &impl Limiter) -> Decision {
        let ip = [192, 0, 2, 7].into();
        rules.decide(&Request::new("GET", path, "a.test", headers, ip), limiter)
    }

    fn plainly(rules: &Rules, path: &str) -> Decision {
        decide(rules, path, &HeaderMap::new(), &Unlimited)
    }

    #[test]
    fn the_first_rule_that_ends_a_request_is_the_last_that_is_asked() {
        let rules = rules(
            r#"[{"if":"request.path == \"/open\"","then":{"action":"allow"}},
                {"if":"request.path.startsWith(\"/old\")","then":{"action":"redirect","to":"https://b.test{path}","status":308}},
                {"name":"closed","if":"true","then":{"action":"block","status":410}},
                {"if":"true","then":{"action":"maintenance"}}]"#,
        );
        let open = plainly(&rules, "/open");
        assert_eq!((open.verdict, open.decided_by), (Verdict::Pass, Some(0)));
        let old = plainly(&rules, "/old/x");
        let location = "https://b.test/old/x".to_owned();
        assert_eq!(
            old.verdict,
            Verdict::Redirect {
                status: 308,
                location
            }
        );
        let other = plainly(&rules, "/");
        assert_eq!(other.verdict, Verdict::Block { status: 410 });
        assert_eq!(rules.label(other.decided_by.unwrap()), "closed");
    }

    #[test]
    fn changes_add_up_and_conditions_see_what_the_client_sent() {
        let rules = rules(
            r#"[{"if":"true","then":{"action":"rewrite","path":"/v1{path}"}},
                {"if":"true","then":{"action":"headers","request":{"set":{"x-a":"1"}}}},
                {"if":"request.path == \"/a\"","then":{"action":"headers","response":{"remove":["server"]}}}]"#,
        );
        let decision = plainly(&rules, "/a?b=c");
        assert_eq!(decision.verdict, Verdict::Pass);
        assert_eq!(decision.rewritten.unwrap(), "/v1/a?b=c");
        assert_eq!(decision.headers, [1, 2]);
        let (request, response) = rules.header_edits(1).unwrap();
        assert_eq!((request.set.len(), response.remove.len()), (1, 0));
    }

    #[test]
    fn limits_refuse_unless_they_only_count() {
        let text = |dry_run: bool| {
            format!(
                r#"[{{"if":"true","then":{{"action":"rate_limit","key":"ip","limit":1,"window":"1s","dry_run":{dry_run},"headers":true}}}}]"#
            )
        };
        let (strict, dry) = (rules(&text(false)), rules(&text(true)));
        let headers = HeaderMap::new();
        let few = Few(Cell::new(1));
        let first = decide(&strict, "/", &headers, &few);
        assert_eq!(first.quota.map(|quota| quota.remaining), Some(0));
        let second = decide(&strict, "/", &headers, &few);
        assert!(
            matches!(second.verdict, Verdict::RateLimited(_)),
            "{second:?}"
        );
        let third = decide(&dry, "/", &headers, &few);
        assert_eq!((third.verdict, third.dry_run), (Verdict::Pass, Some(0)));
    }

    #[test]
    fn a_password_opens_and_nothing_else_does() {
        let hash = PasswordHash::new("long and random", [1; 16]);
        let rules = rules(&format!(
            r#"[{{"if":"true","then":{{"action":"basic_auth","users":{{"alice":"{hash}"}}}}}}]"#
        ));
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            decide(&rules, "/", &headers, &Unlimited).verdict
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(with(&basic("alice:long and random")), Verdict::Pass);
        for wrong in [
            basic("alice:long and randon"),
            basic("bob:long and random"),
            basic("alice"),
            "Bearer x".to_owned(),
            "Basic ???".to_owned(),
        ] {
            assert_eq!(with(&wrong), Verdict::Unauthorized, "{wrong}");
        }
        assert_eq!(plainly(&rules, "/").verdict, Verdict::Unauthorized);
    }
}
