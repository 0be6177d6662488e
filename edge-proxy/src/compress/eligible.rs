//! Which answers are worth compressing, and may be.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Bytes below which an answer fits into few packets anyway.
const WORTH: u64 = 1024;

/// Digests of the body as it is sent: another coding would belie them.
const DIGESTS: [HeaderName; 3] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Types of text that do not begin with `text/`, nor end in one of [`SUFFIXES`].
const TYPES: [&str; 12] = [
    "application/javascript",
    "application/json",
    "application/ndjson",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
];
const SUFFIXES: [&str; 3] = ["+json", "+text", "+xml"];
/// Events are small and shall come one by one.
const EVENTS: &str = "text/event-stream";

/// Whether an answer is of such a kind. It differs by what the client accepts then, also when this client takes no coding.
#[must_use]
pub fn is_eligible(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_whole = !matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
    );
    let is_plain = !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && !headers.contains_key(header::TRAILER)
        && !DIGESTS.iter().any(|digest| headers.contains_key(digest));
    is_whole && is_plain && is_large(headers) && is_text(headers) && may_be_changed(headers)
}

/// Without a length nobody knows.
fn is_large(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_none_or(|length| length >= WORTH)
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    let is_known = TYPES.contains(&kind.as_str())
        || kind.starts_with("text/")
        || SUFFIXES.iter().any(|suffix| kind.ends_with(suffix));
    is_known && kind != EVENTS
}

/// RFC 9111 §5.2.2.6.
fn may_be_changed(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(header::CACHE_CONTROL).into_iter();
    let mut directives = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','));
    !directives.any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// The validator of a coded body (RFC 9110 §8.8.1): it is good for the same content, not for the same bytes. None for what
/// is no validator.
#[must_use]
pub fn weakened(etag: &HeaderValue) -> Option<HeaderValue> {
    let text = etag.as_bytes();
    match text {
        [b'W', b'/', ..] => Some(etag.clone()),
        [b'"', ..] => HeaderValue::from_bytes(&[b"W/", text].concat()).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        fields.iter().map(pair).collect()
    }

    #[test]
    fn text_is_and_pictures_and_events_are_not() {
        for (kind, is) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/CSS", true),
            ("application/json", true),
            ("application/problem+json", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("text/event-stream", false),
            ("text/event-stream; charset=utf-8", false),
            ("application/grpc", false),
            ("application/grpc+proto", false),
            ("application/octet-stream", false),
            ("image/png", false),
            ("font/woff2", false),
            ("application/zip", false),
            ("", false),
        ] {
            let headers = headers(&[("content-type", kind)]);
            assert_eq!(is_eligible(StatusCode::OK, &headers), is, "{kind}");
        }
        assert!(!is_eligible(StatusCode::OK, &HeaderMap::new()));
    }

    #[test]
    fn what_is_encoded_partial_small_or_not_to_be_changed_is_left_alone() {
        let kind = ("content-type", "text/html");
        for other in [
            ("content-encoding", "gzip"),
            ("content-encoding", "identity"),
            ("content-range", "bytes 0-1/2"),
            ("cache-control", "public, No-Transform"),
            ("content-length", "1023"),
            ("trailer", "x-sum"),
            ("content-digest", "sha-256=:x:"),
        ] {
            let headers = headers(&[kind, other]);
            assert!(!is_eligible(StatusCode::OK, &headers), "{other:?}");
        }
        for status in [204, 206, 304] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!is_eligible(status, &headers(&[kind])), "{status}");
        }
        let large = headers(&[
            kind,
            ("content-length", "1024"),
            ("cache-control", "no-store"),
        ]);
        for status in [200, 404, 500] {
            assert!(is_eligible(StatusCode::from_u16(status).unwrap(), &large));
        }
    }

    #[test]
    fn a_validator_is_weakened_once() {
        let weak = |text: &str| {
            let weak = weakened(&HeaderValue::from_str(text).unwrap())?;
            Some(weak.to_str().unwrap().to_owned())
        };
        assert_eq!(weak("\"a\"").as_deref(), Some("W/\"a\""));
        assert_eq!(weak("W/\"a\"").as_deref(), Some("W/\"a\""));
        assert_eq!(weak("a"), None);
    }
}
