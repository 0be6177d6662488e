//! Tenants' own hostnames against a real name server: what proves one, what doesn't, and what the
//! tenant reads then.

use std::net::UdpSocket;

use domain::id::OrganizationId;
use serde_json::{Value, json};
use testkit::{fake_edge::FakeEdge, wait::until_some};

use crate::{
    name_server::{BROKEN_ZONE, NameServer},
    orchestration::platform::{DEADLINE, Replica},
};

use super::world::{Person, Tenant, World};

/// A world with reconcilers and an edge at 127.0.0.1.
struct Rig {
    world: World,
    _replica: Replica,
    _edge: FakeEdge,
}

impl Rig {
    async fn new(configuration: &str) -> Self {
        let limits = "[limits]\nreads_per_minute = 1000000\nwrites_per_minute = 1000000";
        let world = World::with(&format!("{limits}\n{configuration}")).await;
        let replica = world.platform.replica().await;
        let edge = world.platform.edge(&replica, "us-east", "edge-1").await;
        let rig = Self {
            world,
            _replica: replica,
            _edge: edge,
        };
        rig.edge_is_known().await;
        rig
    }

    async fn edge_is_known(&self) {
        until_some(DEADLINE, async || {
            let address: Option<String> = sqlx::query_scalar(
                "select public_address from node_status where public_address is not null",
            )
            .fetch_optional(self.world.pool())
            .await
            .unwrap();
            address
        })
        .await;
    }

    async fn service(&self, tenant: &Tenant) -> String {
        let server = &self.world.server;
        let create = async |path: String, body: Value| {
            let made = server.post(&tenant.owner, &path, body).await.expect(201);
            made.text("id")
        };
        let projects = format!("/v1/organizations/{}/projects", tenant.id);
        let project = create(projects, json!({ "name": "shop" })).await;
        let environments = format!("/v1/projects/{project}/environments");
        let environment = create(environments, json!({ "name": "staging" })).await;
        let services = format!("/v1/environments/{environment}/services");
        create(services, json!({ "name": "web", "spec": {} })).await
    }

    async fn claim(&self, owner: &Person, service: &str, hostname: &str) {
        let path = format!("/v1/services/{service}/domains");
        let body = json!({ "hostname": hostname });
        self.world.server.post(owner, &path, body).await.expect(201);
    }

    async fn look(&self, owner: &Person, service: &str, hostname: &str) -> Value {
        let path = format!("/v1/services/{service}/domains?limit=200");
        let all = self.world.server.get(owner, &path).await.expect(200).body;
        let mut all = all["items"].as_array().unwrap().iter();
        all.find(|d| d["hostname"] == hostname).unwrap().clone()
    }

    /// What the hostname's owner reads once it was looked up: none when it is good.
    async fn verdict(&self, owner: &Person, service: &str, hostname: &str) -> Option<String> {
        until_some(DEADLINE, async || {
            let domain = self.look(owner, service, hostname).await;
            let error = domain["last_error"].as_str().map(str::to_owned);
            match (domain["verified_at"].is_string(), error) {
                (true, None) => Some(None),
                (false, Some(error)) if error.contains("; set ") || error.contains("another") => {
                    Some(Some(error))
                }
                _ => None,
            }
        })
        .await
    }
}

