//! Base images where Docker Hub can't be reached: made from the distribution's packages, kept outside
//! the checkout, pushed to the platform's registry as `library/*`. An air-gapped site does the same.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{plan::Plan, registry};
use crate::command::{CommandExt as _, command};

/// An image under the names that Docker Hub gives it.
struct BaseImage {
    name: &'static str,
    tags: &'static [&'static str],
    packages: &'static [&'static str],
    command: &'static str,
}

const IMAGES: [BaseImage; 2] = [
    BaseImage {
        name: "debian",
        tags: &["bookworm-slim", "12-slim"],
        packages: &["ca-certificates"],
        command: "bash",
    },
    BaseImage {
        name: "python",
        tags: &["3.11-slim", "3.11-slim-bookworm", "3-slim"],
        packages: &[
            "ca-certificates",
            "python3",
            "python3-pip",
            "python-is-python3",
        ],
        command: "python3",
    },
];

const SUITE: &str = "bookworm";
/// Part of the cached file's name: raise it when the recipe changes.
const RECIPE: u32 = 1;
/// Nothing that runs reads them.
const LEFT_OUT: [&str; 4] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
];

/// Makes every image's root file system unless it is in the cache. Two platforms that come up together make
/// each once.
pub fn ensure_made() -> Result<()> {
    let folder = cache()?;
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let turn = File::create(folder.join("lock")).context("making the cache's lock")?;
    turn.lock()
        .context("waiting for whoever makes base images")?;
    for image in &IMAGES {
        let file = image.cached()?;
        if !file.exists() {
            image
                .make(&file)
                .with_context(|| format!("making base image {}", image.name))?;
        }
    }
    Ok(())
}

/// Pushes what the platform's registry lacks.
pub fn ensure_pushed(plan: &Plan) -> Result<()> {
    let missing: Vec<_> = IMAGES
        .iter()
        .filter(|image| {
            image
                .tags
                .iter()
                .any(|tag| !registry::has(plan, image.name, tag))
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let loading = registry::Loading::start(plan)?;
    for image in missing {
        image
            .push(&loading.url)
            .with_context(|| format!("pushing base image {}", image.name))?;
    }
    Ok(())
}

/// Whether Docker Hub answers; where it does, engines fetch base images from it.
pub fn hub_is_reachable() -> bool {
    command([
        "curl",
        "--silent",
        "--max-time",
        "3",
        "--output",
        "/dev/null",
        "https://registry-1.docker.io/v2/",
    ])
    .succeeds()
}

fn cache() -> Result<PathBuf> {
    let cache = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => {
            bail!("neither XDG_CACHE_HOME nor HOME is set: no place for base images")
        }
    };
    Ok(cache.join("railhead/base-images"))
}

impl BaseImage {
    fn cached(&self) -> Result<PathBuf> {
        Ok(cache()?.join(format!("{}-{SUITE}-{RECIPE}.tar.gz", self.name)))
    }

    fn make(&self, file: &Path) -> Result<()> {
        let folder = file.parent().context("a cache without a folder")?;
        let draft = folder.join(format!("{}-{}.new.tar", self.name, std::process::id()));
        let mut make = command(["mmdebstrap", "--quiet", "--variant=apt"]);
        make.arg(format!("--include={}", self.packages.join(",")))
            .args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")))
            .args([SUITE, &draft.display().to_string()])
            .env("SOURCE_DATE_EPOCH", "0");
        make.read()?;
        command(["gzip", "-1", "--no-name"]).arg(&draft).read()?;
        let packed = draft.with_extension("tar.gz");
        fs::rename(&packed, file).with_context(|| format!("making {}", file.display()))
    }

    /// The four requests of the distribution specification: two blobs, then the manifest by each tag.
    fn push(&self, registry: &str) -> Result<()> {
        let layer = self.cached()?;
        let (layer_digest, layer_size) = (digest_of(&layer)?, fs::metadata(&layer)?.len());
        let config = layer.with_extension("config.json");
        fs::write(&config, self.config(&unpacked_digest(&layer)?).to_string())?;
        let (config_digest, config_size) = (digest_of(&config)?, fs::metadata(&config)?.len());
        self.push_blob(registry, &layer, &layer_digest)?;
        self.push_blob(registry, &config, &config_digest)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.docker.container.image.v1+json", "size": config_size, "digest": config_digest },
            "layers": [{ "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": layer_size, "digest": layer_digest }],
        });
        for tag in self.tags {
            let url = format!("{registry}/v2/library/{}/manifests/{tag}", self.name);
            command([
                "curl",
                "-fsS",
                "-X",
                "PUT",
                "-H",
                &format!("Content-Type: {MANIFEST}"),
                "--data-binary",
                "@-",
                &url,
            ])
            .read_with(&manifest.to_string())?;
        }
        Ok(())
    }

    fn push_blob(&self, registry: &str, file: &Path, digest: &str) -> Result<()> {
        let start = format!("{registry}/v2/library/{}/blobs/uploads/", self.name);
        let upload = command([
            "curl",
            "-fsS",
            "-X",
            "POST",
            "-o",
            "/dev/null",
            "-w",
            "%header{location}",
            &start,
        ])
        .read()?;
        let upload = upload.trim();
        let join = if upload.contains('?') { '&' } else { '?' };
        command([
            "curl",
            "-fsS",
            "-X",
            "PUT",
            "-H",
            "Content-Type: application/octet-stream",
            "-T",
        ])
        .arg(file)
        .arg(format!("{upload}{join}digest={digest}"))
        .read()
        .map(drop)
    }

    fn config(&self, layer: &str) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
                "Cmd": [self.command],
            },
            "rootfs": { "type": "layers", "diff_ids": [layer] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": format!("mmdebstrap {SUITE}") }],
        })
    }
}

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// As image configurations name it.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest_of(file: &Path) -> Result<String> {
    let printed = command(["sha256sum".as_ref(), file.as_os_str()]).read()?;
    first_word(&printed)
}

fn unpacked_digest(file: &Path) -> Result<String> {
    let mut unpack = command(["gzip".as_ref(), "-dc".as_ref(), file.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting gzip")?;
    let output = unpack.stdout.take().context("gzip has no output")?;
    let hashed = command(["sha256sum"])
        .stdin(output)
        .output()
        .context("starting sha256sum")?;
    if !unpack.wait()?.success() || !hashed.status.success() {
        bail!(
            "{} can't be unpacked; delete it and try again",
            file.display()
        );
    }
    first_word(&String::from_utf8(hashed.stdout)?)
}

fn first_word(printed: &str) -> Result<String> {
    let hash = printed
        .split_whitespace()
        .next()
        .context("sha256sum printed nothing")?;
    Ok(format!("sha256:{hash}"))
}
