//! Rules that lock everybody out. Somebody may mean it (an allow list, a service to be shut); more often a condition is
//! the wrong way round. So it is asked before they are saved.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, header};

use crate::{Place, Request, Rules, Unlimited, Verdict};

/// Hosts that are tried, of those that a service has.
const HOSTS_MAX: usize = 8;
const NO_HOST: &str = "service.invalid";

const ASKED: [(&str, &str); 10] = [
    ("GET", "/"),
    ("GET", "/index.html"),
    ("GET", "/favicon.ico"),
    ("GET", "/health"),
    ("GET", "/login?next=/account"),
    ("POST", "/login"),
    ("GET", "/api/v1/items?page=2"),
    ("POST", "/api/v1/items"),
    ("DELETE", "/api/v1/items/7"),
    ("OPTIONS", "/static/app.js"),
];

/// An address, what is known of it, and what the client calls itself.
const CLIENTS: [(IpAddr, Option<&str>, u32, &str); 4] = [
    (v4([198, 51, 100, 23]), None, 0, "Mozilla/5.0"),
    (v4([203, 0, 113, 99]), Some("US"), 64_496, "curl/8.5.0"),
    (v4([192, 0, 2, 200]), Some("DE"), 64_511, "Mozilla/5.0"),
    (
        v6(0x2001_0db8_0000_0001_0000_0000_0000_0009),
        Some("BR"),
        65_550,
        "",
    ),
];

const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
}

const fn v6(bits: u128) -> IpAddr {
    IpAddr::V6(std::net::Ipv6Addr::from_bits(bits))
}

/// Whether every ordinary request for any of these hosts is blocked, whatever it asks for, whoever asks. Limits, passwords
/// and redirects are no blocks; hosts that are not known yet may be left out.
#[must_use]
pub fn would_block_everything(rules: &Rules, hosts: &[String]) -> bool {
    if rules.is_empty() {
        return false;
    }
    let known = hosts.iter().map(String::as_str).take(HOSTS_MAX);
    let hosts: Vec<&str> = known.chain([NO_HOST]).collect();
    let mut asked = hosts
        .iter()
        .flat_map(|host| ASKED.map(|what| (*host, what)));
    asked.all(|(host, what)| {
        CLIENTS
            .iter()
            .all(|client| is_blocked(rules, host, what, client))
    })
}

fn is_blocked(
    rules: &Rules,
    host: &str,
    (method, path): (&str, &str),
    (ip, country, asn, program): &(IpAddr, Option<&str>, u32, &'static str),
) -> bool {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    if !program.is_empty() {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(program));
    }
    let mut request = Request::new(method, path, host, &headers, *ip);
    request.place = Place::new(*country, *asn);
    [true, false].into_iter().all(|tls| {
        request.tls = tls;
        let verdict = rules.decide(&request, &Unlimited).verdict;
        matches!(verdict, Verdict::Block { .. })
    })
}

#[cfg(test)]
mod tests {
    use domain::spec::EdgeRule;

    use super::*;
    use crate::compile;

    fn blocks_all(text: &str) -> bool {
        let rules: Vec<EdgeRule> = serde_json::from_str(text).unwrap();
        would_block_everything(&compile(&rules).unwrap(), &["shop.test".to_owned()])
    }

    fn block_if(condition: &str) -> String {
        let rule = serde_json::json!([{ "if": condition, "then": { "action": "block" } }]);
        rule.to_string()
    }

    #[test]
    fn whoever_locks_everybody_out_is_asked() {
        for condition in [
            "true",
            "!false",
            "request.path.startsWith(\"/\")",
            "request.method != \"BREW\"",
            "request.country != \"ZZ\"",
            "request.ip != \"203.0.113.250\"",
            "size(request.path) > 0 || request.tls",
        ] {
            assert!(blocks_all(&block_if(condition)), "{condition}");
        }
        let list = r#"[{"if":"request.ip == \"203.0.113.250\"","then":{"action":"allow"}},
                       {"if":"true","then":{"action":"block"}}]"#;
        assert!(blocks_all(list), "an allow list");
    }

    #[test]
    fn rules_that_let_ordinary_requests_through_are_not_asked_about() {
        for condition in [
            "false",
            "request.path.startsWith(\"/admin\")",
            "request.host != \"shop.test\"",
            "request.country in [\"US\", \"DE\"]",
            "!request.tls",
            "request.user_agent.contains(\"curl\")",
            "request.method == \"POST\"",
        ] {
            assert!(!blocks_all(&block_if(condition)), "{condition}");
        }
        for rules in [
            "[]",
            r#"[{"if":"true","then":{"action":"maintenance"}}]"#,
            r#"[{"if":"true","then":{"action":"rate_limit","key":"ip","limit":1,"window":"1d"}}]"#,
            r#"[{"if":"true","then":{"action":"allow"}},{"if":"true","then":{"action":"block"}}]"#,
        ] {
            assert!(!blocks_all(rules), "{rules}");
        }
    }
}
