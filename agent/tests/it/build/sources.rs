//! Where sources come from: references, ssh with a deploy key, uploaded archives.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use domain::id::ArchiveId;
use flate2::{Compression, write::GzEncoder};
use protocol::{
    item::{BuildItem, BuildSource},
    report::{BuildState, CommitInfo},
};
use sha2::{Digest, Sha256};

use super::{
    machine::{Process, eventually, listens, possible, run},
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

struct Sshd {
    port: u16,
    private_key: String,
    _process: Process,
}

/// An ssh server on the machine's end of the build network, which lets one key in.
async fn sshd(folder: &Path, address: &str) -> Sshd {
    let folder = folder.join(format!("sshd-{}", free_port(address)));
    std::fs::create_dir(&folder).unwrap();
    std::fs::create_dir_all("/run/sshd").unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    for name in ["host_key", "deploy_key"] {
        run(
            "ssh-keygen",
            &["-q", "-t", "ed25519", "-N", "", "-f", &path(name)],
        );
    }
    let port = free_port(address);
    let mut config = std::fs::File::create(folder.join("config")).unwrap();
    writeln!(
        config,
        "ListenAddress {address}:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
         StrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no",
        path("host_key"),
        path("deploy_key.pub"),
    )
    .unwrap();
    let child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f", &path("config")])
        .stderr(Stdio::from(
            std::fs::File::create(folder.join("log")).unwrap(),
        ))
        .spawn()
        .unwrap();
    eventually("sshd listens", Duration::from_secs(20), || {
        listens(&format!("{address}:{port}"))
    })
    .await;
    Sshd {
        port,
        private_key: std::fs::read_to_string(folder.join("deploy_key")).unwrap(),
        _process: Process(child),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_needs_the_deploy_key_and_the_same_host_key_again() {
    if !possible() || !Path::new("/usr/sbin/sshd").exists() {
        return;
    }
    let rig = Rig::start().await;
    let local = rig.repository("app", &[("Dockerfile", "FROM base\n")]);
    let path = local.strip_prefix("file://").unwrap();
    let server = sshd(rig.folder.path(), &rig.namespace.host).await;
    let url = format!("ssh://root@{}:{}{path}", rig.namespace.host, server.port);
    let key = rig.secrets.hold("deploy_key/1", &server.private_key);
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
    // Somebody else answers at that address.
    run(
        "ssh-keygen",
        &[
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-f",
            &rig.folder.path().join("other").display().to_string(),
        ],
    );
    let other = std::fs::read_to_string(rig.folder.path().join("other.pub")).unwrap();
    let other = other.split(' ').take(2).collect::<Vec<_>>().join(" ");
    std::fs::write(
        &kept,
        format!("[{}]:{} {other}\n", rig.namespace.host, server.port),
    )
    .unwrap();
    std::fs::set_permissions(&kept, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (code, message) = rig.fails(&with(Some(key))).await;
    assert_eq!(code, "repository_host_key_changed", "{message}");
}
