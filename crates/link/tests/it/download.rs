use domain::id::ArchiveId;
use link::client::Error;
use protocol::join::Role;
use tempfile::tempdir;

use super::control_plane::ControlPlane;

/// SHA-256 of `an archive`.
const SHA256: &str = "9e691d5adacf0e102f203100842ffaba4e2a7dfe3dbd536827d3c0db8c7e88f1";

#[tokio::test]
async fn an_archive_is_taken_whole_and_as_announced_or_not_at_all() {
    let control_plane = ControlPlane::start(Role::Agent).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let file = dir.path().join("source.tar.gz");
    let fetch = |sha256: &'static str, max_bytes| {
        link.client()
            .download_archive(ArchiveId::new(), sha256, &file, max_bytes)
    };
    fetch(SHA256, 10).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"an archive");
    assert!(matches!(
        fetch(SHA256, 9).await,
        Err(Error::TooLarge { limit: 9, .. })
    ));
    assert!(matches!(fetch("00", 10).await, Err(Error::Checksum { .. })));
}

#[tokio::test]
async fn a_route_that_is_not_there_is_told_with_its_status() {
    let control_plane = ControlPlane::start(Role::Agent).await;
    let dir = tempdir().unwrap();
    let link = control_plane.join(dir.path()).await;
    let error = link.client().logs(&[]).await.unwrap_err();
    assert!(
        error.to_string().contains("404") && !error.is_passing(),
        "{error}"
    );
}
