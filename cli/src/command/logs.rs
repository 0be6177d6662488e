//! `logs`: what instances or a build wrote, also after they are gone. With `--follow` it goes on,
//! over as many connections as it takes, without a line twice.

mod seen;

use ::api::{
    Page,
    client::{Client, with_query},
    deployment::{Deployment, DeploymentSource},
    log::{LogLine, LogRecord},
};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use console::Style;
use domain::quantity::Span;
use futures::StreamExt;

use self::seen::Seen;
use super::{deployment, status};
use crate::{
    context::Context,
    error::{Error, Result},
    link::Chosen,
    output::Output,
    target::Target,
};

/// The platform may be away so long while we follow.
const OUTAGE_MAX: u32 = 60;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Go on with new lines
    #[arg(short, long)]
    follow: bool,
    /// At most so many of the newest lines
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: u32,
    /// From a time on: 10m, 2h or 2026-01-31T12:00:00Z
    #[arg(short = 'S', long, value_name = "TIME", value_parser = moment)]
    since: Option<DateTime<Utc>>,
    /// Before a time
    #[arg(short = 'U', long, value_name = "TIME", value_parser = moment, conflicts_with = "follow")]
    until: Option<DateTime<Utc>>,
    /// Only lines that contain this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// The log of the build instead, all of it
    #[arg(long, conflicts_with_all = ["since", "until", "filter", "lines"])]
    build: bool,
    /// Only this deployment, by number or id; with --build the newest one when left out
    #[arg(long, value_name = "DEPLOYMENT")]
    deployment: Option<String>,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let client = context.client()?;
    let service = Target::new(context, &client).service().await?;
    let deployment = which_deployment(&client, &service, &arguments).await?;
    let mut tail = Tail {
        output: context.output,
        seen: Seen::default(),
    };
    match deployment {
        Some(deployment) if arguments.build => {
            let path = format!("/v1/deployments/{}/logs", deployment.id);
            let follow = arguments.follow.to_string();
            tail.read(&client, &with_query(&path, &[("follow", &follow)]))
                .await?;
        }
        deployment => {
            let query = query(&arguments, deployment.as_ref());
            let path = format!("/v1/services/{}/logs", service.id);
            tail.run(&client, &path, query, arguments.follow).await?;
        }
    }
    say_if_empty(context, &tail.seen)
}

/// An empty log is said, so that it isn't taken for a failure.
fn say_if_empty(context: &Context, seen: &Seen) -> Result {
    if seen.total() > 0 || context.output.json {
        return Ok(());
    }
    context.output.note("no such lines")
}

async fn which_deployment(
    client: &Client,
    service: &Chosen,
    arguments: &Arguments,
) -> Result<Option<Deployment>> {
    if let Some(wanted) = &arguments.deployment {
        return deployment::find(client, service, wanted).await.map(Some);
    }
    if !arguments.build {
        return Ok(None);
    }
    let path = format!("/v1/services/{}/deployments?limit=50", service.id);
    let newest: Page<Deployment> = client.get(&path).await?;
    let built = newest.items.into_iter().find(has_build);
    built.map(Some).ok_or_else(|| {
        Error::usage(
            format!(
                "{} was not built lately, so there is no such log",
                service.name
            ),
            "railhead deployment list, then railhead logs --build --deployment NUMBER",
        )
    })
}

/// Whether the deployment's source was built, rather than an image taken as it is.
pub fn has_build(deployment: &Deployment) -> bool {
    matches!(
        deployment.source,
        DeploymentSource::Git { .. }
            | DeploymentSource::Archive { .. }
            | DeploymentSource::Image { .. }
    )
}

type Query = Vec<(&'static str, String)>;

fn query(arguments: &Arguments, deployment: Option<&Deployment>) -> Query {
    let time = |at: &DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    [
        ("limit", Some(arguments.lines.to_string())),
        ("since", arguments.since.as_ref().map(time)),
        ("until", arguments.until.as_ref().map(time)),
        ("filter", arguments.filter.clone()),
        ("follow", Some(arguments.follow.to_string())),
        (
            "deployment_id",
            deployment.map(|deployment| deployment.id.to_string()),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}

struct Tail {
    output: Output,
    seen: Seen,
}

impl Tail {
    async fn run(&mut self, client: &Client, path: &str, mut query: Query, follow: bool) -> Result {
        let mut failures = 0;
        loop {
            let before = self.seen.total();
            match self.read(client, &path_with(path, &query)).await {
                Err(Error::Api(error))
                    if follow && error.is_transient() && failures < OUTAGE_MAX =>
                {
                    self.output.detail(&format!("{error}; trying again"));
                }
                Ok(()) if follow => {}
                end => return end,
            }
            failures = if self.seen.total() > before {
                0
            } else {
                failures + 1
            };
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            if let Some(at) = self.seen.resume_from() {
                let since = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
                query.retain(|(name, _)| !matches!(*name, "since" | "limit"));
                query.extend([("since", since), ("limit", "10000".to_owned())]);
            }
        }
    }

    async fn read(&mut self, client: &Client, path: &str) -> Result {
        let mut stream = client.ndjson::<LogRecord>(path).await?;
        while let Some(record) = stream.next().await {
            let record = record?;
            if self.seen.is_new(&record) {
                self.print(&record)?;
            }
        }
        Ok(())
    }

    fn print(&self, record: &LogRecord) -> Result {
        if self.output.json {
            return self.output.record(record);
        }
        match record {
            LogRecord::Line(line) => self.output.print(&text(self.output, line)),
            LogRecord::Gap { at, dropped, .. } => self.output.note(&format!(
                "… {dropped} lines were lost before {} (limits: 500 lines a second, 1 GiB per node)",
                at.format("%H:%M:%S")
            )),
            LogRecord::Idle => Ok(()),
        }
    }
}

fn path_with(path: &str, query: &Query) -> String {
    let pairs: Vec<(&str, &str)> = query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    with_query(path, &pairs)
}

fn text(output: Output, line: &LogLine) -> String {
    let time = line.at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    let origin = line.instance_id.map_or_else(String::new, |id| {
        let region = line.region.as_ref().map_or("", |region| region.as_str());
        format!("{region}/{} ", status::short_id(&id.to_string()))
    });
    let dim = Style::new().dim();
    format!(
        "{} {}{}",
        output.paint(&time, &dim),
        output.paint(&origin, &Style::new().cyan()),
        output.foreign(&line.text)
    )
}

/// "10m" (ago) or a point in time.
fn moment(text: &str) -> std::result::Result<DateTime<Utc>, String> {
    if let Ok(ago) = text.parse::<Span>() {
        return chrono::Duration::from_std(ago.duration())
            .ok()
            .and_then(|ago| Utc::now().checked_sub_signed(ago))
            .ok_or_else(|| format!("{text} ago is too long ago"));
    }
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.with_timezone(&Utc))
        .map_err(|_| {
            "expected how long ago (30s, 10m, 2h, 1d) or a time such as 2026-01-31T12:00:00Z"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_how_long_ago() {
        let ago = Utc::now() - moment("10m").unwrap();
        assert!((599..=601).contains(&ago.num_seconds()));
        assert_eq!(
            moment("2026-01-31T12:00:00+01:00").unwrap().to_rfc3339(),
            "2026-01-31T11:00:00+00:00"
        );
        for text in ["yesterday", "", "10 m", "99999999999y"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
