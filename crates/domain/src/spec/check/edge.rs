//! What the rules of an edge can't be, as far as it shows without reading their conditions and templates (the crate
//! `rules` does that): sizes, numbers, and headers that frame a message or that the platform itself vouches for.

use std::collections::BTreeSet;

use super::{
    super::edge::{
        BasicAuthAction, CONDITION_MAX, EdgeAction, EdgeRule, HeaderChanges, HeadersAction,
        MaintenanceAction, RULES_MAX, RateLimitAction, RedirectAction, RewriteAction,
    },
    Faults, InvalidSpec,
};
use crate::quantity::Span;

/// Changes of headers by one rule.
const HEADERS_MAX: usize = 32;
const NAME_MAX: usize = 128;
const VALUE_MAX: usize = 1024;
const ADDRESS_MAX: usize = 2048;
const USERS_MAX: usize = 32;
const MESSAGE_MAX: usize = 512;
const LIMIT_MAX: u32 = 1_000_000;

/// What frames a message or belongs to one connection, and what applications believe because the edge says it.
const KEPT: [&str; 21] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "x-request-start",
];

/// What the rules of a service can't be; nothing when they can.
#[must_use]
pub fn check_rules(rules: &[EdgeRule]) -> Vec<InvalidSpec> {
    let mut faults = Faults::default();
    check(rules, &mut faults);
    faults.0
}

pub(super) fn check(rules: &[EdgeRule], faults: &mut Faults) {
    faults.unless(
        rules.len() <= RULES_MAX,
        "edge.rules",
        "a service has at most 64 rules",
    );
    let mut names = BTreeSet::new();
    for (index, rule) in rules.iter().take(RULES_MAX).enumerate() {
        let mut at = At {
            rule: format!("edge.rules[{index}]"),
            faults: &mut *faults,
        };
        let is_new = rule.name.as_ref().is_none_or(|name| names.insert(name));
        at.unless(is_new, "name", "another rule has this name");
        at.unless(
            !rule.condition.trim().is_empty() && rule.condition.len() <= CONDITION_MAX,
            "if",
            "must be an expression of at most 1024 bytes",
        );
        check_action(&rule.action, &mut at);
    }
}

/// The faults of one rule.
struct At<'a> {
    rule: String,
    faults: &'a mut Faults,
}

impl At<'_> {
    fn unless(&mut self, holds: bool, field: &str, reason: &str) {
        let field = format!("{}.{field}", self.rule);
        self.faults.unless(holds, &field, reason);
    }
}

fn check_action(action: &EdgeAction, at: &mut At<'_>) {
    match action {
        EdgeAction::Block(block) => at.unless(
            (400..500).contains(&block.status),
            "then.status",
            "must be between 400 and 499",
        ),
        EdgeAction::Allow(_) => {}
        EdgeAction::Redirect(redirect) => check_redirect(redirect, at),
        EdgeAction::Rewrite(rewrite) => check_rewrite(rewrite, at),
        EdgeAction::Headers(headers) => check_headers(headers, at),
        EdgeAction::RateLimit(limit) => check_rate_limit(limit, at),
        EdgeAction::BasicAuth(auth) => check_basic_auth(auth, at),
        EdgeAction::Maintenance(maintenance) => check_maintenance(maintenance, at),
    }
}

fn check_redirect(redirect: &RedirectAction, at: &mut At<'_>) {
    at.unless(
        [301, 302, 303, 307, 308].contains(&redirect.status),
        "then.status",
        "must be 301, 302, 303, 307 or 308",
    );
    let to = redirect.to.as_str();
    let begins = ["https://", "http://", "/"]
        .iter()
        .any(|begin| to.starts_with(begin));
    at.unless(
        begins && !to.starts_with("//") && is_address(to),
        "then.to",
        "must begin with https://, http:// or one \"/\", and have at most 2048 bytes and no spaces",
    );
}

