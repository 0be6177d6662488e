use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use link::{Error, Link, identity};
use protocol::join::Role;
use tempfile::tempdir;
use testkit::{
    chaos_proxy::{ChaosProxy, Conditions},
    wait,
};

use super::{
    control_plane::ControlPlane,
    pki::{Life, Pki},
};

const SOON: Duration = Duration::from_secs(20);

/// All files below a folder.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn refusal(result: Result<Link, Error>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn a_machine_joins_once_and_starts_without_the_control_plane() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let config = control_plane.config(dir.path(), control_plane.address);
    let joined = Link::open(config.clone()).await.unwrap();
    assert_eq!(
        joined.identity().spiffe_id(),
        control_plane.shared.spiffe_id
    );
    drop(control_plane);
    fs::remove_file(config.join_token_file.as_ref().unwrap()).unwrap();
    let started = Link::open(config).await.unwrap();
    assert_eq!(started.identity().node_id(), joined.identity().node_id());
}

#[tokio::test]
async fn nothing_private_lies_open_on_the_disk() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    control_plane.join(dir.path()).await;
    let state = files(&dir.path().join("state"));
    assert_eq!(state.len(), 2, "{state:?}");
    for file in state {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file:?}");
        let content = fs::read(&file).unwrap();
        assert!(
            !String::from_utf8_lossy(&content).contains("PRIVATE KEY"),
            "{file:?}"
        );
    }
    assert!(dir.path().join("state.key").exists());
}

#[tokio::test]
async fn a_control_plane_with_another_ca_is_not_joined() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let config = control_plane.config(dir.path(), control_plane.address);
    let mut token = control_plane.token();
    token.ca_sha256 = Pki::new().sha256();
    fs::write(config.join_token_file.as_ref().unwrap(), token.to_string()).unwrap();
    // A wrong CA is tried on (an address may be taken over for a while): it never succeeds.
    let waiting = tokio::time::timeout(Duration::from_secs(2), Link::open(config));
    assert!(waiting.await.is_err());
    assert!(!dir.path().join("state/identity.json").exists());
}

#[tokio::test]
async fn a_refused_token_is_told_with_its_code() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let mut config = control_plane.config(dir.path(), control_plane.address);
    config.name = "refused".parse().unwrap();
    let message = refusal(Link::open(config).await);
    assert!(
        message.contains("join_token_used") && message.contains("make a new token"),
        "{message}"
    );
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_is_asked_again_with_the_same_key() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let mut config = control_plane.config(dir.path(), control_plane.address);
    config.name = "refused".parse().unwrap();
    Link::open(config).await.unwrap_err();
    let key = fs::read(dir.path().join("state/identity.key")).unwrap();
    control_plane.join(dir.path()).await;
    assert_eq!(
        fs::read(dir.path().join("state/identity.key")).unwrap(),
        key
    );
}

#[tokio::test]
async fn joining_waits_for_a_control_plane_that_is_away() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let proxy = ChaosProxy::start(control_plane.address).await.unwrap();
    proxy.cut();
    let dir = tempdir().unwrap();
    let joining = tokio::spawn(Link::open(control_plane.config(dir.path(), proxy.address)));
    wait::until(SOON, async || {
        dir.path().join("state/identity.key").exists()
    })
    .await;
    assert!(!joining.is_finished());
    proxy.set(Conditions::default());
    let link = tokio::time::timeout(SOON, joining)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(link.identity().role(), Role::Edge);
}

#[tokio::test]
async fn no_token_rubbish_and_a_token_of_the_other_role() {
    let control_plane = ControlPlane::start(Role::Agent).await;
    let dir = tempdir().unwrap();
    let config = control_plane.config(dir.path(), control_plane.address);
    let without = link::Config {
        join_token_file: None,
        ..config.clone()
    };
    assert!(refusal(Link::open(without).await).contains("join_token_file"));
    let edge = link::Config {
        role: Role::Edge,
        ..config.clone()
    };
    assert!(refusal(Link::open(edge).await).contains("other role"));
    fs::write(config.join_token_file.as_ref().unwrap(), "rubbish").unwrap();
    let message = refusal(Link::open(config).await);
    assert!(
        message.contains("no join token") && !message.contains("rubbish"),
        "{message}"
    );
}

#[tokio::test]
async fn an_expired_certificate_works_on_and_is_renewed() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    *control_plane.shared.life.lock().unwrap() = Life::EXPIRED;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let expired = link.identity().credentials().validity;
    *control_plane.shared.life.lock().unwrap() = Life::FRESH;
    let renewing = tokio::spawn(link.clone().renew());
    wait::until(SOON, async || {
        link.identity().credentials().validity != expired
    })
    .await;
    renewing.abort();
    let renewed = link.identity().credentials().validity;
    assert!(renewed.not_after > expired.not_after);
    drop(control_plane);

    let stored = fs::read(dir.path().join("state/identity.json")).unwrap();
    let stored: protocol::join::Identity = serde_json::from_slice(&stored).unwrap();
    assert_eq!(
        stored.certificate,
        link.identity().credentials().identity.certificate
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_used_although_the_disk_refuses_it() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    *control_plane.shared.life.lock().unwrap() = Life::EXPIRED;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let expired = link.identity().credentials().validity;
    fs::create_dir(dir.path().join("state/identity.json.new")).unwrap();
    *control_plane.shared.life.lock().unwrap() = Life::FRESH;
    let renewing = tokio::spawn(link.clone().renew());
    wait::until(SOON, async || {
        link.identity().credentials().validity.not_after > expired.not_after
    })
    .await;
    renewing.abort();
}

#[tokio::test]
async fn an_identity_without_its_node_key_is_not_used() {
    let control_plane = ControlPlane::start(Role::Edge).await;
    let dir = tempdir().unwrap();
    let config = control_plane.config(dir.path(), control_plane.address);
    control_plane.join(dir.path()).await;
    fs::remove_file(dir.path().join("state.key")).unwrap();
    assert!(matches!(
        Link::open(config).await.unwrap_err(),
        Error::Identity(identity::Error::NodeKey(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_platform_says_so() {
    let own = ControlPlane::start(Role::Agent).await;
    let other = ControlPlane::start(Role::Agent).await;
    let dir = tempdir().unwrap();
    drop(own.join(dir.path()).await);
    let moved = Link::open(own.config(dir.path(), other.address))
        .await
        .unwrap();
    let request = protocol::join::RegistryTokenRequest {
        repository: "library/base".into(),
        push: false,
        mount_from: Vec::new(),
    };
    let Err(error) = moved.client().registry_token(&request).await else {
        panic!("a foreign certificate was believed");
    };
    assert_eq!(error.code(), "certificate_foreign", "{error}");
    assert!(error.to_string().contains("check control_plane"), "{error}");
}
