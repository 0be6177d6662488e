//! The example application: a real git repository made of `examples/hello`, deployed to both regions
//! through the public API, and asked for over TLS at both edges.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{
    api,
    plan::{Plan, REGIONS, Region},
    process::write_whole,
};
use crate::{
    cargo::workspace,
    command::{CommandExt as _, command},
};

const PROJECT: &str = "example";
const SERVICE: &str = "hello";
const LIVE_WITHIN: Duration = Duration::from_secs(300);
/// Builds fetch sources as `nobody`; git reads only repositories of its own user.
const NOBODY: u32 = 65_534;

/// The folder below which `file://` repositories are allowed.
pub fn repositories(plan: &Plan) -> PathBuf {
    plan.data().join("git")
}

/// The example's git URL.
pub fn repository_url(plan: &Plan) -> String {
    format!("file://{}", repository(plan).display())
}

/// Makes the repository, or gives it a new commit when the example changed. Author and dates are
/// fixed, so the same files are the same commit on every machine.
pub fn ensure_repository(plan: &Plan) -> Result<()> {
    let (bare, files) = (repository(plan), workspace()?.join("examples/hello"));
    if !bare.exists() {
        let draft = bare.with_extension("new");
        git(&["init", "--quiet", "--bare", "--initial-branch=main"])
            .arg(&draft)
            .read()?;
        fs::rename(&draft, &bare).with_context(|| format!("making {}", bare.display()))?;
    }
    let head = commit(&bare, &files).context("committing the example")?;
    git(&["update-ref", "refs/heads/main", &head])
        .env("GIT_DIR", &bare)
        .read()?;
    give_to_nobody(&bare)
}

/// Makes project and service and deploys unless that commit is already live; returns the host name.
pub fn ensure_deployed(plan: &Plan) -> Result<String> {
    let service = ensure_service(plan)?;
    let id = api::text(&service, "id")?;
    if let Some(under_way) = service["target_deployment_id"].as_str() {
        wait_for_end(plan, under_way)?;
    } else if !is_live_with_head(plan, &service)? {
        let begun = api::post(
            plan,
            &format!("/v1/services/{id}/deployments"),
            &json!({ "source": { "from": "git" } }),
        )?;
        wait_for_end(plan, api::text(&begun, "id")?)?;
    }
    let host = service["hostnames"][0]
        .as_str()
        .context("the example has no host name")?;
    write_whole(&host_file(plan), host)?;
    Ok(host.to_owned())
}

/// The example's service.
pub fn service_id(plan: &Plan) -> Result<String> {
    let service = find_service(plan)?.context("the example is not deployed; run ./dev up")?;
    Ok(api::text(&service, "id")?.to_owned())
}

/// The example's host name, once it was deployed.
pub fn remembered_host(plan: &Plan) -> Option<String> {
    fs::read_to_string(host_file(plan)).ok()
}

fn host_file(plan: &Plan) -> PathBuf {
    plan.data().join("example-host")
}

