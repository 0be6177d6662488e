//! Which project, environment and service a folder belongs to: `.railhead/link.toml`, found from
//! any folder below. It is personal, so the folder keeps itself out of git.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    files,
};

/// An object that was chosen, by id; the name is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chosen {
    /// Such as `svc_…`.
    pub id: String,
    /// As it was when it was chosen.
    pub name: String,
}

/// What a folder belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The API's address.
    pub api: String,
    /// The organization.
    pub organization: Chosen,
    /// The project.
    pub project: Chosen,
    /// The environment.
    pub environment: Chosen,
    /// The service, when one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Chosen>,
}

/// A link and the folder that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the folder belongs to.
    pub link: Link,
    /// The folder that holds `.railhead`.
    pub folder: PathBuf,
}

/// The link of the nearest folder upwards.
pub fn find(start: &Path) -> Result<Option<Found>> {
    for folder in start.ancestors() {
        if let Some(text) = files::read_if_there(&path(folder))? {
            let link = toml::from_str(&text)
                .map_err(|error| Error::file("understand", path(folder), &error.message()))?;
            return Ok(Some(Found {
                link,
                folder: folder.to_owned(),
            }));
        }
    }
    Ok(None)
}

/// Links a folder.
pub fn save(folder: &Path, link: &Link) -> Result {
    let path = path(folder);
    let text = toml::to_string(link).map_err(|error| Error::file("write", path.clone(), &error))?;
    files::write_public(&path, &text)?;
    files::write_public(&path.with_file_name(".gitignore"), "*\n")
}

/// Unlinks the folder when what it belongs to was deleted.
pub fn forget(found: Option<&Found>, is_gone: impl Fn(&Link) -> bool) -> Result {
    match found.filter(|found| is_gone(&found.link)) {
        Some(found) => remove(&found.folder).map(drop),
        None => Ok(()),
    }
}

/// Unlinks a folder; says whether it was linked.
pub fn remove(folder: &Path) -> Result<bool> {
    let path = path(folder);
    let was_linked = files::remove(&path)?;
    if was_linked {
        files::remove(&path.with_file_name(".gitignore"))?;
        // Other files of the user's may be in it; then it stays.
        let _ = std::fs::remove_dir(folder.join(".railhead"));
    }
    Ok(was_linked)
}

fn path(folder: &Path) -> PathBuf {
    folder.join(".railhead").join("link.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(id: &str, name: &str) -> Chosen {
        Chosen {
            id: id.into(),
            name: name.into(),
        }
    }

    fn link() -> Link {
        Link {
            api: "https://railhead.example.com/".into(),
            organization: chosen("org_1", "acme"),
            project: chosen("prj_1", "shop"),
            environment: chosen("env_1", "production"),
            service: None,
        }
    }

    #[test]
    fn a_link_is_found_from_below_and_gone_after_unlinking() {
        let top = tempfile::tempdir().unwrap();
        let below = top.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        save(top.path(), &link()).unwrap();
        let found = find(&below).unwrap().unwrap();
        assert_eq!((found.link, found.folder.as_path()), (link(), top.path()));
        assert!(remove(top.path()).unwrap());
        assert!(!top.path().join(".railhead").exists());
        assert_eq!(find(top.path()).unwrap(), None);
    }

    #[test]
    fn unlinking_leaves_the_users_own_files() {
        let top = tempfile::tempdir().unwrap();
        save(top.path(), &link()).unwrap();
        std::fs::write(top.path().join(".railhead/notes"), "x").unwrap();
        remove(top.path()).unwrap();
        assert!(top.path().join(".railhead/notes").exists());
    }
}
