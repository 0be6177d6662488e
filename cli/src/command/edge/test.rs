//! `edge rules test URL`: which rules a request would meet, and what would become of it. By the same code as at the edges;
//! limits are taken as not reached.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;
use domain::spec::EdgeAction;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rules::{Decision, Place, Request, Rules, Unlimited, Verdict};
use serde::Serialize;
use url::Url;

use super::{file, rules_of};
use crate::{
    context::Context,
    error::{Error, Result},
    output::{Cell, Table, Tone},
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Such as https://shop.example.com/login?next=/
    url: Url,
    /// Rules to test in the place of the service's; - reads standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Method of the request
    #[arg(long, default_value = "GET")]
    method: Method,
    /// Header of the request; repeat for more
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    ip: IpAddr,
    /// The client's country, two letters
    #[arg(long, value_name = "CODE")]
    country: Option<String>,
    /// Number of the client's autonomous system
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    asn: u32,
    /// Region of the edge that the client comes to
    #[arg(long, value_name = "REGION", default_value = "")]
    region: String,
}

fn header(text: &str) -> std::result::Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("expected NAME: VALUE, such as accept: text/html")?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| format!("\"{name}\" is not the name of a header"))?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("\"{value}\" is not a header's value"))?;
    Ok((name, value))
}

/// What would become of the request.
#[derive(Debug, Serialize)]
struct Explanation {
    rules: Vec<Explained>,
    /// `pass`, `block`, `redirect`, `unauthorized` or `maintenance`.
    verdict: &'static str,
    /// The rule that decides; none when all are passed.
    decided_by: Option<String>,
    status: Option<u16>,
    location: Option<String>,
    /// What the instance would be asked for.
    path: String,
}

#[derive(Debug, Serialize)]
struct Explained {
    rule: String,
    action: &'static str,
    matches: bool,
    /// Not asked: one before it has decided.
    reached: bool,
}

pub async fn run(context: &Context, arguments: &Arguments) -> Result {
    let edge = rules_of(context, arguments.file.as_deref()).await?;
    let compiled = file::compile(&edge)?;
    let explanation = arguments.explain(&compiled)?;
    let output = context.output;
    output.show(&explanation, || {
        let table = output.render(table(&explanation.rules));
        format!("{table}\n{}", explanation.sentence())
    })
}

impl Arguments {
    fn explain(&self, rules: &Rules) -> Result<Explanation> {
        let host = self.url.host_str().ok_or_else(|| {
            Error::usage("the URL names no host", "https://shop.example.com/login")
        })?;
        let headers: HeaderMap = self.headers.iter().cloned().collect();
        let asked = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let method = self.method.as_str();
        let mut request = Request::new(method, &asked, host, &headers, self.ip);
        request.place = Place::new(self.country.as_deref(), self.asn);
        request.region = &self.region;
        request.tls = self.url.scheme() == "https";
        let decision = rules.decide(&request, &Unlimited);
        Ok(Explanation::new(rules, &request, &asked, decision))
    }
}

impl Explanation {
    fn new(rules: &Rules, request: &Request<'_>, asked: &str, decision: Decision) -> Self {
        let last = decision.decided_by.unwrap_or(usize::MAX);
        let explained = rules.explain(request).into_iter().enumerate();
        let explained = explained.map(|(index, (label, matches))| Explained {
            rule: label.to_owned(),
            action: rules.action(index).map_or("", EdgeAction::word),
            matches,
            reached: index <= last,
        });
        let (verdict, status, location) = match decision.verdict {
            Verdict::Pass => ("pass", None, None),
            Verdict::Block { status } => ("block", Some(status), None),
            Verdict::Redirect { status, location } => ("redirect", Some(status), Some(location)),
            Verdict::RateLimited(_) => ("rate_limit", Some(429), None),
            Verdict::Unauthorized => ("unauthorized", Some(401), None),
            Verdict::Maintenance => ("maintenance", Some(503), None),
        };
        let decided_by = decision
            .decided_by
            .map(|index| rules.label(index).to_owned());
        let path = decision.rewritten.map(|path| path.to_string());
        Self {
            rules: explained.collect(),
            verdict,
            decided_by,
            status,
            location,
            path: path.unwrap_or_else(|| asked.to_owned()),
        }
    }

    fn sentence(&self) -> String {
        let by = match &self.decided_by {
            Some(rule) => format!(" (rule {rule})"),
            None => String::new(),
        };
        match (self.status, &self.location) {
            (Some(status), Some(location)) => format!("answered {status} → {location}{by}"),
            (Some(status), None) => format!("answered {status}, {}{by}", self.verdict),
            (None, _) => format!("goes on to an instance as {}{by}", self.path),
        }
    }
}

fn table(rules: &[Explained]) -> Table {
    Table::of(&["RULE", "ACTION", "MATCHES"], rules, |explained| {
        let matches = match (explained.reached, explained.matches) {
            (false, _) => Cell::dim("not asked"),
            (true, true) => Cell::new("yes", Tone::Good),
            (true, false) => Cell::dim("no"),
        };
        [
            explained.rule.as_str().into(),
            explained.action.into(),
            matches,
        ]
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use domain::spec::EdgeSpec;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn explain(rules: &str, line: &[&str]) -> Explanation {
        let edge: EdgeSpec = toml::from_str(rules).unwrap();
        let compiled = file::compile(&edge).unwrap();
        let line = ["test"].iter().chain(line);
        let line = Line::try_parse_from(line).unwrap();
        line.arguments.explain(&compiled).unwrap()
    }

    const RULES: &str = r#"
[[rules]]
if = 'request.path.startsWith("/api")'
then = { action = "rewrite", path = "{path}", strip_prefix = "/api" }
[[rules]]
name = "abroad"
if = 'request.country != "DE" && request.headers["x-key"] != "1"'
then = { action = "block" }
[[rules]]
if = '!request.tls'
then = { action = "redirect", to = "https://{host}{path}" }
"#;

    #[test]
    fn a_decision_names_the_rule_and_what_came_of_it() {
        let blocked = explain(RULES, &["https://shop.test/api/x?y"]);
        assert_eq!(
            blocked.sentence(),
            "answered 403, block (rule abroad)",
            "{blocked:?}"
        );
        let reached: Vec<_> = blocked.rules.iter().map(|rule| rule.reached).collect();
        assert_eq!(reached, [true, true, false]);

        let passed = explain(RULES, &["https://shop.test/api/x?y", "--country", "de"]);
        assert_eq!(passed.sentence(), "goes on to an instance as /x?y");

        let line = ["http://shop.test/a", "--header", "X-Key: 1"];
        let moved = explain(RULES, &line);
        assert_eq!(
            moved.sentence(),
            "answered 302 → https://shop.test/a (rule #3)"
        );
    }

    #[test]
    fn headers_are_names_and_values() {
        assert!(header("accept: text/html").is_ok());
        for text in ["accept", ": x", "a b: c", "a: b\nc"] {
            assert!(header(text).is_err(), "{text:?}");
        }
    }
}
