//! What conditions mean, which are refused, and that whatever has a meaning has the one that `cel` gives it.

use std::collections::HashMap;

use cel::{Context, Program, Value};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::{Place, Request};

fn with_request<T>(ask: impl FnOnce(&Request<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    for (name, value) in [("user-agent", "curl/8.0"), ("x-a", "One"), ("x-b", "")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let ip = "203.0.113.7".parse().unwrap();
    let mut request = Request::new("POST", "/login/a?next=/b", "shop.test", &headers, ip);
    request.place = Place::new(Some("DE"), 64_500);
    request.region = "eu-west";
    request.tls = true;
    ask(&request)
}

fn holds(text: &str) -> bool {
    let compiled = with_room(|| Expression::compile(text)).unwrap();
    let expression = compiled.unwrap_or_else(|error| panic!("{text}: {error}"));
    with_request(|request| expression.holds(request))
}

fn refusal(text: &str) -> String {
    let compiled = with_room(|| Expression::compile(text)).unwrap();
    match compiled {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{text} is an expression"),
    }
}

#[test]
fn conditions_about_the_sample_request() {
    for (text, expected) in [
        (
            r#"request.path.startsWith("/login") && request.method == "POST""#,
            true,
        ),
        (
            r#"request.path.startsWith("/login") && request.method == "GET""#,
            false,
        ),
        (r#"request.path.endsWith("/a")"#, true),
        (r#"request.query == "next=/b""#, true),
        (r#"request.host in ["shop.test", "www.shop.test"]"#, true),
        (r#"!(request.host != "shop.test")"#, true),
        (r#"request.user_agent.contains("curl")"#, true),
        (r#"request.headers["X-A"] == "One""#, true),
        (r#"request.headers["x-a"].lowerAscii() == "one""#, true),
        (r#"request.headers.accept == """#, true),
        (r#""x-b" in request.headers"#, true),
        (r#""x-c" in request.headers"#, false),
        ("has(request.headers.accept)", false),
        (r#"request.ip == "203.0.113.7""#, true),
        (r#"request.ip != "::ffff:203.0.113.7""#, false),
        (r#"request.ip in ["198.51.100.1", "203.0.113.7"]"#, true),
        (r#"cidr("203.0.113.0/24").containsIP(request.ip)"#, true),
        (r#"cidr("2001:db8::/32").containsIP(request.ip)"#, false),
        (r#"request.country == "DE" && request.asn == 64500"#, true),
        ("request.asn in [1, 64500]", true),
        (r#"request.region == "eu-west""#, true),
        ("request.tls", true),
        ("request.tls == false", false),
        (r#"request.tls ? request.method == "GET" : true"#, false),
        ("size(request.path) > 5 && request.path.size() <= 8", true),
        (r#"request.path.matches("^/log(in|out)/[a-z]$")"#, true),
        (r#"matches(request.path, "admin")"#, false),
        (
            r#"["/x", "/log"].exists(p, request.path.startsWith(p))"#,
            true,
        ),
        (
            r#"["/log", "/x"].all(p, request.path.startsWith(p))"#,
            false,
        ),
        (r#"[64499, 64500].exists(n, request.asn == n)"#, true),
        ("true", true),
        ("request.asn > -1", true),
    ] {
        assert_eq!(holds(text), expected, "{text}");
    }
}

#[test]
fn what_no_rule_can_use_is_refused_before_a_request_comes() {
    for (text, reason) in [
        ("", ""),
        ("request.path ==", ""),
        ("request.path", "must be true or false"),
        ("request.asn + 1 == 2", "rules have no +"),
        ("request.path == 1", "can't be compared"),
        ("request.path == request.ip", "can't be compared"),
        (r#"request.ip.startsWith("10.")"#, "containsIP"),
        (r#"request.ip == "10.0.0.0/8""#, "no address"),
        (
            r#"cidr("10.0.0.0/99").containsIP(request.ip)"#,
            "no network",
        ),
        ("request.pth == \"/\"", "there is no request.pth"),
        ("path == \"/\"", "there is no path"),
        ("claims.sub == \"x\"", "this"),
        ("request.path.reverse() == \"/\"", "rules have no reverse"),
        ("fetch(request.path)", "rules have no fetch"),
        ("request.headers == {}", "which header?"),
        (
            r#"request.headers["a b"] == """#,
            "not the name of a header",
        ),
        (r#"request.path in ["/", 1]"#, "text only"),
        (r#"request.path.matches("(")"#, "not a pattern"),
        (r#"request.path.matches(request.query)"#, "as written"),
        (r#"request.path.matches("(a{1000}){1000}")"#, "too large"),
        ("[1, 2].map(x, x) == [1]", "rules have no map"),
        ("1.5 == 1.5", "as written"),
        ("null == null", "as written"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(reason), "{text}: {refusal}");
    }
}

#[test]
fn a_refusal_says_where() {
    let refusal = refusal(r#"request.tls && request.path == 1"#);
    assert!(refusal.starts_with("at character "), "{refusal}");
}

#[test]
fn an_expression_has_limits() {
    let deep = format!("{}request.tls{}", "!(".repeat(60), ")".repeat(60));
    assert!(
        refusal(&deep).contains("nests deeper"),
        "{}",
        refusal(&deep)
    );
    let elements = vec!["1"; 120].join(",");
    let long = format!("[{elements}].exists(x, request.asn == x && request.asn != 0)");
    assert!(refusal(&long).contains("steps"), "{}", refusal(&long));
    let patterns = [r#"request.path.matches("a")"#; 5].join("||");
    assert!(refusal(&patterns).contains("patterns"));
}

/// Whatever 1024 bytes may nest, its end is an answer.
#[test]
fn the_deepest_texts_end_in_an_answer() {
    for text in [
        "(".repeat(1024),
        "[".repeat(1024),
        "!".repeat(1023) + "a",
        "-".repeat(1023) + "1",
        "a".to_owned() + &".a".repeat(511),
        "a".to_owned() + &"[0]".repeat(341),
        "1".to_owned() + &"+1".repeat(511),
        "a".to_owned() + &"?a:a".repeat(255),
        "a".to_owned() + &"&&a".repeat(341),
        "{".repeat(512) + &"}".repeat(512),
    ] {
        let answer = with_room(|| Expression::compile(&text).is_ok());
        assert_ne!(answer, Some(true), "{text}");
    }
}

/// Expressions whose meaning `cel` knows as well: without addresses, patterns and what is another library's.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "request.method",
            "request.path",
            "request.query",
            "request.host",
            "request.region",
            "request.country",
            r#"request.headers["x-a"]"#,
            "request.headers.accept",
        ])
        .prop_map(str::to_owned),
        "[a-c/]{0,3}".prop_map(|text| format!("{text:?}")),
    ]
}

fn conditions() -> impl Strategy<Value = String> {
    let relations = || prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let methods = || prop::sample::select(vec!["startsWith", "endsWith", "contains"]);
    let leaf = prop_oneof![
        Just("request.tls".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        (texts(), relations(), texts()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (texts(), methods(), texts()).prop_map(|(a, method, b)| format!("{a}.{method}({b})")),
        (texts(), relations(), 0..5_i64).prop_map(|(a, op, n)| format!("size({a}) {op} {n}")),
        (relations(), -1..3_i64).prop_map(|(op, n)| format!("request.asn {op} {n}")),
        (texts(), "[a-c]{0,2}", "[a-c]{0,2}")
            .prop_map(|(a, b, c)| format!("{a} in [{b:?}, {c:?}]")),
        Just(r#""x-a" in request.headers"#.to_owned()),
        ("[a-c]", "[a-c]", texts())
            .prop_map(|(a, b, text)| format!("[{a:?}, {b:?}].exists(x, {text}.contains(x))")),
        ("[a-c]", "[a-c]", texts())
            .prop_map(|(a, b, text)| format!("[{a:?}, {b:?}].all(x, x < {text})")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) == ({b})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
        ]
    })
}

/// By the interpreter of `cel`.
fn by_cel(text: &str, request: &Request<'_>) -> bool {
    let headers: HashMap<&str, String> = ["x-a", "accept"]
        .into_iter()
        .map(|name| (name, request.header(&name.parse().unwrap()).into_owned()))
        .collect();
    let variables: HashMap<&str, Value> = HashMap::from([
        ("method", request.method.into()),
        ("path", request.path().into()),
        ("query", request.query.into()),
        ("host", request.host.into()),
        ("region", request.region.into()),
        ("country", request.place.country().into()),
        ("asn", Value::Int(request.place.asn.into())),
        ("tls", Value::Bool(request.tls)),
        ("headers", headers.into()),
    ]);
    let mut context = Context::default();
    context.add_variable_from_value("request", variables);
    match Program::compile(text).unwrap().execute(&context) {
        Ok(Value::Bool(value)) => value,
        other => panic!("{text}: {other:?}"),
    }
}

proptest! {
    #[test]
    fn conditions_mean_what_cel_says(
        text in conditions(),
        (method, path, query) in ("[a-c]{1,3}", "/[a-c/]{0,3}", "[a-c]{0,2}"),
        (header, asn, tls) in ("[a-c]{0,2}", 0..3_u32, any::<bool>()),
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", header.parse().unwrap());
        headers.insert("accept", HeaderValue::from_static("b"));
        let asked = format!("{path}?{query}");
        let mut request = Request::new(&method, &asked, "a.b", &headers, [192, 0, 2, 7].into());
        request.place = Place::new(Some("AB"), asn);
        request.tls = tls;
        match with_room(|| Expression::compile(&text)).unwrap() {
            Ok(expression) => {
                prop_assert_eq!(expression.holds(&request), by_cel(&text, &request), "{}", text);
            }
            // The one thing that generated conditions can be too much of.
            Err(error) => prop_assert!(error.to_string().contains("steps"), "{}: {}", text, error),
        }
    }

    #[test]
    fn no_text_ends_a_process(text in "[a-z0-9.()\\[\\]{}\"'!&|<>=?:,+*/% -]{0,60}") {
        let _ = with_room(|| Expression::compile(&text).is_ok());
    }
}
