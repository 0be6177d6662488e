//! The headers that tell an instance whose request it gets. A user's own copies are replaced; those of
//! another edge, which set them itself, are kept.

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::{Result, http::RequestHeader};

/// Counts edges; believed from edges only, never sent to instances.
pub const HOP: HeaderName = HeaderName::from_static("x-railhead-hop");
/// The edge that sends it knows no other one to ask; believed from edges only, never sent to instances.
pub const LAST: HeaderName = HeaderName::from_static("x-railhead-last");
/// The instance that shall answer; believed from edges only, never sent to instances.
pub const WANTED: HeaderName = HeaderName::from_static("x-railhead-instance");
/// Where an instance gave the request back ([`super::replay`]).
pub const REPLAY_SOURCE: HeaderName = HeaderName::from_static("fly-replay-src");
/// The request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What the user speaks.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const REGION: HeaderName = HeaderName::from_static("x-railhead-region");
const REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
/// RFC 7239 says the same as the X- headers and would contradict them.
const FORWARDED: HeaderName = header::FORWARDED;

/// What an application may believe because the edge says it.
const OURS: [HeaderName; 12] = [
    FORWARDED_FOR,
    FORWARDED_PROTO,
    FORWARDED_HOST,
    REAL_IP,
    REGION,
    REQUEST_ID,
    REQUEST_START,
    HOP,
    LAST,
    WANTED,
    REPLAY_SOURCE,
    TRACEPARENT,
];

/// What the first edge says about a request.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The user's address.
    pub client: IpAddr,
    /// Whether TLS ended here.
    pub https: bool,
    /// The host asked for.
    pub host: &'a str,
    /// The first edge's region.
    pub region: &'a str,
    /// The request's id.
    pub request_id: &'a str,
}

/// Replaces whatever a user sent in these headers.
///
/// # Errors
/// When a value is no header value.
pub fn set_origin(request: &mut RequestHeader, origin: &Origin<'_>) -> Result<()> {
    for name in [FORWARDED, TRACESTATE, HOP, LAST, WANTED, REPLAY_SOURCE] {
        request.remove_header(&name);
    }
    remove_look_alikes(request);
    let client = origin.client.to_canonical().to_string();
    let proto = if origin.https { "https" } else { "http" };
    request.insert_header(FORWARDED_FOR, &client)?;
    request.insert_header(REAL_IP, &client)?;
    request.insert_header(FORWARDED_PROTO, proto)?;
    request.insert_header(FORWARDED_HOST, origin.host)?;
    request.insert_header(REGION, origin.region)?;
    request.insert_header(REQUEST_ID, origin.request_id)?;
    request.insert_header(REQUEST_START, now_millis().to_string())
}

/// Servers that hand headers on as variables (CGI, WSGI) read `x_real_ip` as `x-real-ip`.
fn remove_look_alikes(request: &mut RequestHeader) {
    let names = request.headers.keys();
    let look_alikes: Vec<HeaderName> = names.filter(|name| looks_alike(name)).cloned().collect();
    for name in look_alikes {
        request.remove_header(&name);
    }
}

fn looks_alike(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains('_')
        && OURS
            .iter()
            .any(|ours| ours.as_str() == name.replace('_', "-"))
}

fn now_millis() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |elapsed| elapsed.as_millis())
}

/// A header as text.
#[must_use]
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The user's address as another edge wrote it.
#[must_use]
pub fn real_ip(headers: &HeaderMap) -> Option<IpAddr> {
    text(headers, &REAL_IP)?.parse().ok()
}

/// How many edges a request has passed, as another edge wrote it.
#[must_use]
pub fn hops(headers: &HeaderMap) -> u8 {
    text(headers, &HOP)
        .and_then(|text| text.parse().ok())
        .unwrap_or(u8::MAX)
}

/// A trace context for a request that nobody records, so that an application's own traces begin
/// at the edge's id.
#[must_use]
pub fn new_traceparent() -> String {
    let (trace, span): (u128, u64) = (rand::random(), rand::random());
    format!("00-{:032x}-{:016x}-00", trace.max(1), span.max(1))
}

/// Whether gRPC speaks, which needs HTTP/2 up to the instance.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_claims_is_replaced() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-railhead-hop", "0"),
            ("x-railhead-last", "1"),
            ("x-railhead-instance", "ins_1"),
            ("fly-replay-src", "region=mars"),
            ("forwarded", "for=1.1.1.1"),
            ("x-request-id", "mine"),
            ("x-forwarded-proto", "https"),
        ] {
            request.append_header(name, value).unwrap();
            request.append_header(name, value).unwrap();
        }
        let origin = Origin {
            client: "::ffff:192.0.2.7".parse().unwrap(),
            https: false,
            host: "a.test",
            region: "us-east",
            request_id: "ours",
        };
        set_origin(&mut request, &origin).unwrap();
        let all: Vec<_> = request
            .headers
            .iter()
            .filter(|(name, _)| **name != REQUEST_START)
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        let mut sorted = all.clone();
        sorted.sort();
        insta::assert_snapshot!(sorted.join("\n"), @r"
        x-forwarded-for: 192.0.2.7
        x-forwarded-host: a.test
        x-forwarded-proto: http
        x-railhead-region: us-east
        x-real-ip: 192.0.2.7
        x-request-id: ours
        ");
    }

    #[test]
    fn a_made_traceparent_is_valid_and_a_missing_hop_is_too_many() {
        let made = new_traceparent();
        assert_eq!(made.len(), 55);
        assert_eq!(made.split('-').count(), 4);
        assert_eq!(hops(&HeaderMap::new()), u8::MAX);
    }
}
