//! `.dockerignore`, as the Docker CLI reads it: patterns from the context's top, `!` takes back,
//! the last match decides, and what is below an ignored folder is ignored.

use std::path::Path;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// The patterns of a `.dockerignore`.
#[derive(Debug)]
pub struct DockerIgnore {
    globs: GlobSet,
    /// For each glob: whether its pattern begins with `!`.
    negated: Vec<bool>,
}

impl DockerIgnore {
    /// Reads the file's text.
    ///
    /// # Errors
    /// The pattern that is none, and why.
    pub fn parse(text: &str) -> Result<Self, globset::Error> {
        let mut globs = GlobSetBuilder::new();
        let mut negated = Vec::new();
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (negative, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, clean(rest)),
                None => (false, clean(line)),
            };
            if pattern.is_empty() {
                continue;
            }
            globs.add(glob(&pattern)?);
            globs.add(glob(&format!("{pattern}/**"))?);
            negated.extend([negative, negative]);
        }
        Ok(Self {
            globs: globs.build()?,
            negated,
        })
    }

    /// Whether a path (from the context's top) is left out.
    pub fn ignores(&self, path: &Path) -> bool {
        self.globs
            .matches(path)
            .into_iter()
            .max()
            .and_then(|last| self.negated.get(last))
            .is_some_and(|negated| !negated)
    }

    /// Whether something below an ignored folder may be taken back.
    pub fn takes_back(&self) -> bool {
        self.negated.contains(&true)
    }
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
}

/// Without leading and trailing slashes and `.` parts; braces are plain characters to Docker.
fn clean(pattern: &str) -> String {
    let parts: Vec<&str> = pattern
        .trim()
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/").replace('{', "\\{").replace('}', "\\}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_as_docker_does() {
        let text =
            "# comment\n\n*.log\n/build/\n**/node_modules\n!keep.log\ndocs\n!docs/README.md\n{a}\n";
        let ignore = DockerIgnore::parse(text).unwrap();
        for (path, ignored) in [
            ("a.log", true),
            ("sub/a.log", false),
            ("keep.log", false),
            ("build", true),
            ("build/x/y", true),
            ("src/build", false),
            ("node_modules/x", true),
            ("a/b/node_modules/x", true),
            ("docs/a.md", true),
            ("docs/README.md", false),
            ("{a}", true),
            ("a", false),
            ("src/main.rs", false),
        ] {
            assert_eq!(ignore.ignores(Path::new(path)), ignored, "{path}");
        }
    }

    #[test]
    fn nothing_is_ignored_without_patterns_and_a_broken_one_is_named() {
        assert!(!DockerIgnore::parse("").unwrap().ignores(Path::new("a")));
        let error = DockerIgnore::parse("[").unwrap_err();
        assert!(error.to_string().contains('['), "{error}");
    }
}
