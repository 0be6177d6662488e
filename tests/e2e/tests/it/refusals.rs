//! Bad input, end to end, as a user of the command line meets it: each has its code and says what to do,
//! and afterwards everything is as it was. The table of all of it is docs/guide/errors.md.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    command::{Said, run},
    edge::{Edge, Version},
    example::{about, answers_from, hello},
    platform::{Fixture, Platform, railhead},
    wait,
};
use serde_json::{Value, json};
use testkit::git_server::generate_key;

use crate::support::{example, git_server, repository};

/// A version that can't be made or run.
struct Refusal {
    /// The part of the specification that is changed.
    change: Value,
    code: &'static str,
    /// What to do about it.
    advice: &'static str,
}

fn refusal(change: Value, code: &'static str, advice: &'static str) -> Refusal {
    Refusal {
        change,
        code,
        advice,
    }
}

fn of_repo(repo: String) -> Value {
    json!({ "source": { "repo": repo } })
}

fn of_image(image: &str) -> Value {
    json!({ "source": { "image": image } })
}

/// A repository with the Dockerfile of an example.
fn of_example(platform: &Platform, name: &str) -> Result<Value> {
    let dockerfile = std::fs::read_to_string(example(name).join("Dockerfile"))?;
    let files = [("Dockerfile", dockerfile.as_str())];
    Ok(of_repo(
        repository(platform, name, Some(&files))?.file_url(),
    ))
}

fn sources(platform: &Platform, private: &str) -> Result<Vec<Refusal>> {
    let missing = format!("{}-missing", platform.status.example_repository);
    let mut branch = of_repo(platform.status.example_repository.clone());
    branch["source"]["branch"] = json!("no-such-branch");
    let empty = repository(platform, "empty", None)?.file_url();
    let bare = repository(platform, "bare", Some(&[]))?.file_url();
    let broken = of_example(platform, "broken-build")?;
    let mut endless = of_example(platform, "endless-build")?;
    endless["build"] = json!({ "timeout": "10s" });
    Ok(vec![
        refusal(
            of_repo(missing),
            "repository_not_found",
            "Check the address",
        ),
        refusal(
            of_repo(private.to_owned()),
            "repository_private",
            "Add a deploy key",
        ),
        refusal(of_repo(empty), "repository_empty", "Push one"),
        refusal(branch, "reference_not_found", "no-such-branch"),
        refusal(
            of_repo(bare),
            "dockerfile_not_found",
            "build.dockerfile_path",
        ),
        refusal(broken, "dockerfile_failed", "exit code: 7"),
        refusal(endless, "build_timed_out", "raise build.timeout"),
    ])
}

fn images(platform: &Platform) -> Result<Vec<Refusal>> {
    let host = platform.host_address();
    let elsewhere = format!("{host}:1/acme/api:1.4");
    let foreign = format!(
        "{host}:5000/org_019234567890700080000000000000aa/svc_019234567890700080000000000000aa:1"
    );
    let mut silent = of_example(platform, "never-healthy")?;
    silent["deploy"] = json!({ "startup": { "interval": "1s", "timeout": "1s", "failures": 2 } });
    Ok(vec![
        refusal(
            of_image("no-such-image:1"),
            "image_not_found",
            "repository and tag",
        ),
        refusal(
            of_image("python:no-such-tag"),
            "image_not_found",
            "repository and tag",
        ),
        refusal(of_image(&elsewhere), "image_unreachable", "firewall"),
        refusal(of_image(&foreign), "invalid_field", "of your organization"),
        refusal(
            of_image("python:3.11-slim"),
            "image_runs_as_root",
            "deploy.confinement = \"baseline\"",
        ),
        refusal(silent, "startup_probe_failed", "network.port"),
    ])
}

/// Deploys as a user would; it must be refused.
async fn deploy(platform: &Platform, fixture: &Fixture, refusal: &Refusal) -> Result<Said> {
    let mut spec = hello(platform);
    for (key, value) in refusal.change.as_object().context("no table")? {
        spec[key] = value.clone();
    }
    platform.respecify(fixture.service.id, spec).await?;
    let service = fixture.service.id.to_string();
    run(railhead(platform)?.args(["deploy", "-s", &service])).await
}

/// The application that was live before answers as before.
async fn serves_on(edge: &Edge, before: &Value) -> Result<()> {
    let now = about(edge, Version::Http1).await?;
    ensure!(
        now["instance"] == before["instance"],
        "{before} has become {now}"
    );
    Ok(())
}

#[tokio::test]
async fn versions_that_can_not_be_made_or_run_say_why_and_leave_nothing_behind() -> Result<()> {
    let platform = Platform::shared().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    platform.deploy(fixture.service.id, None).await?;
    let edge = platform.edge("us-east", &fixture.host);
    answers_from(&edge, "us-east").await;
    answers_from(&platform.edge("eu-west", &fixture.host), "eu-west").await;
    let before = about(&edge, Version::Http1).await?;

    let folder = tempfile::tempdir()?;
    let stranger = folder.path().join("key");
    generate_key(&stranger)?;
    let public = std::fs::read_to_string(stranger.with_extension("pub"))?;
    let server = git_server(&platform, &public).await?;
    let private = server.url(folder.path());

    let mut refusals = sources(&platform, &private)?;
    refusals.extend(images(&platform)?);
    for refusal in &refusals {
        let traces = platform.traces(fixture.service.id).await?;
        let said = deploy(&platform, &fixture, refusal).await?;
        let what = format!("{}: {}", refusal.change, said.stderr);
        assert_eq!(said.code, 1, "{what}");
        let code = format!("code {}", refusal.code);
        assert!(said.stderr.contains(&code), "{code} is not in {what}");
        assert!(
            said.stderr.contains(refusal.advice),
            "{} is not in {what}",
            refusal.advice
        );
        serves_on(&edge, &before).await?;
        wait::until(&what, Duration::from_secs(60), || async {
            let now = platform.traces(fixture.service.id).await?;
            now.ensure_nothing_else_than(&traces)
        })
        .await;
    }
    platform.delete(&fixture).await
}

