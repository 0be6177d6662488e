//! Where sources come from: references, https, ssh with a deploy key, uploaded archives.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use domain::id::ArchiveId;
use flate2::{Compression, write::GzEncoder};
use protocol::{
    feed::SecretRef,
    item::{BuildItem, BuildSource},
    report::{BuildState, CommitInfo},
};
use rcgen::{CertificateParams, KeyPair};
use sha2::{Digest, Sha256};
use testkit::git_server::{GitServer, generate_key};

use super::{
    git_https,
    machine::{possible, run},
    registry::free_port,
    rig::Rig,
};

async fn commit_of(rig: &Rig, item: &BuildItem) -> Option<CommitInfo> {
    match rig.build(item).await {
        BuildState::Succeeded(result) => result.commit,
        state => panic!("{state:?}\n{}", rig.lines.of(item.id)),
    }
}

fn git(rig: &Rig, repo: &str, reference: &str) -> BuildItem {
    rig.item_of(BuildSource::Git {
        repo: repo.to_owned(),
        reference: Some(reference.to_owned()),
        deploy_key: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_a_tag_and_a_commit_are_found() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let repo = rig.repository(
        "app",
        &[("Dockerfile", "FROM base\nCOPY a /a\n"), ("a", "1")],
    );
    let path = repo.strip_prefix("file://").unwrap();
    let git_in = |arguments: &[&str]| {
        let always = [
            "-C",
            path,
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=a@example.com",
        ];
        run("git", &[&always, arguments].concat()).trim().to_owned()
    };
    let first = git_in(&["rev-parse", "HEAD"]);
    git_in(&["tag", "v1"]);
    git_in(&["checkout", "--quiet", "-b", "feature/x"]);
    git_in(&["commit", "--quiet", "--allow-empty", "--message", "Second"]);
    let second = git_in(&["rev-parse", "HEAD"]);
    git_in(&["commit", "--quiet", "--allow-empty", "--message", "Third"]);
    let third = git_in(&["rev-parse", "HEAD"]);
    for (reference, sha) in [
        ("main", &first),
        ("v1", &first),
        ("feature/x", &third),
        (second.as_str(), &second),
    ] {
        let commit = commit_of(&rig, &git(&rig, &repo, reference)).await.unwrap();
        assert_eq!(&commit.sha, sha, "{reference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn https_is_trusted_by_the_operators_extra_ca() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    rig.repository("app", &[("Dockerfile", "FROM base\n")]);
    let serve = async |certificate| {
        let (host, root) = (&rig.namespace.host, rig.repositories.clone());
        git_https::serve(host, root, certificate).await
    };
    let own = serve(rig.platform.registry.certificate()).await;
    let commit = commit_of(&rig, &rig.item(&format!("{own}/app"))).await;
    assert_eq!(commit.unwrap().title, "First version");

    let key = KeyPair::generate().unwrap();
    let foreign = CertificateParams::new([rig.namespace.host.clone()]).unwrap();
    let foreign = foreign.self_signed(&key).unwrap();
    let foreign = serve((foreign.der().clone(), key.into())).await;
    for (repo, expected) in [
        (format!("{own}/no-such"), "repository_not_found"),
        (format!("{foreign}/app"), "repository_unreachable"),
    ] {
        let (code, message) = rig.fails(&rig.item(&repo)).await;
        assert_eq!(code, expected, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_archive_is_built_and_a_damaged_one_refused() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in [
        ("Dockerfile", "FROM base\nCOPY . /app\nRUN /app/run\n"),
        ("run", "#!/bin/sh\necho ran-it\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let (good, damaged) = (ArchiveId::new(), ArchiveId::new());
    let mut flipped = bytes.clone();
    flipped[20] ^= 1;
    rig.platform
        .archives
        .lock()
        .unwrap()
        .extend([(good, bytes), (damaged, flipped)]);

    let item = rig.item_of(BuildSource::Archive {
        id: good,
        sha256: sha256.clone(),
    });
    assert_eq!(commit_of(&rig, &item).await, None);
    assert!(rig.lines.of(item.id).contains("ran-it"));
    for (id, code) in [
        (damaged, "archive_invalid"),
        (ArchiveId::new(), "archive_unavailable"),
    ] {
        let item = rig.item_of(BuildSource::Archive {
            id,
            sha256: sha256.clone(),
        });
        let (found, message) = rig.fails(&item).await;
        assert_eq!(found, code, "{message}");
    }
}

/// A server on the machine's end of the build network, and the deploy key that all of them let in.
pub async fn server(rig: &Rig) -> (GitServer, SecretRef) {
    let host = &rig.namespace.host;
    let port = free_port(host);
    let key = rig.folder.path().join("deploy_key");
    if !key.exists() {
        generate_key(&key).unwrap();
    }
    let host_key = rig.folder.path().join("host_key");
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let private = std::fs::read_to_string(&key).unwrap();
    let server = GitServer::listen(host, port, &host_key, &public)
        .await
        .unwrap();
    (server, rig.secrets.hold("deploy_key/1", &private))
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_needs_the_deploy_key_and_the_same_host_key_again() {
    if !possible() || !Path::new("/usr/sbin/sshd").exists() {
        return;
    }
    let rig = Rig::start().await;
    let local = rig.repository("app", &[("Dockerfile", "FROM base\n")]);
    let path = Path::new(local.strip_prefix("file://").unwrap());
    let (server, key) = server(&rig).await;
    let url = server.url(path);
    let with = |deploy_key| {
        rig.item_of(BuildSource::Git {
            repo: url.clone(),
            reference: None,
            deploy_key,
        })
    };
    let (code, message) = rig.fails(&with(None)).await;
    assert_eq!(code, "repository_private", "{message}");
    assert!(commit_of(&rig, &with(Some(key.clone()))).await.is_some());

    let kept = rig.config.data_dir.join("known_hosts");
    let kept = kept.join(rig.platform.organization.to_string());
    let known = std::fs::read_to_string(&kept).unwrap();
    assert!(known.contains(&rig.namespace.host), "{known}");
    let metadata = std::fs::metadata(&kept).unwrap();
    let others_may_write = metadata.mode() & 0o022 != 0;
    assert!(metadata.uid() == 0 && !others_may_write, "{metadata:?}");
    // Somebody else answers at that address.
    generate_key(&rig.folder.path().join("other")).unwrap();
    let other = std::fs::read_to_string(rig.folder.path().join("other.pub")).unwrap();
    let other = other.split(' ').take(2).collect::<Vec<_>>().join(" ");
    std::fs::write(
        &kept,
        format!("{} {other}\n", known.split(' ').next().unwrap()),
    )
    .unwrap();
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (code, message) = rig.fails(&with(Some(key))).await;
    assert_eq!(code, "repository_host_key_changed", "{message}");

    let nobody = format!(
        "ssh://git@{}:{}/a",
        rig.namespace.host,
        free_port(&rig.namespace.host)
    );
    let (code, message) = rig.fails(&rig.item(&nobody)).await;
    assert_eq!(code, "repository_unreachable", "{message}");
}
