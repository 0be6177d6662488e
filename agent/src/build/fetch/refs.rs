//! What `git ls-remote --symref` lists, and which of it a reference means.

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A ref by its full name.
    Ref(String),
    /// A commit by its full id; it need not be the tip of anything.
    Commit(String),
}

impl Target {
    /// The branch, when it is one.
    pub fn branch(&self) -> Option<&str> {
        match self {
            Self::Ref(name) => name.strip_prefix("refs/heads/"),
            Self::Commit(_) => None,
        }
    }
}

/// Why nothing is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// The repository has no refs at all.
    Empty,
    /// No such branch, tag or commit.
    Unknown,
}

/// Says which of the `listing` a `reference` means; the default branch when there is none.
/// A branch wins over a tag of the same name, as for `git clone --branch`.
pub fn resolve(listing: &str, reference: Option<&str>) -> Result<Target, Unresolved> {
    let refs: Vec<&str> = listing
        .lines()
        .filter(|line| !line.starts_with("ref: "))
        .filter_map(|line| line.split_once('\t').map(|(_, name)| name))
        .collect();
    if refs.is_empty() {
        return Err(Unresolved::Empty);
    }
    let wanted = match reference {
        None => return default_branch(listing, &refs).ok_or(Unresolved::Unknown),
        Some(reference) => reference,
    };
    let names = [
        format!("refs/heads/{wanted}"),
        format!("refs/tags/{wanted}"),
        wanted.to_owned(),
    ];
    names
        .into_iter()
        .find(|name| name.starts_with("refs/") && refs.contains(&name.as_str()))
        .map(Target::Ref)
        .or_else(|| is_commit(wanted).then(|| Target::Commit(wanted.to_owned())))
        .ok_or(Unresolved::Unknown)
}

fn default_branch(listing: &str, refs: &[&str]) -> Option<Target> {
    let symbolic = listing
        .lines()
        .filter_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"))
        .find(|name| refs.contains(name));
    symbolic
        .or_else(|| refs.contains(&"HEAD").then_some("HEAD"))
        .map(|name| Target::Ref(name.to_owned()))
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "ref: refs/heads/main\tHEAD\n\
        1111111111111111111111111111111111111111\tHEAD\n\
        1111111111111111111111111111111111111111\trefs/heads/main\n\
        2222222222222222222222222222222222222222\trefs/heads/feature/x\n\
        3333333333333333333333333333333333333333\trefs/tags/main\n\
        4444444444444444444444444444444444444444\trefs/tags/v1\n\
        5555555555555555555555555555555555555555\trefs/tags/v1^{}\n";

    #[test]
    fn references_mean_what_people_expect() {
        let of = |reference| resolve(LISTING, reference);
        let named = |name: &str| Ok(Target::Ref(name.to_owned()));
        assert_eq!(of(None), named("refs/heads/main"));
        assert_eq!(of(Some("main")), named("refs/heads/main"));
        assert_eq!(of(Some("feature/x")), named("refs/heads/feature/x"));
        assert_eq!(of(Some("v1")), named("refs/tags/v1"));
        assert_eq!(of(Some("refs/tags/main")), named("refs/tags/main"));
        let commit = "9".repeat(40);
        assert_eq!(of(Some(&commit)), Ok(Target::Commit(commit.clone())));
        for unknown in ["nothing", "HEAD", "9999999", "x"] {
            assert_eq!(of(Some(unknown)), Err(Unresolved::Unknown), "{unknown}");
        }
    }

    #[test]
    fn a_repository_without_commits_is_empty() {
        assert_eq!(resolve("", None), Err(Unresolved::Empty));
        assert_eq!(
            resolve("ref: refs/heads/main\tHEAD\n", Some("main")),
            Err(Unresolved::Empty)
        );
    }
}
