//! A tiny image made of busybox, without any registry of others.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// An image as `docker save` writes it.
pub fn archive(tagged: &str, user: &str, command: &[&str], architecture: &str) -> Vec<u8> {
    let rootfs = rootfs();
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"User": user, "Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex::encode(Sha256::digest(&rootfs)))]},
    });
    let manifest = serde_json::json!([{
        "Config": "config.json", "RepoTags": [tagged], "Layers": ["layer.tar"],
    }]);
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, "layer.tar", &rootfs);
    add(&mut archive, "config.json", config.to_string().as_bytes());
    add(
        &mut archive,
        "manifest.json",
        manifest.to_string().as_bytes(),
    );
    archive.into_inner().unwrap()
}

/// Busybox with the few programs that the tests run.
fn rootfs() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut busybox = std::fs::File::open(which("busybox")).unwrap();
    archive.append_file("bin/busybox", &mut busybox).unwrap();
    for program in [
        "sh", "sleep", "httpd", "wget", "timeout", "nslookup", "echo", "cat", "seq",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive
            .append_link(&mut header, format!("bin/{program}"), "busybox")
            .unwrap();
    }
    add(&mut archive, "www/index.html", b"hello");
    // Without it busybox's resolver crashes.
    add(&mut archive, "etc/passwd", b"root:x:0:0::/:/bin/sh\n");
    archive.into_inner().unwrap()
}

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, content).unwrap();
}

fn which(program: &str) -> PathBuf {
    std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .unwrap()
}
