//! Submodules come with the source: nested, relative, over ssh; and take nobody anywhere else.

use protocol::{
    feed::SecretRef,
    item::{BuildItem, BuildSource},
    report::BuildState,
};
use testkit::git::Repository;

use super::{machine::possible, rig::Rig, sources::server};

const DOCKERFILE: &str = "FROM base\nCOPY . /app\nRUN cat /app/marker\n";

fn item(rig: &Rig, repo: String, deploy_key: Option<SecretRef>) -> BuildItem {
    rig.item_of(BuildSource::Git {
        repo,
        reference: None,
        deploy_key,
    })
}

/// A repository with a file of its name's text.
fn library(rig: &Rig, name: &str) -> (Repository, String) {
    let library = rig.empty_repository(name);
    library.write("marker", &format!("marker of {name}\n"));
    let commit = library.commit("Library");
    (library, commit)
}

/// A repository whose only submodule is at `lib`.
fn app(rig: &Rig, name: &str, url: &str, commit: &str) -> Repository {
    let mut app = rig.empty_repository(name);
    app.write("Dockerfile", DOCKERFILE).write("marker", "top\n");
    app.submodule("lib", url, commit);
    app.commit("With a submodule");
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_ones_come_over_ssh_with_the_deploy_key_and_without_any_git_folder() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let (server, key) = server(&rig).await;
    let (deep, deep_commit) = library(&rig, "deep");
    let (mut lib, _) = library(&rig, "lib");
    lib.submodule("nested/deep", &server.url(deep.path()), &deep_commit);
    let lib_commit = lib.commit("Nested");
    let (_, unwanted) = library(&rig, "unwanted");

    let mut top = rig.empty_repository("top");
    let dockerfile = "FROM base\nCOPY . /app\n\
        RUN cat /app/vendor/lib/marker /app/vendor/lib/nested/deep/marker\n\
        RUN test ! -e /app/vendor/lib/.git && test ! -e /app/vendor/lib/nested/deep/.git && echo no-git\n";
    top.write("Dockerfile", dockerfile);
    top.submodule("vendor/lib", "../lib", &lib_commit);
    top.submodule("unwanted", "../unwanted\n\tupdate = none", &unwanted);
    top.commit("With submodules");

    let item = item(&rig, server.url(top.path()), Some(key));
    let state = rig.build(&item).await;
    let log = rig.lines.of(item.id);
    assert!(
        matches!(state, BuildState::Succeeded(_)),
        "{state:?}\n{log}"
    );
    for part in [
        "marker of lib",
        "marker of deep",
        "no-git",
        "Fetching submodule vendor/lib/nested/deep from ssh://",
    ] {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
    assert!(!log.contains("unwanted"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deploy_key_is_offered_to_its_own_host_only() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let (own, key) = server(&rig).await;
    // It would let this key in.
    let (elsewhere, _) = server(&rig).await;
    let (lib, commit) = library(&rig, "lib");
    let top = app(&rig, "top", &elsewhere.url(lib.path()), &commit);
    let (code, message) = rig.fails(&item(&rig, own.url(top.path()), Some(key))).await;
    assert_eq!(code, "repository_private", "{message}");
    assert!(message.starts_with("submodule lib: "), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_elsewhere_or_has_no_end_is_refused() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let (_, commit) = library(&rig, "lib");
    let large = rig.empty_repository("large");
    for number in 0..12 {
        let text = "0123456789abcdef".repeat(1 << 17);
        large.write(&format!("f{number}"), &format!("{number}{text}"));
    }
    let large = large.commit("Large");
    let marker = rig.folder.path().join("marker");
    let upload_pack = format!("--upload-pack=touch {}", marker.display());
    let proxy = format!("ssh://-oProxyCommand=touch {}/x", marker.display());
    let nobody = "0123456789012345678901234567890123456789";
    for (name, url, commit, code) in [
        (
            "absolute",
            "file:///etc",
            commit.as_str(),
            "repository_refused",
        ),
        ("dash", "-u./payload", &commit, "repository_refused"),
        ("option", &upload_pack, &commit, "repository_refused"),
        ("proxy", &proxy, &commit, "repository_refused"),
        ("helper", "ext::sh -c id", &commit, "repository_refused"),
        (
            "plain",
            "http://git.example.com/a",
            &commit,
            "repository_refused",
        ),
        ("path", "/etc", &commit, "repository_refused"),
        ("upwards", "../../base", &commit, "repository_refused"),
        (
            "above",
            "../../../../../../../../../x",
            &commit,
            "repository_refused",
        ),
        (
            "gone",
            "../no-such-repository",
            &commit,
            "repository_not_found",
        ),
        ("commit", "../lib", nobody, "reference_not_found"),
        ("size", "../large", &large, "repository_too_large"),
    ] {
        let top = app(&rig, name, url, commit);
        let (found, message) = rig.fails(&item(&rig, top.file_url(), None)).await;
        assert_eq!(found, code, "{name}: {message}");
        let named = message.starts_with("submodule lib: ") || code == "repository_too_large";
        assert!(named, "{name}: {message}");
    }
    assert!(!marker.exists(), "an argument was run as a program");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_another_in_another_ends_at_a_depth() {
    if !possible() {
        return;
    }
    let rig = Rig::start().await;
    let mut matryoshka = rig.empty_repository("matryoshka");
    matryoshka.write("Dockerfile", "FROM base\n");
    let mut inner = matryoshka.commit("The innermost");
    for depth in 0..10 {
        matryoshka.submodule("inner", "../matryoshka", &inner);
        inner = matryoshka.commit(&format!("Around {depth}"));
    }
    let (code, message) = rig.fails(&item(&rig, matryoshka.file_url(), None)).await;
    assert_eq!(code, "repository_refused", "{message}");
    assert!(message.contains("8 deep"), "{message}");
}
