//! moto in place of Route 53: a program of its own, with a hosted zone. What it does not do as Amazon does: it compares
//! no set with the one that is deleted, deletes all sets of an identifier, and checks nobody's health.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use aws_sdk_route53::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{
        Change, ChangeAction, ChangeBatch, HealthCheck, ResourceRecord, ResourceRecordSet, RrType,
    },
};
use tempfile::TempDir;
use testkit::wait::until;
use tokio::net::TcpStream;

use crate::orchestration::platform::DEADLINE;

/// Made by `./dev setup`.
const PROGRAM: &str = "../.dev/python/bin/moto_server";

pub struct Moto {
    pub client: Client,
    pub zone_id: String,
    address: SocketAddr,
    directory: TempDir,
    server: Child,
}

impl Moto {
    /// One that serves this zone.
    pub async fn new(zone: &str) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let address = free_address();
        let server = spawn(address, directory.path());
        until(DEADLINE, async || TcpStream::connect(address).await.is_ok()).await;
        let client = client(address);
        let made = client
            .create_hosted_zone()
            .name(zone)
            .caller_reference("test")
            .send()
            .await
            .unwrap();
        let id = made.hosted_zone.unwrap().id;
        Self {
            client,
            zone_id: id.trim_start_matches("/hostedzone/").to_owned(),
            address,
            directory,
            server,
        }
    }

    /// Lines for the control plane's configuration file, before those of the regions.
    pub fn provider_configuration(&self, zone: &str) -> String {
        let file = self.directory.path().join("credentials");
        let credentials =
            "[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = secret\n";
        std::fs::write(&file, credentials).unwrap();
        let (id, address, file) = (&self.zone_id, self.address, file.display());
        format!(
            "[dns.provider]\nzone = \"{zone}\"\n[dns.provider.route53]\nhosted_zone_id = \"{id}\"\n\
             endpoint_url = \"http://{address}\"\ncredentials_file = \"{file}\"\n"
        )
    }

    /// Everything in the zone.
    pub async fn sets(&self) -> Vec<ResourceRecordSet> {
        let call = self.client.list_resource_record_sets();
        let page = call.hosted_zone_id(&self.zone_id).send().await.unwrap();
        assert!(!page.is_truncated);
        page.resource_record_sets
    }

    /// All health checks of the account.
    pub async fn checks(&self) -> Vec<HealthCheck> {
        let page = self.client.list_health_checks().send().await.unwrap();
        page.health_checks
    }

    /// Writes a set as somebody else would.
    pub async fn write(
        &self,
        name: &str,
        kind: RrType,
        like: Option<&ResourceRecordSet>,
        value: &str,
    ) {
        let record = ResourceRecord::builder().value(value).build().unwrap();
        let mut set = ResourceRecordSet::builder()
            .name(name)
            .r#type(kind)
            .ttl(60)
            .resource_records(record);
        if let Some(like) = like {
            set = set
                .set_set_identifier(like.set_identifier.clone())
                .set_geo_location(like.geo_location.clone())
                .set_health_check_id(like.health_check_id.clone());
        }
        let change = Change::builder()
            .action(ChangeAction::Upsert)
            .resource_record_set(set.build().unwrap());
        let batch = ChangeBatch::builder().changes(change.build().unwrap());
        let call = self.client.change_resource_record_sets();
        call.hosted_zone_id(&self.zone_id)
            .change_batch(batch.build().unwrap())
            .send()
            .await
            .unwrap();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn spawn(address: SocketAddr, directory: &Path) -> Child {
    let program: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRAM);
    let log = std::fs::File::create(directory.join("log")).unwrap();
    Command::new(&program)
        .args(["--host", "127.0.0.1", "--port"])
        .arg(address.port().to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{} does not run ({error}): ./dev setup installs it",
                program.display()
            )
        })
}

fn client(address: SocketAddr) -> Client {
    let config = aws_sdk_route53::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("AKIATEST", "secret", None, None, "test"))
        .endpoint_url(format!("http://{address}"))
        .build();
    Client::from_conf(config)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
