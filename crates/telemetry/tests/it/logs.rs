use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
};

use super::child;

const MORE_THAN_WAIT: usize = 20_000;
const WENT_ON: &str = "went on";

/// Runs as a child: says something inside a span, then panics.
#[test]
fn talking() {
    if child::is("logs::talking") {
        let config = telemetry::Config {
            service: "agent",
            otlp_endpoint: None,
            log_filter: Some("info".to_owned()),
        };
        let _guard = telemetry::init(&config).unwrap();
        let span = tracing::info_span!("start", instance = "ins_1");
        span.in_scope(|| tracing::warn!(attempt = 2, "the image can't be pulled"));
        tracing::debug!("not of interest");
        panic!("a bug");
    }
}

#[test]
fn each_line_is_json_even_of_a_panic() {
    let output = child::command("logs::talking").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let [said, panicked] = lines.as_slice() else {
        panic!("{text}");
    };
    assert_eq!(said["level"], "WARN");
    assert_eq!(said["message"], "the image can't be pulled");
    assert_eq!(said["attempt"], 2);
    assert_eq!(said["span"]["instance"], "ins_1");
    assert_eq!(panicked["level"], "ERROR");
    assert_eq!(panicked["message"], "panic: a bug");
    assert!(panicked["location"].as_str().unwrap().contains("logs.rs"));
}

/// Runs as a child: says more than anybody takes, and goes on.
#[test]
fn talking_to_nobody() {
    if child::is("logs::talking_to_nobody") {
        let config = telemetry::Config {
            service: "agent",
            otlp_endpoint: None,
            log_filter: Some("info".to_owned()),
        };
        let _guard = telemetry::init(&config).unwrap();
        (0..MORE_THAN_WAIT).for_each(|number| tracing::info!(number, "a line"));
        let metrics = telemetry::metrics::registry().gather();
        let dropped = metrics
            .iter()
            .find(|family| family.name() == "railhead_log_lines_dropped");
        assert!(dropped.unwrap().get_metric()[0].get_gauge().get_value() > 0.0);
        println!("{WENT_ON}");
    }
}

#[test]
fn nobody_waits_for_a_log_that_nobody_takes() {
    let mut command = child::command("logs::talking_to_nobody");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains(WENT_ON)));

    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(child.wait().unwrap().success());
    let lines = log.lines().filter(|line| line.contains("a line")).count();
    assert!((1..MORE_THAN_WAIT).contains(&lines), "{lines} lines");
}
