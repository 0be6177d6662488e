//! The image registry: Docker Distribution over a folder, TLS from the platform's CA, tokens from the
//! control plane. Base images come in through a second one without access control, on loopback, which
//! lives only while they are pushed.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{
    plan::{Plan, port},
    process::{Process, Ready, write_whole},
};
use crate::command::{CommandExt as _, command};

/// Where the registry's certificate lies.
pub const CERTIFICATES: &str = "registry-tls";

/// The registry that tenants' images live in.
pub fn process(plan: &Plan) -> Result<Process> {
    let config = plan.config("registry.yml");
    let tls = plan.data().join(CERTIFICATES);
    let (certificate, key) = (tls.join("tls.crt"), tls.join("tls.key"));
    let roots = plan.data().join("registry-token-roots.pem");
    let mut settings = base_settings(plan);
    settings["http"] = json!({
        "addr": plan.registry(),
        "secret": super::secrets::ensure(plan, "registry-http")?,
        "tls": { "certificate": certificate, "key": key },
    });
    settings["auth"] = json!({ "token": {
        "realm": format!("{}/v1/registry/token", plan.api_url()),
        "service": "railhead-registry",
        "issuer": "railhead",
        "rootcertbundle": roots,
    }});
    write_settings(&config, &settings)?;
    let mut process = Process::new(
        "registry",
        30,
        ["docker-registry", "serve", &config.display().to_string()],
    )
    .env("OTEL_TRACES_EXPORTER", "none")
    .changes_with(&[&config, &certificate, &roots])?;
    process.ready = Ready::Started;
    Ok(process)
}

/// A registry without access control over the same folder; ends with this value.
pub struct Loading {
    child: Child,
    /// `http://127.0.0.1:port`.
    pub url: String,
}

impl Loading {
    /// Starts it and waits until it answers.
    pub fn start(plan: &Plan) -> Result<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let config = plan.config("registry-loading.yml");
        let mut settings = base_settings(plan);
        settings["http"] = json!({ "addr": format!("127.0.0.1:{port}") });
        write_settings(&config, &settings)?;
        let child = command(["docker-registry", "serve"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting docker-registry")?;
        let loading = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        loading.wait()?;
        Ok(loading)
    }

    fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !command(["curl", "-fsS", &format!("{}/v2/", self.url)]).succeeds() {
            if Instant::now() > deadline {
                bail!("docker-registry does not answer at {}", self.url);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        // It is our own child and may only have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the image `library/<name>:<tag>` is there.
pub fn has(plan: &Plan, name: &str, tag: &str) -> bool {
    plan.data()
        .join("registry/docker/registry/v2/repositories/library")
        .join(name)
        .join("_manifests/tags")
        .join(tag)
        .join("current/link")
        .exists()
}

fn base_settings(plan: &Plan) -> Value {
    json!({
        "version": 0.1,
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": {
            "filesystem": { "rootdirectory": plan.data().join("registry") },
            "delete": { "enabled": true },
            "cache": { "blobdescriptor": "inmemory" },
        },
    })
}

/// JSON is YAML.
fn write_settings(path: &std::path::Path, settings: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(settings)?;
    if fs::read_to_string(path).is_ok_and(|last| last == text) {
        return Ok(());
    }
    write_whole(path, &text)
}

/// The address that the registry's certificate must name.
pub fn certificate_name(plan: &Plan) -> String {
    plan.host().to_string()
}

/// Whether the registry takes connections.
pub fn answers(plan: &Plan) -> bool {
    std::net::TcpStream::connect_timeout(
        &(plan.host(), port::REGISTRY).into(),
        Duration::from_millis(200),
    )
    .is_ok()
}
