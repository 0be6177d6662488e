//! What a good build gives.

use std::{collections::BTreeMap, io::Read, sync::Arc};

use agent::build::{self, Dependencies};
use futures::TryStreamExt;
use protocol::report::{BuildResult, BuildState};
use tokio::sync::watch;

use super::{machine::possible, rig::Rig};

const DOCKERFILE: &str = "\
FROM base
ARG GREETING
COPY . /app
RUN --mount=type=secret,id=TOKEN grep -q sup3r /run/secrets/TOKEN && echo has-token
RUN --mount=type=secret,id=ca grep -q 'BEGIN CERTIFICATE' /run/secrets/ca && echo has-ca
RUN test ! -e /run/secrets/TOKEN && test ! -e /app/ignored && echo \"$GREETING\" > /greeting
RUN echo to-stderr >&2
";

fn succeeded(rig: &Rig, item: &protocol::item::BuildItem, state: BuildState) -> BuildResult {
    match state {
        BuildState::Succeeded(result) => result,
        state => panic!("{state:?}\n{}", rig.lines.of(item.id)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_becomes_an_image_in_the_registry() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let repo = rig.repository(
        "app",
        &[
            ("services/web/Dockerfile", DOCKERFILE),
            ("services/web/.dockerignore", "ignored\n"),
            ("services/web/ignored", ""),
            ("services/web/main.sh", "echo hello\n"),
        ],
    );
    let mut item = rig.item(&repo);
    item.root = "/services/web".into();
    item.args.insert("GREETING".into(), "good morning".into());
    let secret = rig.secrets.hold("variable/TOKEN", "sup3r-secret-value");
    item.secrets.insert("TOKEN".parse().unwrap(), secret);

    let state = rig.build(&item).await;
    let result = succeeded(&rig, &item, state);

    let commit = result.commit.as_ref().unwrap();
    assert_eq!(commit.title, "First version");
    assert_eq!(commit.author, "Ada");
    let repository = item.repository.split_once('/').unwrap().1;
    let tag = item.id.to_string();
    let found = rig.platform.registry.manifest(repository, &tag).await;
    assert_eq!(found, (200, Some(result.digest.clone())));
    let log = rig.lines.of(item.id);
    for part in [
        "has-token",
        "has-ca",
        "to-stderr",
        "RUN test",
        &result.digest,
    ] {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
    assert!(!log.contains("secret-value"), "{log}");
    the_base_layer_is_the_registrys_own(&rig, repository, &result.digest).await;
    the_secret_is_in_no_layer(&rig, &item.repository, &result.digest).await;
    a_restarted_builder_still_knows(&rig, &item, &result).await;
    the_engine_is_clean(&rig).await;
}

/// Not compressed and sent again under another digest.
async fn the_base_layer_is_the_registrys_own(rig: &Rig, repository: &str, digest: &str) {
    let registry = &rig.platform.registry;
    let base = registry.layers("library/base", "latest").await;
    let built = registry.layers(repository, digest).await;
    assert_eq!(base.len(), 1);
    assert_eq!(built.first(), base.first());
}

/// Pulls the image by digest and looks into every file of what the engine saves of it.
async fn the_secret_is_in_no_layer(rig: &Rig, repository: &str, digest: &str) {
    use bollard::query_parameters::CreateImageOptionsBuilder;
    let docker = rig.docker().await;
    let image = format!("{repository}@{digest}");
    let name = repository.split_once('/').unwrap().1;
    let credentials = bollard::auth::DockerCredentials {
        registrytoken: Some(rig.platform.registry.token(name, &["pull"]).token),
        ..Default::default()
    };
    let options = CreateImageOptionsBuilder::new().from_image(&image).build();
    let pulled: Result<Vec<_>, _> = docker
        .create_image(Some(options), None, Some(credentials))
        .try_collect()
        .await;
    pulled.unwrap();
    let saved: Vec<bytes::Bytes> = docker.export_image(&image).try_collect().await.unwrap();
    let saved = saved.concat();
    assert!(
        contains(&saved, b"good morning"),
        "the layers are there to be looked at"
    );
    assert!(!contains(&saved, b"r-secret-value"));
    let mut layers = 0;
    for entry in tar::Archive::new(saved.as_slice()).entries().unwrap() {
        let mut bytes = Vec::new();
        entry.unwrap().read_to_end(&mut bytes).unwrap();
        layers += 1;
        assert!(!contains(&bytes, b"r-secret-value"));
    }
    assert!(layers > 5);
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// The report of a finished build survives the agent, and nothing is built again.
async fn a_restarted_builder_still_knows(
    rig: &Rig,
    item: &protocol::item::BuildItem,
    result: &BuildResult,
) {
    let (_wanted, receiver) =
        watch::channel(Some(BTreeMap::from([(item.id, Arc::new(item.clone()))])));
    let dependencies = Dependencies {
        control_plane: rig.platform.clone(),
        logs: rig.lines.clone(),
        secrets: rig.secrets.clone(),
        registry_ca: std::fs::read_to_string(rig.platform.registry.ca()).unwrap(),
    };
    let reports = build::start(rig.config.clone(), dependencies, receiver).unwrap();
    let known = reports.borrow().clone();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].state, BuildState::Succeeded(result.clone()));
}

/// No image of ours stays in the build engine, and no folder of the build.
async fn the_engine_is_clean(rig: &Rig) {
    let work = rig.config.data_dir.join("work");
    assert_eq!(std::fs::read_dir(work).unwrap().count(), 0);
}
