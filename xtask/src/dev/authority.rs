//! A certificate authority (Pebble) for hostnames that tenants bring. It is nobody's outside: clients of the local platform trust
//! its root when they are told to, and it makes a new one whenever it starts.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    control_plane::fingerprint,
    plan::{Plan, port},
    process::{Process, Ready, write_whole},
};
use crate::command::{CommandExt as _, command};

/// The certificate of its own HTTPS, by which control planes know it.
pub fn root_file(plan: &Plan) -> PathBuf {
    plan.data().join("authority").join("certificate.pem")
}

/// What control planes are told of it.
pub fn configuration(plan: &Plan) -> Value {
    json!({
        "name": "pebble",
        "directory": format!("https://{}:{}/dir", plan.host(), port::ACME),
        "root_file": root_file(plan),
        "terms_of_service_agreed": true,
    })
}

/// The server, with its configuration written. It looks names up at the platform's name server, and asks edges at the
/// ports that every authority asks at.
pub fn process(plan: &Plan) -> Result<Process> {
    ensure_certificate(plan)?;
    let file = plan.config("pebble.json");
    let listen = |port| format!("{}:{port}", plan.host());
    let config = json!({ "pebble": {
        "listenAddress": listen(port::ACME),
        "managementListenAddress": listen(port::ACME_ROOTS),
        "certificate": root_file(plan),
        "privateKey": key_file(plan),
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": false,
    }});
    write_whole(&file, &config.to_string())?;
    let (config, names) = (file.display().to_string(), listen(port::DNS));
    let argv = ["pebble", "-config", &config, "-dnsserver", &names];
    let mut process = Process::new("authority", 16, argv);
    process
        .environment
        .insert("PEBBLE_VA_NOSLEEP".to_owned(), "1".to_owned());
    process.fingerprint = fingerprint(&file)?;
    process.ready = Ready::Started;
    Ok(process)
}

fn key_file(plan: &Plan) -> PathBuf {
    plan.secret_file("authority.key")
}

fn ensure_certificate(plan: &Plan) -> Result<()> {
    let (root, key) = (root_file(plan), key_file(plan));
    if root.exists() && key.exists() {
        return Ok(());
    }
    for file in [&root, &key] {
        let folder = file.parent().context("a file without a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let mut openssl = command([
        "openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "3650",
    ]);
    openssl
        .args([
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-subj",
            "/CN=authority",
        ])
        .args(["-addext", &format!("subjectAltName=IP:{}", plan.host())])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&root);
    openssl
        .read()
        .context("making the certificate of the local certificate authority")
        .map(drop)
}