fn check_rewrite(rewrite: &RewriteAction, at: &mut At<'_>) {
    let is_path = |path: &str| is_address(path) && !path.contains('#');
    // `{path}` stands for something that begins so.
    let path = rewrite.path.as_str();
    at.unless(
        (path.starts_with('/') || path.starts_with("{path}")) && is_path(path),
        "then.path",
        "must be a path that begins with \"/\" or {path}, with at most 2048 bytes and no spaces",
    );
    let prefix = rewrite.strip_prefix.as_deref().unwrap_or("/");
    at.unless(
        prefix.starts_with('/') && is_path(prefix) && !prefix.contains(['?', '{', '}']),
        "then.strip_prefix",
        "must be a path that begins with \"/\"",
    );
}

fn check_headers(headers: &HeadersAction, at: &mut At<'_>) {
    let all = [
        ("then.request", &headers.request),
        ("then.response", &headers.response),
    ];
    let count = |changes: &HeaderChanges| changes.set.len() + changes.remove.len();
    let total: usize = all.iter().map(|(_, changes)| count(changes)).sum();
    at.unless(
        (1..=HEADERS_MAX).contains(&total),
        "then",
        "must set or remove between 1 and 32 headers",
    );
    for (field, changes) in all {
        for name in changes.set.keys().chain(&changes.remove) {
            at.unless(
                is_changeable(name),
                field,
                "a header's name has letters, digits and hyphens, and is none that frames a message or that the platform sets (host, connection, x-forwarded-for, x-request-id, x-railhead-…)",
            );
        }
        at.unless(
            changes.set.values().all(|value| is_header_value(value)),
            field,
            "a header's value has at most 1024 visible ASCII characters and spaces",
        );
    }
}

fn check_rate_limit(limit: &RateLimitAction, at: &mut At<'_>) {
    at.unless(
        (1..=LIMIT_MAX).contains(&limit.limit),
        "then.limit",
        "must be between 1 and 1000000",
    );
    at.unless(
        (Span::seconds(1)..=Span::seconds(86_400)).contains(&limit.window),
        "then.window",
        "must be between 1s and 1d",
    );
}

fn check_basic_auth(auth: &BasicAuthAction, at: &mut At<'_>) {
    let is_user = |name: &String| {
        !name.is_empty()
            && name.len() <= NAME_MAX
            && !name.contains(|c: char| c == ':' || c.is_control())
    };
    at.unless(
        (1..=USERS_MAX).contains(&auth.users.len()) && auth.users.keys().all(is_user),
        "then.users",
        "must be 1 to 32 users, without a colon in their names",
    );
    at.unless(
        is_header_value(&auth.realm)
            && auth.realm.len() <= NAME_MAX
            && !auth.realm.contains(['"', '\\']),
        "then.realm",
        "must have at most 128 visible ASCII characters, and no quotes",
    );
}

fn check_maintenance(maintenance: &MaintenanceAction, at: &mut At<'_>) {
    let day = Span::seconds(86_400);
    at.unless(
        maintenance.retry_after.is_none_or(|span| span <= day),
        "then.retry_after",
        "must be at most 1d",
    );
    let is_message = |text: &str| text.len() <= MESSAGE_MAX && !text.contains(char::is_control);
    at.unless(
        maintenance.message.as_deref().is_none_or(is_message),
        "then.message",
        "must be one line of at most 512 bytes",
    );
}

/// Part of an address that becomes part of a head as it is.
fn is_address(text: &str) -> bool {
    text.len() <= ADDRESS_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether it can be the name of a header (RFC 9110 §5.1).
pub(in crate::spec) fn is_header_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(legal)
}

/// Whether tenants may change it. Underscores are left out: servers that hand headers on as variables take them for
/// hyphens.
fn is_changeable(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let kept =
        KEPT.contains(&name.as_str()) || name.starts_with("x-railhead-") || name.contains('_');
    is_header_name(&name) && !kept
}

