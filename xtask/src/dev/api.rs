//! The few calls of the public API that the local platform needs, as an administrator, through `curl`:
//! xtask is built before every library that could speak HTTPS.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::plan::Plan;
use crate::command::{CommandExt as _, command};

/// Reads one thing.
pub fn get(plan: &Plan, path: &str) -> Result<Value> {
    request(plan, "GET", path, None)
}

/// Reads the items of a list.
pub fn list(plan: &Plan, path: &str) -> Result<Vec<Value>> {
    let mut page = get(plan, path)?;
    match page.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        _ => anyhow::bail!("GET {path}: no list in {page}"),
    }
}

/// Makes or starts something.
pub fn post(plan: &Plan, path: &str, body: &Value) -> Result<Value> {
    request(plan, "POST", path, Some(body))
}

/// Whether the API is up and ready.
pub fn answers(plan: &Plan) -> bool {
    command(["curl", "-fsS", "--max-time", "2", "--cacert"])
        .arg(plan.ca_file())
        .arg(format!("{}/v1/version", plan.api_url()))
        .succeeds()
}

/// The text of a field.
pub fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    value[field]
        .as_str()
        .with_context(|| format!("no \"{field}\" in {value}"))
}

/// curl reads it from standard input, so that the token is in no process list.
fn authorization(plan: &Plan) -> Result<String> {
    let token = std::fs::read_to_string(plan.admin_token_file())
        .context("reading the administrator's token")?;
    Ok(format!(
        "header = \"Authorization: Bearer {}\"\n",
        token.trim()
    ))
}

fn settings(plan: &Plan, body: Option<&Value>) -> Result<String> {
    let mut settings = authorization(plan)?;
    if let Some(body) = body {
        let body = serde_json::to_string(&body.to_string())?;
        settings += &format!("header = \"Content-Type: application/json\"\ndata = {body}\n");
    }
    Ok(settings)
}

fn request(plan: &Plan, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let answer = command([
        "curl",
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--max-time",
        "30",
        "--config",
        "-",
    ])
    .args(["--request", method, "--cacert"])
    .arg(plan.ca_file())
    .arg(format!("{}{path}", plan.api_url()))
    .read_with(&settings(plan, body)?)?;
    if answer.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&answer).with_context(|| format!("{method} {path} answered {answer}"))
}
