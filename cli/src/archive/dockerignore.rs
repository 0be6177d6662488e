//! `.dockerignore` as Docker reads it: patterns stand from the top (no `*.log` at any depth without
//! `**/`), and `!` brings back a file below a folder that is left out.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::{
    error::{Error, Result},
    files,
};

/// The patterns of a folder's `.dockerignore`; none when there is no such file.
pub struct DockerIgnore {
    patterns: Gitignore,
}

impl DockerIgnore {
    /// Reads the file.
    pub fn of(folder: &Path) -> Result<Self> {
        let path = folder.join(".dockerignore");
        let text = files::read_if_there(&path)?.unwrap_or_default();
        Self::parse(&text).map_err(|error| Error::file("understand", path, &error))
    }

    /// Whether the file or folder is left out. Folders are kept while something below may be
    /// brought back.
    pub fn leaves_out(&self, path: &Path, is_directory: bool) -> bool {
        let kept_for_exceptions = is_directory && self.patterns.num_whitelists() > 0;
        !kept_for_exceptions
            && self
                .patterns
                .matched_path_or_any_parents(path, is_directory)
                .is_ignore()
    }

    fn parse(text: &str) -> std::result::Result<Self, ignore::Error> {
        let mut builder = GitignoreBuilder::new("");
        for line in text.lines().filter_map(from_top) {
            builder.add_line(None, &line)?;
        }
        Ok(Self {
            patterns: builder.build()?,
        })
    }
}

/// The same pattern in the language of `.gitignore`.
fn from_top(line: &str) -> Option<String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (exception, pattern) = match line.strip_prefix('!') {
        Some(pattern) => ("!", pattern.trim()),
        None => ("", line),
    };
    let pattern = pattern.trim_start_matches("./").trim_matches('/');
    (!pattern.is_empty() && pattern != ".").then(|| format!("{exception}/{pattern}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(patterns: &str, path: &str) -> bool {
        DockerIgnore::parse(patterns)
            .unwrap()
            .leaves_out(Path::new(path), false)
    }

    #[test]
    fn patterns_stand_from_the_top() {
        assert!(left_out("*.log", "a.log"));
        assert!(!left_out("*.log", "sub/a.log"));
        assert!(left_out("**/*.log", "sub/a.log"));
        assert!(left_out("/node_modules/", "node_modules/x/y"));
        assert!(!left_out("node_modules", "web/node_modules/x"));
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        assert!(!left_out("docs\n!docs/README.md", "docs/README.md"));
        assert!(left_out("docs\n!docs/README.md", "docs/other.md"));
        assert!(left_out("!a\na", "a"));
        assert!(!left_out("# a\n\n.", "a"));
    }
}