/// Waits until both edges answer for `host` over TLS.
pub fn wait_until_served(plan: &Plan, host: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    for region in plan.regions() {
        while !answers(plan, &region, host) {
            if Instant::now() > deadline {
                bail!(
                    "the edge of {} does not answer for {host}; see ./dev logs {}",
                    region.name,
                    region.process("edge")
                );
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// A command that asks for the example through a region's edge.
pub fn curl(plan: &Plan, region: &Region, host: &str) -> Vec<String> {
    [
        "curl",
        "--cacert",
        &plan.dir.join("ca.pem").display().to_string(),
        "--resolve",
        &format!("{host}:443:{}", region.address()),
        &format!("https://{host}/"),
    ]
    .map(str::to_owned)
    .into()
}

fn answers(plan: &Plan, region: &Region, host: &str) -> bool {
    command(curl(plan, region, host))
        .args(["--silent", "--fail", "--max-time", "5"])
        .succeeds()
}

fn repository(plan: &Plan) -> PathBuf {
    repositories(plan).join("hello.git")
}

fn ensure_service(plan: &Plan) -> Result<Value> {
    if let Some(service) = find_service(plan)? {
        return Ok(service);
    }
    let organization = organization(plan)?;
    let projects = format!("/v1/organizations/{organization}/projects");
    let project = match named(api::list(plan, &projects)?, PROJECT) {
        Some(project) => project,
        None => api::post(plan, &projects, &json!({ "name": PROJECT }))?,
    };
    let environment = production(plan, &project)?;
    let services = format!(
        "/v1/environments/{}/services",
        api::text(&environment, "id")?
    );
    api::post(
        plan,
        &services,
        &json!({ "name": SERVICE, "spec": specification(plan) }),
    )
}

fn find_service(plan: &Plan) -> Result<Option<Value>> {
    let organization = organization(plan)?;
    let projects = api::list(plan, &format!("/v1/organizations/{organization}/projects"))?;
    let Some(project) = named(projects, PROJECT) else {
        return Ok(None);
    };
    let environment = production(plan, &project)?;
    let services = api::list(
        plan,
        &format!(
            "/v1/environments/{}/services",
            api::text(&environment, "id")?
        ),
    )?;
    Ok(named(services, SERVICE))
}

fn organization(plan: &Plan) -> Result<String> {
    let organizations = api::list(plan, "/v1/organizations")?;
    let first = organizations.first().context("no organization")?;
    Ok(api::text(first, "id")?.to_owned())
}

fn production(plan: &Plan, project: &Value) -> Result<Value> {
    let environments = api::list(
        plan,
        &format!("/v1/projects/{}/environments", api::text(project, "id")?),
    )?;
    named(environments, "production")
        .context("the example's project has no environment \"production\"")
}

fn named(items: Vec<Value>, name: &str) -> Option<Value> {
    items.into_iter().find(|item| item["name"] == name)
}

fn specification(plan: &Plan) -> Value {
    json!({
        "source": { "repo": repository_url(plan), "branch": "main" },
        "deploy": { "readiness": { "path": "/health" }, "startup": { "path": "/health", "interval": "1s", "failures": 60 } },
        "scale": { "regions": REGIONS.map(|region| (region, 1)).into_iter().collect::<std::collections::BTreeMap<_, _>>() },
        "network": { "port": 8080 },
    })
}

fn is_live_with_head(plan: &Plan, service: &Value) -> Result<bool> {
    let Some(deployment) = service["current_deployment_id"].as_str() else {
        return Ok(false);
    };
    let deployment = api::get(plan, &format!("/v1/deployments/{deployment}"))?;
    let head = git(&["rev-parse", "refs/heads/main"])
        .env("GIT_DIR", repository(plan))
        .read()?;
    Ok(deployment["state"] == "live" && deployment["commit"]["sha"] == head.trim())
}

fn wait_for_end(plan: &Plan, deployment: &str) -> Result<()> {
    let deadline = Instant::now() + LIVE_WITHIN;
    loop {
        let now = api::get(plan, &format!("/v1/deployments/{deployment}"))?;
        match api::text(&now, "state")? {
            "live" => return Ok(()),
            ended @ ("failed" | "canceled" | "superseded") => {
                bail!(
                    "the example's deployment {deployment} is {ended}: {}",
                    now["error"]
                )
            }
            state if Instant::now() > deadline => {
                bail!(
                    "the example's deployment {deployment} is still {state} after {LIVE_WITHIN:?}; see ./dev logs control-plane"
                )
            }
            _ => thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// A commit of exactly these files, on top of nothing: written with git's plumbing.
fn commit(bare: &Path, files: &Path) -> Result<String> {
    let index = bare.join("example.index");
    let _ = fs::remove_file(&index);
    let git = |arguments: &[&str]| {
        let mut git = git(arguments);
        git.env("GIT_DIR", bare)
            .env("GIT_WORK_TREE", files)
            .env("GIT_INDEX_FILE", &index)
            .current_dir(files);
        git
    };
    git(&["add", "--all", "."]).read()?;
    let tree = git(&["write-tree"]).read()?;
    let head = git(&["commit-tree", tree.trim(), "-m", "Say hello"])
        .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
        .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z")
        .read()?;
    Ok(head.trim().to_owned())
}

/// git with nothing of the user's own configuration.
fn git(arguments: &[&str]) -> std::process::Command {
    let mut git = command(["git"]);
    git.args(arguments)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
        .envs([("GIT_AUTHOR_NAME", "Railhead"), ("GIT_COMMITTER_NAME", "Railhead")])
        .envs([("GIT_AUTHOR_EMAIL", "hello@railhead.test"), ("GIT_COMMITTER_EMAIL", "hello@railhead.test")])
        // The repository belongs to nobody after the first time.
        .envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "safe.directory"), ("GIT_CONFIG_VALUE_0", "*")]);
    git
}

fn give_to_nobody(path: &Path) -> Result<()> {
    chown(path, Some(NOBODY), Some(NOBODY))
        .with_context(|| format!("giving {} to nobody", path.display()))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give_to_nobody(&entry?.path())?;
        }
    }
    Ok(())
}