fn is_header_value(value: &str) -> bool {
    value.len() <= VALUE_MAX && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(action: &str) -> Vec<String> {
        let rule = format!(r#"{{"if":"true","then":{action}}}"#);
        let rule: EdgeRule = serde_json::from_str(&rule).unwrap();
        let faults = check_rules(&[rule]).into_iter();
        faults.map(|fault| fault.field).collect()
    }

    #[test]
    fn actions_that_can_be() {
        for action in [
            r#"{"action":"block"}"#,
            r#"{"action":"block","status":451}"#,
            r#"{"action":"allow"}"#,
            r#"{"action":"redirect","to":"https://www.example.com{path}{query}","status":301}"#,
            r#"{"action":"redirect","to":"/new"}"#,
            r#"{"action":"rewrite","path":"/v2{path}","strip_prefix":"/api"}"#,
            r#"{"action":"headers","request":{"set":{"x-a":"1"},"remove":["x-b"]},"response":{"remove":["server"]}}"#,
            r#"{"action":"rate_limit","key":"ip","limit":1,"window":"1s"}"#,
            r#"{"action":"maintenance","retry_after":"1h","message":"Back at nine."}"#,
        ] {
            assert_eq!(faults(action), [""; 0], "{action}");
        }
    }

    #[test]
    fn actions_that_can_not_be_are_named_with_their_field() {
        let rule = |field: &str| vec![format!("edge.rules[0].{field}")];
        for (action, field) in [
            (r#"{"action":"block","status":200}"#, "then.status"),
            (r#"{"action":"redirect","to":"//evil.test"}"#, "then.to"),
            (r#"{"action":"redirect","to":"{path}"}"#, "then.to"),
            (r#"{"action":"redirect","to":"/a\r\nx: y"}"#, "then.to"),
            (r#"{"action":"rewrite","path":"new"}"#, "then.path"),
            (
                r#"{"action":"rewrite","path":"/","strip_prefix":"api"}"#,
                "then.strip_prefix",
            ),
            (r#"{"action":"headers"}"#, "then"),
            (
                r#"{"action":"headers","request":{"set":{"Host":"x"}}}"#,
                "then.request",
            ),
            (
                r#"{"action":"headers","response":{"set":{"x-a":"1\r\nx-b: 2"}}}"#,
                "then.response",
            ),
            (
                r#"{"action":"rate_limit","key":"ip","limit":0,"window":"1s"}"#,
                "then.limit",
            ),
            (
                r#"{"action":"rate_limit","key":"ip","limit":1,"window":"0s"}"#,
                "then.window",
            ),
            (r#"{"action":"basic_auth","users":{}}"#, "then.users"),
            (
                r#"{"action":"maintenance","message":"two\nlines"}"#,
                "then.message",
            ),
        ] {
            assert_eq!(faults(action), rule(field), "{action}");
        }
    }

    #[test]
    fn numbers_names_and_lengths_have_limits() {
        let rule: EdgeRule =
            serde_json::from_str(r#"{"name":"one","if":"true","then":{"action":"allow"}}"#)
                .unwrap();
        let fields = |rules: &[EdgeRule]| -> Vec<String> {
            check_rules(rules).into_iter().map(|f| f.field).collect()
        };
        let twice = [rule.clone(), rule.clone()];
        assert_eq!(fields(&twice), ["edge.rules[1].name"]);
        let unnamed = EdgeRule {
            name: None,
            ..rule.clone()
        };
        assert_eq!(fields(&vec![unnamed.clone(); RULES_MAX]), [""; 0]);
        assert_eq!(fields(&vec![unnamed; RULES_MAX + 1]), ["edge.rules"]);
        for condition in [" ".to_owned(), "x".repeat(CONDITION_MAX + 1)] {
            let rule = EdgeRule {
                condition,
                ..rule.clone()
            };
            assert_eq!(fields(&[rule]), ["edge.rules[0].if"]);
        }
    }

    proptest! {
        #[test]
        fn no_header_that_may_be_changed_frames_a_message(name in "[A-Za-z_-]{1,20}") {
            let lower = name.to_ascii_lowercase();
            if is_changeable(&name) {
                prop_assert!(!KEPT.contains(&&*lower) && !lower.contains('_'));
            }
        }
    }
}
