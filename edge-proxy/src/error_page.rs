//! The answers that the edge makes itself: a page for people, a problem document (RFC 9457) for
//! programs, and always `X-Railhead-Error` with the code.

use crate::decide::Refusal;

/// The header that says "the edge answered, not your application".
pub const HEADER: &str = "x-railhead-error";

/// An answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// The page for a refusal; HTML when the client accepts it by name, else a problem document.
#[must_use]
pub fn render(refusal: Refusal, accept: Option<&str>, request_id: &str) -> Page {
    render_saying(refusal, detail(refusal), accept, request_id)
}

/// The same with other words.
#[must_use]
pub fn render_saying(
    refusal: Refusal,
    detail: &str,
    accept: Option<&str>,
    request_id: &str,
) -> Page {
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        Page {
            content_type: "text/html; charset=utf-8",
            body: html(refusal, detail, request_id),
        }
    } else {
        Page {
            content_type: "application/problem+json",
            body: problem(refusal, detail, request_id),
        }
    }
}

/// A whole HTTP/1.1 answer that closes the connection, for heads that never reached the proxy.
#[must_use]
pub fn http1(refusal: Refusal, request_id: &str) -> String {
    let page = render(refusal, None, request_id);
    format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Request-Id: {request_id}\r\n{HEADER}: {}\r\nConnection: close\r\n\r\n{}",
        refusal.status(),
        title(refusal),
        page.content_type,
        page.body.len(),
        refusal.code(),
        page.body,
    )
}

fn problem(refusal: Refusal, detail: &str, request_id: &str) -> String {
    serde_json::json!({
        "type": format!("urn:railhead:edge:{}", refusal.code()),
        "title": title(refusal),
        "status": refusal.status(),
        "detail": detail,
        "code": refusal.code(),
        "request_id": request_id,
    })
    .to_string()
}

fn html(refusal: Refusal, detail: &str, request_id: &str) -> String {
    let (status, title, detail) = (refusal.status(), title(refusal), escaped(detail));
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{status} {title}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;\
         color:#222}}h1{{font-size:1.5em}}small{{color:#666}}@media(prefers-color-scheme:dark)\
         {{body{{background:#111;color:#ddd}}}}</style></head><body><h1>{status} · {title}</h1>\
         <p>{detail}</p><p><small>Answered by the edge ({code}). Request {request_id}.</small></p>\
         </body></html>\n",
        code = refusal.code(),
    )
}

/// As text of a page.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

const fn title(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BadRequest => "Bad Request",
        Refusal::HeaderTimeout => "Request Timeout",
        Refusal::HeaderTooLarge => "Request Header Fields Too Large",
        Refusal::BodyTooLarge => "Content Too Large",
        Refusal::Misdirected => "Misdirected Request",
        Refusal::UnknownHost | Refusal::UnknownPath => "Not Found",
        Refusal::TooManyHops => "Loop Detected",
        Refusal::NoInstance | Refusal::OverCapacity => "Service Unavailable",
        Refusal::InstanceFailed => "Bad Gateway",
        Refusal::FirstByteTimeout | Refusal::TotalTimeout => "Gateway Timeout",
        Refusal::RulesMissing => "Service Unavailable",
        Refusal::Blocked(_) => "Blocked",
        Refusal::RateLimited => "Too Many Requests",
        Refusal::Unauthorized => "Unauthorized",
        Refusal::Maintenance => "Maintenance",
        Refusal::Internal => "Internal Server Error",
    }
}

const fn detail(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::BadRequest => "The request is not valid HTTP, or could be read in two ways.",
        Refusal::HeaderTimeout => "The request's header did not arrive within 10 seconds.",
        Refusal::HeaderTooLarge => {
            "The request's header is larger than 32 KiB or has more than 100 fields."
        }
        Refusal::BodyTooLarge => "The request's body is larger than this service accepts.",
        Refusal::Misdirected => {
            "This connection's certificate is not good for the host asked for: open a new one."
        }
        Refusal::UnknownHost => "No service has this host name. Add it with `railhead domain add`.",
        Refusal::UnknownPath => "No service has this path of the host name.",
        Refusal::TooManyHops => "The request passed too many edges without finding an instance.",
        Refusal::NoInstance => {
            "No instance of this service answers in any region. Its logs and deployments say why."
        }
        Refusal::OverCapacity => {
            "This service has as many requests as it takes at a time. Come back in a moment."
        }
        Refusal::InstanceFailed => "The instance closed the connection before it answered.",
        Refusal::FirstByteTimeout => "The instance did not begin to answer in time.",
        Refusal::TotalTimeout => {
            "The answer was not complete in the time that this service allows."
        }
        Refusal::RulesMissing => {
            "This edge can't use the rules of this service. Its operator finds the reason in the edge's log."
        }
        Refusal::Blocked(_) => "A rule of this service does not allow the request.",
        Refusal::RateLimited => "There were too many requests. Try again a little later.",
        Refusal::Unauthorized => "A user name and a password are needed here.",
        Refusal::Maintenance => "This service is being worked on. Try again later.",
        Refusal::Internal => "The edge failed. The request's id finds the reason in its log.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_a_page_and_programs_a_problem() {
        let page = render(Refusal::NoInstance, Some("text/html,*/*;q=0.8"), "id-1");
        assert!(page.content_type.starts_with("text/html") && page.body.contains("id-1"));
        for accept in [None, Some("*/*"), Some("application/json")] {
            let page = render(Refusal::NoInstance, accept, "id-1");
            let problem: serde_json::Value = serde_json::from_str(&page.body).unwrap();
            assert_eq!(problem["code"], "no_instance");
            assert_eq!(problem["status"], 503);
            assert_eq!(problem["request_id"], "id-1");
        }
    }

    #[test]
    fn a_tenants_words_are_text() {
        let words = "<script>\"&";
        let page = render_saying(Refusal::Maintenance, words, Some("text/html"), "id-1");
        assert!(
            page.body.contains("&lt;script&gt;&quot;&amp;"),
            "{}",
            page.body
        );
        let page = render_saying(Refusal::Maintenance, words, None, "id-1");
        let problem: serde_json::Value = serde_json::from_str(&page.body).unwrap();
        assert_eq!(problem["detail"], words);
    }

    #[test]
    fn every_refusal_is_a_whole_http1_answer() {
        for refusal in Refusal::ALL {
            let answer = http1(refusal, "id");
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                head.contains(&format!("Content-Length: {}", body.len())),
                "{head}"
            );
            assert!(
                head.contains(&format!("{HEADER}: {}", refusal.code())),
                "{head}"
            );
        }
    }
}