fn proof(organization: OrganizationId) -> String {
    format!("TXT \"railhead-verification={organization}\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_is_good_when_it_leads_here_and_says_whose_it_is() {
    let mut names = NameServer::new();
    let rig = Rig::new(&names.configuration()).await;
    let (acme, mallory) = (&rig.world.acme, &rig.world.mallory);
    let (mine, foreign) = (proof(acme.id), proof(mallory.id));
    names
        .serve(&format!(
            "address A 127.0.0.1\n_railhead.address {mine}\n\
             alias CNAME address\n_railhead.alias TXT \"v=spf1 -all\"\n_railhead.alias {mine}\n\
             *.wild A 127.0.0.1\n_railhead.wild {mine}\n\
             elsewhere A 198.51.100.7\n_railhead.elsewhere {mine}\n\
             both A 127.0.0.1\nboth AAAA 2001:db8::7\n_railhead.both {mine}\n\
             silent A 127.0.0.1\n\
             foreign A 127.0.0.1\n_railhead.foreign {foreign}\n\
             empty TXT \"nothing\"\n_railhead.empty {mine}\n\
             loop CNAME pool\npool CNAME loop\n"
        ))
        .await;
    let service = rig.service(acme).await;
    let cases = [
        ("address.example.test", None),
        ("alias.example.test", None),
        ("*.wild.example.test", None),
        ("elsewhere.example.test", Some("leads to 198.51.100.7")),
        ("both.example.test", Some("leads to 2001:db8::7")),
        ("silent.example.test", Some("does not say that it is yours")),
        (
            "foreign.example.test",
            Some("does not say that it is yours"),
        ),
        ("empty.example.test", Some("has no address")),
        ("loop.example.test", Some("loop.example.test")),
        ("missing.example.test", Some("there is no such name")),
        ("www.broken.test", Some("its name server says")),
        ("www.unserved.test", Some("its name server says")),
    ];
    assert!(cases.iter().any(|(name, _)| name.ends_with(BROKEN_ZONE)));
    for (hostname, _) in cases {
        rig.claim(&acme.owner, &service, hostname).await;
    }
    for (hostname, wanted) in cases {
        let verdict = rig.verdict(&acme.owner, &service, hostname).await;
        match wanted {
            None => assert_eq!(verdict, None, "{hostname}"),
            Some(reason) => {
                let said = verdict.unwrap_or_else(|| panic!("{hostname} was taken as good"));
                assert!(said.contains(reason), "{hostname}: {said}");
                assert!(said.contains(&format!("railhead-verification={}", acme.id)));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_keeps_nobody_from_their_name_and_the_name_follows_its_owner() {
    let mut names = NameServer::new();
    let rig = Rig::new(&names.configuration()).await;
    let (acme, mallory) = (&rig.world.acme, &rig.world.mallory);
    let (ours, theirs) = (rig.service(acme).await, rig.service(mallory).await);
    let hostname = "www.example.test";
    let zone = |owner: OrganizationId| format!("www A 127.0.0.1\n_railhead.www {}", proof(owner));
    names.serve(&zone(acme.id)).await;

    rig.claim(&mallory.owner, &theirs, hostname).await;
    let refused = rig.verdict(&mallory.owner, &theirs, hostname).await;
    assert!(refused.unwrap().contains("does not say that it is yours"));
    rig.claim(&acme.owner, &ours, hostname).await;
    assert_eq!(rig.verdict(&acme.owner, &ours, hostname).await, None);

    // Sold: its DNS says so, and the new owner claims it.
    names.serve(&zone(mallory.id)).await;
    let claims = format!("/v1/services/{theirs}/domains");
    let claim = rig.look(&mallory.owner, &theirs, hostname).await;
    let claim = format!("/v1/domains/{}", claim["id"].as_str().unwrap());
    let server = &rig.world.server;
    server.delete(&mallory.owner, &claim).await.expect(204);
    let again = json!({ "hostname": hostname });
    server
        .post(&mallory.owner, &claims, again)
        .await
        .expect(201);
    assert_eq!(rig.verdict(&mallory.owner, &theirs, hostname).await, None);
    let lost = rig.look(&acme.owner, &ours, hostname).await;
    assert!(lost["verified_at"].is_null(), "{lost}");
    let said = lost["last_error"].as_str().unwrap();
    assert!(said.contains("another organization"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_never_answers_is_named_as_such() {
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap();
    let rig = Rig::new(&format!("[dns]\nresolvers = [\"{address}\"]")).await;
    let acme = &rig.world.acme;
    let service = rig.service(acme).await;
    let hostnames = ["a.example.test", "b.example.test", "c.example.test"];
    for hostname in hostnames {
        rig.claim(&acme.owner, &service, hostname).await;
    }
    for hostname in hostnames {
        let said = rig.verdict(&acme.owner, &service, hostname).await.unwrap();
        assert!(said.contains("does not answer"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_has_only_so_many_hostnames_waiting() {
    let world = World::new().await;
    let acme = &world.acme;
    let service = {
        let objects = super::objects::Objects::make(&world, acme, "shop").await;
        objects.0["service_id"].clone()
    };
    let path = format!("/v1/services/{service}/domains");
    let owner = &acme.owner;
    let mut refused = None;
    for n in 0..=100 {
        let body = json!({ "hostname": format!("n{n}.example.test") });
        let answer = world.server.post(owner, &path, body).await;
        if answer.status != 201 {
            refused = Some((n, answer));
            break;
        }
    }
    let (n, answer) = refused.expect("a limit");
    assert_eq!(
        (n, answer.code()),
        (100, "limit_exceeded"),
        "{}",
        answer.body
    );
    let ours = json!({ "hostname": "more.railhead.test" });
    world.server.post(owner, &path, ours).await.expect(201);
}
