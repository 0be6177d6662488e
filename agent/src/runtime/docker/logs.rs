//! A container's lines, with the engine's time of each, until it ends.

use bollard::{Docker, container::LogOutput, query_parameters::LogsOptionsBuilder};
use chrono::{DateTime, Utc};
use domain::id::InstanceId;
use futures::{StreamExt, stream::BoxStream};
use protocol::log::{LogLine, Stream};

use super::{Error, container_name, failed};

pub(super) fn follow(
    client: &Docker,
    instance: InstanceId,
    since: Option<DateTime<Utc>>,
) -> BoxStream<'static, Result<LogLine, Error>> {
    let seconds = since.map_or(0, |since| since.timestamp());
    let options = LogsOptionsBuilder::new()
        .follow(true)
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .since(i32::try_from(seconds).unwrap_or(0))
        .build();
    client
        .logs(&container_name(instance), Some(options))
        .map(|output| output.map(line).map_err(failed("send logs")))
        .filter(move |line| {
            let seen = matches!(line, Ok(line) if since.is_some_and(|since| line.at <= since));
            std::future::ready(!seen)
        })
        .boxed()
}

/// The engine writes the time before each line.
fn line(output: LogOutput) -> LogLine {
    let (stream, bytes) = match output {
        LogOutput::StdErr { message } => (Stream::Stderr, message),
        LogOutput::StdOut { message }
        | LogOutput::StdIn { message }
        | LogOutput::Console { message } => (Stream::Stdout, message),
    };
    let whole = String::from_utf8_lossy(&bytes);
    let (time, text) = whole.split_once(' ').unwrap_or(("", &whole));
    LogLine {
        at: time.parse().unwrap_or_else(|_| Utc::now()),
        stream,
        text: text.trim_end_matches(['\n', '\r']).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_the_time_from_the_line_and_keeps_spaces() {
        let line = line(LogOutput::StdErr {
            message: "2026-11-20T10:00:00.123456789Z   two words \n".into(),
        });
        assert_eq!(line.text, "  two words ");
        assert_eq!(line.stream, Stream::Stderr);
        assert_eq!(line.at.timestamp_subsec_nanos(), 123_456_789);
    }
}
