//! The build context: the source's folder as a tar file for the engine, without what
//! `.dockerignore` names. Links are packed as links; none is followed.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use domain::image::ImageReference;

use super::{dockerignore::DockerIgnore, error::Error};

const DOCKERFILE_MAX: u64 = 1 << 20;

/// What is built from where.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The source's top.
    pub source: PathBuf,
    /// The folder that is built.
    pub root: String,
    /// From that folder.
    pub dockerfile: String,
}

/// A packed context.
#[derive(Debug)]
pub struct Context {
    /// The Dockerfile's path in the tar file.
    pub dockerfile: String,
    /// Its text, to name the line that failed.
    pub dockerfile_text: String,
}

impl Context {
    /// A ready image and nothing else, written to `to`.
    ///
    /// # Errors
    /// On a full disk.
    pub fn of_image(image: &ImageReference, to: &Path) -> Result<Self, Error> {
        let dockerfile = "Dockerfile".to_owned();
        let dockerfile_text = format!("FROM {image}\n");
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(dockerfile_text.len() as u64);
        let file = File::create(to).map_err(Error::io("create", to))?;
        let mut tar = tar::Builder::new(file);
        tar.append_data(&mut header, &dockerfile, dockerfile_text.as_bytes())
            .and_then(|()| tar.finish())
            .map_err(Error::io("write", to))?;
        Ok(Self {
            dockerfile,
            dockerfile_text,
        })
    }
}

impl Selection {
    /// Packs the context into `to`.
    ///
    /// # Errors
    /// When folder or Dockerfile are missing or lie outside the source, or on a full disk.
    pub fn pack(&self, to: &Path) -> Result<Context, Error> {
        let folder = self.folder()?;
        let dockerfile = clean(&self.dockerfile);
        let dockerfile_text = self.dockerfile_text(&folder, &dockerfile)?;
        let pack = Pack {
            ignore: ignore(&folder, &dockerfile)?,
            folder: &folder,
            dockerfile: Path::new(&dockerfile),
        };
        let file = File::create(to).map_err(Error::io("create", to))?;
        let mut tar = tar::Builder::new(BufWriter::new(file));
        tar.mode(tar::HeaderMode::Deterministic);
        tar.follow_symlinks(false);
        pack.folder(&mut tar, &folder)?;
        tar.into_inner()
            .and_then(|mut out| out.flush())
            .map_err(Error::io("write", to))?;
        Ok(Context {
            dockerfile,
            dockerfile_text,
        })
    }

    fn folder(&self) -> Result<PathBuf, Error> {
        inside(&self.source, &clean(&self.root))
            .filter(|path| path.is_dir())
            .ok_or_else(|| Error::RootNotFound {
                root: self.root.clone(),
            })
    }

    fn dockerfile_text(&self, folder: &Path, dockerfile: &str) -> Result<String, Error> {
        let missing = || Error::DockerfileNotFound {
            path: self.dockerfile.clone(),
        };
        let path = inside(folder, dockerfile)
            .filter(|path| path.is_file())
            .ok_or_else(missing)?;
        let size = path.metadata().map_err(|_| missing())?.len();
        if size > DOCKERFILE_MAX {
            return Err(Error::DockerfileFailed {
                what: format!("it has {size} bytes, more than {DOCKERFILE_MAX}"),
            });
        }
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// `path` below `folder`, if it exists and no link leads out.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let real = folder.join(path).canonicalize().ok()?;
    real.starts_with(&folder).then_some(real)
}

fn clean(path: &str) -> String {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/")
}

fn ignore(folder: &Path, dockerfile: &str) -> Result<DockerIgnore, Error> {
    let text = [format!("{dockerfile}.dockerignore"), ".dockerignore".into()]
        .iter()
        .find_map(|name| std::fs::read(inside(folder, name)?).ok())
        .unwrap_or_default();
    DockerIgnore::parse(&String::from_utf8_lossy(&text)).map_err(|e| Error::DockerfileFailed {
        what: format!(".dockerignore: {e}"),
    })
}

struct Pack<'a> {
    folder: &'a Path,
    ignore: DockerIgnore,
    dockerfile: &'a Path,
}

impl Pack<'_> {
    fn folder<W: Write>(&self, tar: &mut tar::Builder<W>, folder: &Path) -> Result<(), Error> {
        let failed = || Error::io("read the folder", folder);
        let mut entries = std::fs::read_dir(folder)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(failed())?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().map_err(failed())?;
            self.entry(tar, &entry.path(), kind)?;
        }
        Ok(())
    }

    fn entry<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        path: &Path,
        kind: std::fs::FileType,
    ) -> Result<(), Error> {
        let name = path.strip_prefix(self.folder).unwrap_or(path);
        if name == Path::new(".git") {
            return Ok(());
        }
        let ignored = self.ignore.ignores(name);
        if kind.is_dir() {
            if !ignored {
                self.append(tar, path, name)?;
            }
            let leads_to_dockerfile = self.dockerfile.starts_with(name);
            if !ignored || self.ignore.takes_back() || leads_to_dockerfile {
                self.folder(tar, path)?;
            }
        } else if (kind.is_file() || kind.is_symlink()) && (!ignored || name == self.dockerfile) {
            self.append(tar, path, name)?;
        }
        Ok(())
    }

    fn append<W: Write>(
        &self,
        tar: &mut tar::Builder<W>,
        path: &Path,
        name: &Path,
    ) -> Result<(), Error> {
        tar.append_path_with_name(path, name)
            .map_err(Error::io("pack", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn select(source: &Path, root: &str, dockerfile: &str) -> Selection {
        Selection {
            source: source.to_owned(),
            root: root.to_owned(),
            dockerfile: dockerfile.to_owned(),
        }
    }

    fn names(tar: &Path) -> Vec<String> {
        let mut tar = tar::Archive::new(File::open(tar).unwrap());
        tar.entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn packs_the_folder_without_what_is_ignored() {
        let source = source(&[
            ("app/Dockerfile", "FROM x"),
            ("app/.dockerignore", "*.log\nDockerfile\n"),
            ("app/a.log", ""),
            ("app/src/main", ""),
            ("app/.git/config", ""),
            ("other", ""),
        ]);
        let tar = source.path().join("context.tar");
        let context = select(source.path(), "/app", "./Dockerfile")
            .pack(&tar)
            .unwrap();
        assert_eq!(context.dockerfile, "Dockerfile");
        assert_eq!(context.dockerfile_text, "FROM x");
        assert_eq!(
            names(&tar),
            [".dockerignore", "Dockerfile", "src", "src/main"]
        );
    }

    #[test]
    fn folder_and_dockerfile_must_lie_inside() {
        let source = source(&[("in/Dockerfile", "FROM x"), ("out/Dockerfile", "FROM x")]);
        let top = source.path().join("in");
        std::os::unix::fs::symlink("../out", top.join("link")).unwrap();
        let tar = source.path().join("context.tar");
        for (root, dockerfile, code) in [
            ("/link", "Dockerfile", "root_not_found"),
            ("/../out", "Dockerfile", "root_not_found"),
            ("/gone", "Dockerfile", "root_not_found"),
            ("/", "link/Dockerfile", "dockerfile_not_found"),
            ("/", "gone", "dockerfile_not_found"),
        ] {
            let error = select(&top, root, dockerfile).pack(&tar).unwrap_err();
            assert_eq!(error.code(), code, "{root} {dockerfile}");
        }
    }
}
