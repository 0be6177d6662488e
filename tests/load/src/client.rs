//! The public API as the benchmarks use it: JSON in, JSON out, several connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// Over HTTP/2 each client has one connection, and a server lets some hundred requests into each.
const CONNECTIONS: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(30);

/// An administrator's client.
#[derive(Debug, Clone)]
pub struct Client {
    connections: Arc<[reqwest::Client]>,
    next: Arc<AtomicUsize>,
    base: String,
    token: String,
}

impl Client {
    /// For an API whose certificate comes from this authority.
    pub fn new(api: SocketAddr, ca_pem: &[u8], token: &str) -> Result<Self> {
        let ca = reqwest::Certificate::from_pem(ca_pem)?;
        let connect = || {
            let client = reqwest::Client::builder().tls_certs_only([ca.clone()]);
            client.timeout(TIMEOUT).build()
        };
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|_| connect())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            connections: connections.into(),
            next: Arc::default(),
            base: format!("https://{api}"),
            token: token.to_owned(),
        })
    }

    /// A request that can still get headers and a body.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base);
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[turn]
            .request(method, url)
            .bearer_auth(&self.token)
    }

    /// What is there.
    pub async fn get(&self, path: &str) -> Result<Value> {
        read(self.request(Method::GET, path), path).await
    }

    /// Makes something.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        read(self.request(Method::POST, path).json(body), path).await
    }

    /// The production environment of a new project.
    pub async fn environment(&self, project: &str) -> Result<String> {
        let organizations = self.get("/v1/organizations").await?;
        let organization = text(&organizations["items"][0], "id")?;
        let projects = format!("/v1/organizations/{organization}/projects");
        let project = self.post(&projects, &json!({ "name": project })).await?;
        let environments = format!("/v1/projects/{}/environments", text(&project, "id")?);
        let environments = self.get(&environments).await?;
        text(&environments["items"][0], "id")
    }

    /// A token that lets a node join.
    pub async fn join_token(&self, region: &str, role: &str) -> Result<String> {
        let wanted = json!({ "region": region, "role": role });
        let created = self.post("/v1/join-tokens", &wanted).await?;
        text(&created, "token")
    }
}

async fn read(request: RequestBuilder, path: &str) -> Result<Value> {
    let answer = request.send().await.with_context(|| path.to_owned())?;
    let status = answer.status();
    let body = answer.text().await.with_context(|| path.to_owned())?;
    if !status.is_success() {
        bail!("{path} answered {status}: {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("{path} answered {body}"))
}

/// A text of an answer.
pub fn text(value: &Value, field: &str) -> Result<String> {
    let text = value[field].as_str();
    Ok(text
        .with_context(|| format!("no {field} in {value}"))?
        .to_owned())
}
