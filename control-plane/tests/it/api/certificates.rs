//! Certificates of tenants' own: what fits is served, what does not is refused for its reason, and nobody sees a key or
//! another's hostname.

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::world::{Tenant, World};

pub struct Pair {
    chain: String,
    key: String,
}

pub fn pair(names: &[&str]) -> Pair {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2099, 1, 1);
    Pair {
        chain: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

impl Pair {
    pub fn body(&self) -> Value {
        json!({ "chain": self.chain, "key": self.key })
    }
}

/// A hostname of a service, perhaps proven.
async fn domain(world: &World, tenant: &Tenant, hostname: &str, proven: bool) -> String {
    let objects = super::objects::Objects::make(world, tenant, "shop").await;
    let path = format!("/v1/services/{}/domains", objects.0["service_id"]);
    let body = json!({ "hostname": hostname });
    let made = world
        .server
        .post(&tenant.owner, &path, body)
        .await
        .expect(201);
    if proven {
        sqlx::query("update domain set verified_at = now() where hostname = $1")
            .bind(hostname)
            .execute(world.pool())
            .await
            .unwrap();
    }
    format!("/v1/domains/{}/certificate", made.text("id"))
}

async fn stored(world: &World) -> Vec<(String, i64)> {
    sqlx::query_as("select issuer, key_version from domain_certificate")
        .fetch_all(world.pool())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ones_own_is_taken_and_its_key_is_never_shown() {
    let world = World::new().await;
    let acme = &world.acme;
    let path = domain(&world, acme, "www.example.org", true).await;
    let (server, owner) = (&world.server, &acme.owner);
    for version in 1..=2 {
        let pair = pair(&["www.example.org", "example.org"]);
        let set = server.put(owner, &path, pair.body()).await.expect(200).body;
        assert_eq!(set["tls"], "uploaded");
        assert_eq!(set["certificate"]["issuer"], "uploaded");
        assert_eq!(set["certificate"]["not_after"], "2099-01-01T00:00:00Z");
        assert!(!set.to_string().contains("PRIVATE"), "{set}");
        assert_eq!(stored(&world).await, [("uploaded".to_owned(), version)]);
    }
    let sealed: Vec<u8> = sqlx::query_scalar("select key_sealed from domain_certificate")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains("PRIVATE"));

    server.delete(owner, &path).await.expect(204);
    let (tls, due): (String, bool) = sqlx::query_as(
        "select d.tls, c.renew_at <= now() from domain d join domain_certificate c on c.domain_id = d.id",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!((&*tls, due), ("automatic", true));
    let again = server.delete(owner, &path).await;
    assert_eq!(again.code(), "conflict", "{}", again.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_what_served_serves_on() {
    let world = World::new().await;
    let acme = &world.acme;
    let path = domain(&world, acme, "www.example.org", true).await;
    let (server, owner) = (&world.server, &acme.owner);
    let good = pair(&["www.example.org"]);
    server.put(owner, &path, good.body()).await.expect(200);

    let other = pair(&["www.example.org"]);
    let cases = [
        (
            json!({ "chain": good.chain, "key": other.key }),
            "key",
            "not the certificate's",
        ),
        (
            json!({ "chain": good.chain, "key": "" }),
            "key",
            "can't be read",
        ),
        (json!({ "chain": "", "key": good.key }), "chain", "empty"),
        (
            pair(&["www.example.com"]).body(),
            "chain",
            "but for www.example.com",
        ),
    ];
    for (body, field, says) in cases {
        let refused = server.put(owner, &path, body).await;
        assert_eq!(refused.code(), "invalid_field", "{}", refused.body);
        let told = refused.body.to_string();
        assert!(told.contains(field) && told.contains(says), "{told}");
        assert!(!told.contains("PRIVATE"), "{told}");
    }
    assert_eq!(stored(&world).await, [("uploaded".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_proven_hostname_of_ones_own_can_have_one() {
    let world = World::new().await;
    let (acme, mallory) = (&world.acme, &world.mallory);
    let claimed = domain(&world, acme, "www.example.org", false).await;
    let body = pair(&["www.example.org"]).body();
    let server = &world.server;
    let refused = server.put(&acme.owner, &claimed, body.clone()).await;
    assert_eq!(refused.code(), "conflict", "{}", refused.body);
    let foreign = server.put(&mallory.owner, &claimed, body).await;
    assert_eq!(foreign.status, 404, "{}", foreign.body);
    assert!(stored(&world).await.is_empty());
}