#[tokio::test]
async fn what_the_api_refuses_is_told_by_the_command_line_and_changes_nothing() -> Result<()> {
    let platform = Platform::shared().await?;
    let fixture = platform.fixture("web", hello(&platform)).await?;
    let service = fixture.service.id.to_string();
    let before: Value = platform
        .client
        .get(&format!("/v1/services/{service}"))
        .await?;
    for (key, value) in [
        ("A", "${{web.B}}"),
        ("B", "${{web.A}}"),
        ("C", "${{gone.X}}"),
    ] {
        let variable = format!("/v1/services/{service}/variables/{key}");
        let _: Value = platform
            .client
            .put(&variable, &json!({ "value": value }))
            .await?;
    }
    let projects = format!("/v1/organizations/{}/projects", platform.organization);
    let misspelt = r#"{"name":"a","nmae":1}"#;
    for (arguments, exit, says) in [
        (
            vec!["scale", "mars=1"],
            1,
            ["code unknown_region", "railhead region list"],
        ),
        (
            vec!["scale", "us-east=101"],
            1,
            ["code invalid_field", "at most 100"],
        ),
        (
            vec!["api", "POST", &projects, "-d", misspelt],
            1,
            ["code unknown_field", "expected `name`"],
        ),
        (
            vec!["domain", "add", "not a name"],
            1,
            ["code invalid_field", "at least two labels"],
        ),
        (
            vec!["service", "set", "--set", "deploy.strategi=rolling"],
            2,
            ["unknown field `strategi`", "`strategy`"],
        ),
        (
            vec!["service", "set", "--port", "0"],
            2,
            ["network.port", "between 1 and 65535"],
        ),
        (
            vec!["service", "set", "--image", "Bad:1"],
            2,
            ["source.image", "lower-case letters"],
        ),
        (
            vec!["service", "set", "--repo", "ext::sh"],
            2,
            ["source.repo", "https:// or ssh://"],
        ),
        (
            vec!["variable", "set", "A-B=1"],
            2,
            ["A-B", "letters, digits and underscores"],
        ),
        (
            vec!["deploy"],
            1,
            ["code reference_circular", "web.A → web.B → web.A"],
        ),
        (vec!["variable", "delete", "A", "--yes"], 0, ["", ""]),
        (
            vec!["deploy"],
            1,
            [
                "code reference_unresolved",
                "web.A, which does not exist: set it",
            ],
        ),
    ] {
        let mut command = railhead(&platform)?;
        let said = run(command.args(&arguments).args(["-s", &service])).await?;
        let what = format!(
            "{arguments:?} → {}: {}{}",
            said.code, said.stdout, said.stderr
        );
        assert_eq!(said.code, exit, "{what}");
        for part in says {
            assert!(said.stderr.contains(part), "{part} is not in {what}");
        }
    }
    let after: Value = platform
        .client
        .get(&format!("/v1/services/{service}"))
        .await?;
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(
        after["current_deployment_id"],
        before["current_deployment_id"]
    );
    let deployments: Vec<Value> = platform
        .client
        .list(&format!("/v1/services/{service}/deployments"))
        .await?;
    assert_eq!(deployments, Vec::<Value>::new());
    platform.delete(&fixture).await
}

/// A machine with the token of a node that has joined already.
#[tokio::test]
async fn a_machine_with_a_used_token_does_not_become_a_node() -> Result<()> {
    let platform = Platform::shared().await?;
    let nodes: Vec<Value> = platform.client.list("/v1/nodes").await?;
    let data = platform.data()?;
    let folder = tempfile::tempdir()?;
    let config = std::fs::read_to_string(data.join("config/us-east-agent.toml"))?;
    let file = folder.path().join("agent.toml");
    std::fs::write(&file, as_another(&config, folder.path()))?;

    let program = data.join("bin/agent");
    let mut agent = tokio::process::Command::new(&program);
    let joining = run(agent.arg("--config").arg(&file).kill_on_drop(true));
    let said = tokio::time::timeout(Duration::from_secs(30), joining)
        .await
        .context("the agent goes on trying")??;
    assert_eq!(said.code, 1, "{}", said.stderr);
    for part in ["the join token was used before", "railhead node token"] {
        assert!(
            said.stderr.contains(part),
            "{part} is not in {}",
            said.stderr
        );
    }
    let now: Vec<Value> = platform.client.list("/v1/nodes").await?;
    assert_eq!(now.len(), nodes.len());
    Ok(())
}

/// The configuration of a node that has another name and nothing on its disk.
fn as_another(config: &str, state_dir: &Path) -> String {
    let own = |line: &&str| !line.starts_with("name =") && !line.starts_with("state_dir =");
    let kept: Vec<&str> = config.lines().filter(own).collect();
    let state_dir = state_dir.display();
    format!(
        "name = \"intruder\"\nstate_dir = \"{state_dir}\"\n{}\n",
        kept.join("\n")
    )
}
