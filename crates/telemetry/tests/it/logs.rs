use super::child;

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
