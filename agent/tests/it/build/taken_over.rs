//! Ready images: taken over into the service's own repository as they are, from whichever registry.

use protocol::{
    item::{BuildItem, BuildSource},
    report::{BuildResult, BuildState},
};
use serde_json::json;

use super::{machine::possible, registry::Neighbour, rig::Rig};

fn item(rig: &Rig, image: &str) -> BuildItem {
    let image = image.parse().unwrap();
    rig.item_of(BuildSource::Image { image })
}

async fn take_over(rig: &Rig, item: &BuildItem) -> BuildResult {
    match rig.build(item).await {
        BuildState::Succeeded(result) => result,
        state => panic!("{state:?}\n{}", rig.lines.of(item.id)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_keeps_its_settings_and_layers_and_its_tag_is_looked_up_each_time() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let registry = &rig.platform.registry;
    let tar = std::fs::read(rig.folder.path().join("base.tar")).unwrap();
    let mut seen = Vec::new();
    for version in ["1", "2"] {
        let settings = json!({
            "Env": ["PATH=/bin", format!("VERSION={version}")], "User": "1000:1000", "WorkingDir": "/tmp",
            "Entrypoint": ["/bin/busybox"], "Cmd": ["httpd", "-f"], "ExposedPorts": {"9000/tcp": {}},
        });
        registry
            .provide_with("library/app", "amd64", &tar, &settings)
            .await;
        let item = item(&rig, "app");
        let result = take_over(&rig, &item).await;

        let (_, source) = registry.manifest("library/app", "latest").await;
        assert_eq!(result.source_digest, source);
        assert_eq!(result.commit, None);
        let repository = item.repository.split_once('/').unwrap().1;
        let taken = registry.settings(repository, &result.digest).await;
        for name in [
            "Env",
            "User",
            "WorkingDir",
            "Entrypoint",
            "Cmd",
            "ExposedPorts",
        ] {
            assert_eq!(taken[name], settings[name], "{name} of {taken}");
        }
        let layers = registry.layers("library/app", "latest").await;
        assert_eq!(registry.layers(repository, &result.digest).await, layers);
        let log = rig.lines.of(item.id);
        assert!(
            log.contains("Taking over docker.io/library/app:latest"),
            "{log}"
        );
        seen.push(result.source_digest);
    }
    assert_ne!(seen[0], seen[1], "the tag was moved in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_an_image_has_a_code() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let tar = std::fs::read(rig.folder.path().join("base.tar")).unwrap();
    let registry = &rig.platform.registry;
    registry.provide("org_1/svc_1", "amd64", &tar).await;
    let (own, address) = (&registry.host, &rig.namespace.host);
    let open = Neighbour::start(registry, address, false).await;
    let closed = Neighbour::start(registry, address, true).await;

    let elsewhere = item(&rig, &format!("{}/library/base", open.host));
    take_over(&rig, &elsewhere).await;
    for (image, code, says) in [
        (
            "no-such-image".to_owned(),
            "image_not_found",
            "no-such-image",
        ),
        (
            "base:no-such-tag".to_owned(),
            "image_not_found",
            "no-such-tag",
        ),
        (
            format!("{}/base:no-such-tag", open.host),
            "image_not_found",
            "no-such-tag",
        ),
        (
            format!("{}/no/such", open.host),
            "image_not_found",
            "no/such",
        ),
        ("arm".to_owned(), "wrong_architecture", "linux/arm64"),
        (
            format!("{address}:1/acme/api:1.4"),
            "image_unreachable",
            "firewall",
        ),
        (
            format!("{}/library/base", closed.host),
            "image_private",
            "credentials",
        ),
        (
            format!("{own}/org_1/svc_1"),
            "image_refused",
            "your own organization",
        ),
    ] {
        let (found, message) = rig.fails(&item(&rig, &image)).await;
        assert_eq!(found, code, "{image}: {message}");
        assert!(message.contains(says), "{image}: {message}");
    }
}
