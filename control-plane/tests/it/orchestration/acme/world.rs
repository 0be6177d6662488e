//! A platform with authorities, a name server, a service that runs, and an edge without traffic.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use control_plane::waker::Topic;
use domain::id::{DomainId, ServiceId};
use protocol::item::{CertificateItem, GlobalRouteItem};
use sqlx::FromRow;
use testkit::{fake_agent::FakeAgent, fake_edge::FakeEdge, wait::until_some};

use crate::{
    name_server::NameServer,
    orchestration::platform::{DEADLINE, Platform, Replica},
};

/// A platform with an authority, a service that runs, and an edge.
pub struct World {
    pub platform: Platform,
    /// None only while one takes the place of another.
    replica: Option<Replica>,
    names: NameServer,
    pub edge: FakeEdge,
    pub service: ServiceId,
    _agent: FakeAgent,
}

#[derive(Debug, FromRow)]
pub struct Order {
    pub step: String,
    pub failures: i32,
    /// Seconds until it goes on.
    pub wait: f64,
    pub problem_code: Option<String>,
    pub problem_message: Option<String>,
}

#[derive(Debug, FromRow)]
pub struct Stored {
    pub issuer: String,
    pub authority: Option<String>,
    pub renew_at: Option<DateTime<Utc>>,
    pub not_after: DateTime<Utc>,
}

impl World {
    /// With the authorities of this configuration.
    pub async fn new(names: NameServer, authorities: &str) -> Self {
        let configuration = format!("{}\n{authorities}", names.configuration());
        let platform = Platform::with(&configuration).await;
        let replica = platform.replica().await;
        let agent = platform.agent(&replica, "us-east", "a1").await;
        let edge = platform.edge(&replica, "us-east", "e1").await;
        let service = platform
            .service("web", r#"{"scale":{"regions":{"us-east":1}}}"#)
            .await;
        let deployment = platform.deploy(&replica, service).await;
        platform.reaches(deployment, "live").await;
        Self {
            platform,
            replica: Some(replica),
            names,
            edge,
            service,
            _agent: agent,
        }
    }

    /// Makes the name server say that these hostnames lead here and are the organization's.
    pub async fn point(&mut self, labels: &[String], more: &str) {
        let mut zone = String::new();
        for label in labels {
            let proof = format!("railhead-verification={}", self.platform.organization);
            writeln!(
                zone,
                "{label} A 127.0.0.1\n_railhead.{label} TXT \"{proof}\""
            )
            .unwrap();
        }
        self.names.serve(&format!("{zone}{more}")).await;
    }

    /// As if its DNS had been looked at.
    pub async fn domain(&self, hostname: &str, tls: &str) -> DomainId {
        let id = DomainId::new();
        sqlx::query(
            "insert into domain (id, organization_id, service_id, hostname, kind, verified_at, tls)
             values ($1, $2, $3, $4, 'custom', now(), $5)",
        )
        .bind(id.uuid())
        .bind(self.platform.organization.uuid())
        .bind(self.service.uuid())
        .bind(hostname)
        .bind(tls)
        .execute(&self.platform.pool)
        .await
        .unwrap();
        self.wake(Topic::Certificates);
        id
    }

    pub fn wake(&self, topic: Topic) {
        self.replica.as_ref().unwrap().state.waker.wake(topic);
    }

    /// Another one takes its place, where nodes reached it.
    pub async fn kill_the_replica(&mut self) {
        let killed = self.replica.take().unwrap();
        let url = killed.url.clone();
        drop(killed);
        self.replica = Some(self.platform.replica_at(&url).await);
    }

    pub async fn order(&self, domain: DomainId) -> Option<Order> {
        sqlx::query_as(
            "select step, failures, extract(epoch from due_at - now())::float8 as wait, problem_code, problem_message
             from certificate_order where domain_id = $1",
        )
        .bind(domain.uuid())
        .fetch_optional(&self.platform.pool)
        .await
        .unwrap()
    }

    pub async fn stored(&self, domain: DomainId) -> Option<Stored> {
        sqlx::query_as(
            "select issuer, authority, renew_at, not_after from domain_certificate where domain_id = $1",
        )
        .bind(domain.uuid())
        .fetch_optional(&self.platform.pool)
        .await
        .unwrap()
    }

    /// Until its order has failed so often; what its owner reads then.
    pub async fn fails(&self, domain: DomainId, times: i32) -> (String, String) {
        until_some(DEADLINE, async || {
            let order = self.order(domain).await?;
            let problem = order.problem_code.zip(order.problem_message);
            problem.filter(|_| order.failures >= times && order.step == "waiting")
        })
        .await
    }

    /// As if the time until the next try were over.
    pub async fn hurry(&self, domain: DomainId) {
        sqlx::query("update certificate_order set due_at = now() where domain_id = $1")
            .bind(domain.uuid())
            .execute(&self.platform.pool)
            .await
            .unwrap();
        self.wake(Topic::Certificates);
    }

    pub fn at_edge(&self, hostname: &str) -> Option<CertificateItem> {
        let state = self.edge.global_routes().borrow().clone();
        let found = state.items.values().find_map(|entry| match &entry.item {
            GlobalRouteItem::Certificate(item) if item.names == [hostname] => Some(item.clone()),
            _ => None,
        })?;
        state.secrets.get(&found.key).is_some().then_some(found)
    }

    /// Until edges have a certificate of this version, with its key; nothing is left that an authority could ask for.
    pub async fn is_served(&self, hostname: &str, version: i64) -> CertificateItem {
        until_some(DEADLINE, async || {
            let challenge = format!("challenge/{hostname}");
            let state = self.edge.global_routes().borrow().clone();
            let item = self.at_edge(hostname)?;
            let is_over = !state.items.contains_key(challenge.as_str());
            (item.key.version == version && is_over).then_some(item)
        })
        .await
    }
}
