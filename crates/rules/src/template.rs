//! Addresses with parts of the request in them: `https://www.example.com{path}{query}`. What is filled in becomes part of
//! a head, so nothing can come out that is more than an address, nor one of another site than is written.

use http::uri::PathAndQuery;
use percent_encoding::{CONTROLS, utf8_percent_encode};

use crate::Request;

/// Parts of the request in one address: a path may be as long as a head, and an edge keeps an answer until it is read.
const FILLED_MAX: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Path,
    Query,
    Host,
}

/// An address in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

impl Template {
    /// Reads `{path}`, `{query}` and `{host}`; no other use of braces is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("a \"{\" has no \"}\"")?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(match name {
                "path" => Part::Path,
                "query" => Part::Query,
                "host" => Part::Host,
                other => {
                    return Err(format!(
                        "there is no {{{other}}}: {{path}}, {{query}} and {{host}} are known"
                    ));
                }
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let has_brace = |part: &Part| matches!(part, Part::Text(text) if text.contains('}'));
        if parts.iter().any(has_brace) {
            return Err("a \"}\" has no \"{\"".to_owned());
        }
        if parts
            .iter()
            .filter(|part| !matches!(part, Part::Text(_)))
            .count()
            > FILLED_MAX
        {
            return Err(format!(
                "{{path}}, {{query}} and {{host}} stand there more than {FILLED_MAX} times in all"
            ));
        }
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self(parts))
    }

    /// As `Location` of an answer. A path of this site stays one: browsers take `//` for the begin of another site.
    pub(crate) fn location(&self, request: &Request<'_>) -> String {
        let filled = self.fill(request, path_of(request));
        let local = filled.strip_prefix('/');
        let filled = match local {
            Some(rest) => format!("/{}", rest.trim_start_matches(['/', '\\'])),
            None => filled,
        };
        utf8_percent_encode(&filled, CONTROLS).to_string()
    }

    /// As what an instance is asked for, the path without `prefix` first. None when it is no path.
    pub(crate) fn path(&self, request: &Request<'_>, prefix: Option<&str>) -> Option<PathAndQuery> {
        let mut filled = self.fill(request, without(path_of(request), prefix));
        if !filled.contains('?') && !request.query.is_empty() {
            filled.push('?');
            filled.push_str(request.query);
        }
        filled.parse().ok()
    }

    fn fill(&self, request: &Request<'_>, path: &str) -> String {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Path => filled.push_str(path),
                Part::Host => filled.push_str(request.host),
                Part::Query if request.query.is_empty() => {}
                Part::Query => {
                    filled.push('?');
                    filled.push_str(request.query);
                }
            }
        }
        filled
    }
}

/// `OPTIONS *` asks for no path.
fn path_of<'a>(request: &'a Request<'_>) -> &'a str {
    match request.raw_path {
        path if path.starts_with('/') => path,
        _ => "/",
    }
}

/// `/api` of `/api/x` leaves `/x`, of `/apix` nothing is taken.
fn without<'a>(path: &'a str, prefix: Option<&str>) -> &'a str {
    let prefix = prefix.map(|prefix| prefix.trim_end_matches('/'));
    match prefix.and_then(|prefix| path.strip_prefix(prefix)) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    fn with<T>(path_and_query: &str, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers = HeaderMap::new();
        let ip = [192, 0, 2, 7].into();
        ask(&Request::new("GET", path_and_query, "a.test", &headers, ip))
    }

    fn location(template: &str, path_and_query: &str) -> String {
        let template = Template::parse(template).unwrap();
        with(path_and_query, |request| template.location(request))
    }

    fn path(template: &str, prefix: Option<&str>, path_and_query: &str) -> String {
        let template = Template::parse(template).unwrap();
        with(path_and_query, |request| template.path(request, prefix))
            .unwrap()
            .to_string()
    }

    #[test]
    fn parts_of_the_request_are_filled_in() {
        for (template, asked, expected) in [
            (
                "https://b.test{path}{query}",
                "/x?y=1",
                "https://b.test/x?y=1",
            ),
            ("https://b.test{path}{query}", "/x", "https://b.test/x"),
            ("https://www.{host}/", "/x?y", "https://www.a.test/"),
            ("/new", "/x?y", "/new"),
            ("https://b.test{path}", "*", "https://b.test/"),
            ("/{path}", "//evil.test/x", "/evil.test/x"),
            ("https://b.test{path}", "/ä", "https://b.test/%C3%A4"),
        ] {
            assert_eq!(location(template, asked), expected, "{template} of {asked}");
        }
    }

    #[test]
    fn an_instance_is_asked_for_the_new_path_and_the_same_query() {
        for (template, prefix, asked, expected) in [
            ("/v2{path}", None, "/x?y=1", "/v2/x?y=1"),
            ("{path}", Some("/api"), "/api/x", "/x"),
            ("{path}", Some("/api/"), "/api?y", "/?y"),
            ("{path}", Some("/api"), "/apix", "/apix"),
            ("/fixed?z=2", None, "/x?y=1", "/fixed?z=2"),
        ] {
            assert_eq!(
                path(template, prefix, asked),
                expected,
                "{template} of {asked}"
            );
        }
    }

    #[test]
    fn braces_have_one_use() {
        for text in ["/{", "/}", "/{path", "/{pathx}", "/{}", "/{{path}}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_not_many_times_as_long_as_its_request() {
        assert!(Template::parse("https://{host}{path}{query}").is_ok());
        assert!(Template::parse("{path}{path}{path}{path}").is_err());
    }

    proptest! {
        #[test]
        fn a_redirect_leads_to_the_site_that_is_written(asked in "/[ -~]{0,30}") {
            let local = location("{path}{query}", &asked);
            prop_assert!(!local.starts_with("//") && !local.starts_with("/\\"), "{}", local);
            let absolute = location("https://b.test{path}{query}", &asked);
            prop_assert!(absolute.starts_with("https://b.test/"), "{}", absolute);
            prop_assert!(absolute.bytes().all(|b| (0x20..0x7f).contains(&b)));
        }
    }
}
