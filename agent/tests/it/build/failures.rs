//! What goes wrong gets a code, and what never ends is ended.

use std::time::Duration;

use domain::{
    id::{OrganizationId, ServiceId},
    quantity::Span,
};
use protocol::{item::BuildSource, report::BuildState};

use super::{
    machine::{eventually, possible},
    rig::Rig,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_dockerfile_has_a_code() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let foreign = format!("{}/{}", OrganizationId::new(), ServiceId::new());
    let tar = std::fs::read(rig.folder.path().join("base.tar")).unwrap();
    let registry = &rig.platform.registry;
    registry.provide(&foreign, "amd64", &tar).await;
    let registry = &registry.host;
    let foreign = format!("FROM {registry}/{foreign}\nRUN echo reached\n");
    for (name, dockerfile, code, says) in [
        (
            "false",
            "FROM base\n\nRUN false\n",
            "dockerfile_failed",
            "line 3: RUN false",
        ),
        (
            "syntax",
            "FROM base\nNONSENSE x\n",
            "dockerfile_failed",
            "line 2",
        ),
        (
            "copy",
            "FROM base\nCOPY gone /x\n",
            "dockerfile_failed",
            "gone",
        ),
        (
            "architecture",
            "FROM base\nCOPY foreign /foreign\nRUN busybox chmod +x /foreign\nRUN [\"/foreign\"]\n",
            "wrong_architecture",
            "linux/amd64",
        ),
        (
            "platform",
            "FROM arm\nCOPY foreign /foreign\n",
            "wrong_architecture",
            "linux/arm64",
        ),
        (
            "memory",
            "FROM base\nRUN dd if=/dev/zero of=/dev/null bs=900M count=1\n",
            "dockerfile_failed",
            "memory limit",
        ),
        (
            "base",
            "FROM no-such-image:1\n",
            "base_image_not_found",
            "no-such-image",
        ),
        (
            "foreign",
            foreign.as_str(),
            "base_image_refused",
            "organization",
        ),
        (
            "secret",
            "FROM base\nRUN --mount=type=secret,id=NOPE,required cat /run/secrets/NOPE\n",
            "dockerfile_failed",
            "NOPE",
        ),
    ] {
        let files = [
            ("Dockerfile", dockerfile),
            ("foreign", "\x7fELF of nowhere"),
        ];
        let repo = rig.repository(name, &files);
        let item = rig.item(&repo);
        let (found, message) = rig.fails(&item).await;
        assert_eq!(found, code, "{name}: {message}");
        assert!(message.contains(says), "{name}: {message}");
        let log = rig.lines.of(item.id);
        assert!(
            log.contains(code),
            "{name}: the log does not end with the failure:\n{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_that_never_end_are_ended() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let repo = rig.repository(
        "sleep",
        &[("Dockerfile", "FROM base\nRUN echo asleep && sleep 86399\n")],
    );

    let mut item = rig.item(&repo);
    item.timeout = Span::seconds(10);
    let (code, message) = rig.fails(&item).await;
    assert_eq!(code, "build_timed_out", "{message}");
    no_step_runs("after the time cap").await;

    let mut item = rig.item(&repo);
    rig.want(&item);
    eventually("the step runs", Duration::from_secs(60), || {
        rig.lines.of(item.id).contains("asleep")
    })
    .await;
    item.cancel = true;
    let (code, message) = rig.fails(&item).await;
    assert_eq!(code, "build_canceled", "{message}");
    no_step_runs("after the cancel").await;

    // The builder goes on.
    let repo = rig.repository("fine", &[("Dockerfile", "FROM base\nRUN echo fine\n")]);
    let state = rig.build(&rig.item(&repo)).await;
    assert!(matches!(state, BuildState::Succeeded(_)), "{state:?}");
}

async fn no_step_runs(when: &str) {
    eventually(
        &format!("no step runs {when}"),
        Duration::from_secs(30),
        || {
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            !processes
                .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
                .any(|line| line == b"sleep\x0086399\0")
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_are_none_have_a_code() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let good = rig.repository("good", &[("Dockerfile", "FROM base\n"), ("a", "")]);
    let empty = rig.repository("empty", &[]);
    let bare = rig.repository("bare", &[("a", "")]);
    let zeros = "0123456789abcdef".repeat(1 << 17);
    let large: Vec<(String, String)> = (0..12)
        .map(|n| (format!("f{n}"), format!("{n}{zeros}")))
        .collect();
    let large: Vec<(&str, &str)> = large
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let large = rig.repository("large", &large);
    let outside = format!("file://{}", rig.folder.path().join("base").display());
    let marker = rig.folder.path().join("marker");
    let touch = format!("--upload-pack=touch {}", marker.display());
    let host = &rig.namespace.host;
    for (repo, reference, code) in [
        (good.as_str(), Some("no-such-branch"), "reference_not_found"),
        (&good, Some("--upload-pack=id"), "reference_not_found"),
        (&good, Some("a..b"), "reference_not_found"),
        (
            &good,
            Some("0123456789012345678901234567890123456789"),
            "reference_not_found",
        ),
        (&empty, None, "repository_empty"),
        (&bare, None, "dockerfile_not_found"),
        (&large, None, "repository_too_large"),
        (&outside, None, "repository_refused"),
        ("file:///etc", None, "repository_refused"),
        (&format!("{good}-gone"), None, "repository_not_found"),
        (&touch, None, "repository_refused"),
        ("ext::sh -c id", None, "repository_refused"),
        (
            &format!("https://{host}:1/a.git"),
            None,
            "repository_unreachable",
        ),
        (
            &format!("ssh://git@{host}:1/a.git"),
            None,
            "repository_unreachable",
        ),
    ] {
        let item = rig.item_of(BuildSource::Git {
            repo: repo.to_owned(),
            reference: reference.map(str::to_owned),
            deploy_key: None,
        });
        let (found, message) = rig.fails(&item).await;
        assert_eq!(found, code, "{repo} {reference:?}: {message}");
    }
    assert!(!marker.exists(), "an argument was run as a program");
}
