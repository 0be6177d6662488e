//! What is written where: results to standard output without colours, streams as NDJSON, foreign
//! text made harmless.

use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::support::{Asked, FakeApi, User, finish, id, ok, page};

fn with_logs(asked: &Asked) -> axum::response::Response {
    let line = |text: &str| {
        json!({ "kind": "line", "at": "2026-01-01T00:00:00Z", "stream": "stdout", "text": text,
                "instance_id": id("ins", 7), "region": "eu-west" })
    };
    if asked.path.ends_with("/logs") {
        let records = [
            line("\x1b[31mred\x1b[0m \x1b]0;retitled\x07 done"),
            json!({ "kind": "idle" }),
            json!({ "kind": "gap", "at": "2026-01-01T00:00:01Z", "dropped": 12 }),
            line("second"),
        ];
        let text: String = records.iter().map(|record| format!("{record}\n")).collect();
        return text.into_response();
    }
    ok(&json!({ "id": id("svc", 1), "name": "web" }))
}

#[tokio::test]
async fn logs_are_plain_text_for_people_and_ndjson_for_programs() {
    let api = FakeApi::start(with_logs).await;
    let (user, service) = (User::new(), id("svc", 1));
    let text = user.run(&api, &["logs", "-s", &service]).await;
    assert_eq!(
        text.stdout,
        "2026-01-01T00:00:00.000Z eu-west/00000007 red  done\n2026-01-01T00:00:00.000Z eu-west/00000007 second\n"
    );
    assert!(
        text.stderr.contains("12 lines were lost"),
        "{}",
        text.stderr
    );

    let json = user.run(&api, &["logs", "-s", &service, "--json"]).await;
    let kinds: Vec<Value> = json
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone())
        .collect();
    assert_eq!(kinds, ["line", "gap", "line"]);
}

#[tokio::test]
async fn a_table_has_no_colours_without_a_terminal_and_json_is_whole() {
    let api = FakeApi::start(|asked| match asked.path.as_str() {
        "/v1/regions" => page(&[json!({
            "id": id("rgn", 1), "name": "eu-west", "enabled": true, "version": 1,
            "created_at": chrono::Utc::now(),
        })]),
        _ => page(&[]),
    })
    .await;
    let user = User::new();
    let table = user.run(&api, &["region", "list"]).await;
    assert!(
        table.stdout.starts_with("REGION") && table.stdout.contains("eu-west  enabled"),
        "{}",
        table.stdout
    );
    assert!(!table.stdout.contains('\x1b'));
    let json = user.run(&api, &["region", "list", "--json"]).await;
    let regions: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(regions[0]["name"], "eu-west");

    let none = user.run(&api, &["node", "list"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert!(
        none.stderr.contains("railhead node token"),
        "{}",
        none.stderr
    );
    let none = user.run(&api, &["node", "list", "--json"]).await;
    assert_eq!(none.stdout.trim(), "[]");
}

#[tokio::test]
async fn lists_are_read_to_their_last_page() {
    let api = FakeApi::start(|asked| {
        let region = |number: u32| {
            json!({ "id": id("rgn", number), "name": format!("r-{number}"), "enabled": true, "version": 1,
                    "created_at": "2026-01-01T00:00:00Z" })
        };
        if asked.query.contains("cursor=two") {
            ok(&json!({ "items": [region(2)] }))
        } else {
            ok(&json!({ "items": [region(1)], "next_cursor": "two" }))
        }
    })
    .await;
    let ran = User::new().run(&api, &["region", "list", "--json"]).await;
    let regions: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(regions.len(), 2);
}

#[tokio::test]
async fn a_reader_that_leaves_early_is_no_error() {
    let api = FakeApi::start(|asked| match asked.path.as_str() {
        "/v1/organizations" => page(&[json!({ "id": id("org", 1), "name": "acme" })]),
        _ => {
            let event = |number| {
                json!({ "id": id("aud", number), "at": "2026-01-01T00:00:00Z", "actor_kind": "system",
                        "action": "x", "outcome": "success", "request_id": "r", "occurrences": 1, "detail": {} })
            };
            page(&(0..2_000).map(event).collect::<Vec<_>>())
        }
    })
    .await;
    let user = User::new();
    let binary = env!("CARGO_BIN_EXE_railhead");
    let mut pipe = std::process::Command::new("bash");
    pipe.args([
        "-c",
        &format!("'{binary}' audit export | head -n 1; exit ${{PIPESTATUS[0]}}"),
    ])
    .current_dir(user.folder.path())
    .env_clear()
    .env("HOME", user.home.path())
    .env("PATH", std::env::var_os("PATH").unwrap_or_default())
    .env("RAILHEAD_API", &api.url)
    .env("RAILHEAD_TOKEN", "secret");
    let ran = finish(pipe).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout.lines().count(), 1);
}

#[tokio::test]
async fn verbose_shows_requests_and_the_trace_that_they_carry() {
    let api = FakeApi::start(|_| page(&[])).await;
    let ran = User::new().run(&api, &["-v", "region", "list"]).await;
    let asked = api.asked();
    let trace = asked[0]
        .header("traceparent")
        .split('-')
        .nth(1)
        .unwrap()
        .to_owned();
    assert!(
        ran.stderr.contains(&format!("trace {trace}")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("GET /v1/regions → 200 OK"),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn bash_completes_commands_and_their_options() {
    let user = User::new();
    let binary = env!("CARGO_BIN_EXE_railhead");
    let mut bash = std::process::Command::new("bash");
    bash.args([
        "-c",
        &format!(
            "source <('{binary}' completion bash); COMP_WORDS=(railhead domain ''); COMP_CWORD=2; \
             _railhead railhead '' domain; echo \"${{COMPREPLY[@]}}\""
        ),
    ])
    .env("HOME", user.home.path());
    let ran = finish(bash).await;
    for word in ["list", "add", "check", "remove", "--json"] {
        assert!(ran.stdout.contains(word), "{}{}", ran.stdout, ran.stderr);
    }
}

#[tokio::test]
async fn completion_scripts_are_for_each_shell() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = finish(user.command(&["completion", shell])).await;
        assert_eq!(ran.code, 0);
        assert!(
            ran.stdout.contains("railhead") && ran.stdout.contains("rollback"),
            "{shell}"
        );
    }
}
