//! What no file may say: a path of somebody's home, a note of work left undone.

use super::SourceFile;

const LINES_MAX: usize = 400;

/// Words that may stand nowhere, split so that this file passes its own rule.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("TO", "DO", "work left undone belongs into an issue"),
    ("FIX", "ME", "work left undone belongs into an issue"),
    ("/home", "/", "the path of somebody's home"),
    ("/Users", "/", "the path of somebody's home"),
    ("/root", "/", "the path of somebody's home"),
];

/// Files that come from elsewhere word by word.
const FOREIGN: &[&str] = &["LICENSE", "Cargo.lock"];

/// Every line that says what none may.
pub fn check(file: &SourceFile) -> Vec<String> {
    if FOREIGN.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for (first, second, reason) in FORBIDDEN {
            let word = format!("{first}{second}");
            if contains_word(line, &word) {
                found.push(format!("{}:{}: \"{word}\": {reason}", file.path, index + 1));
            }
        }
    }
    found
}

/// A warning for a Rust file in which a second idea may hide.
pub fn long_file(file: &SourceFile) -> Option<String> {
    let lines = file.text.lines().count();
    (file.path.ends_with(".rs") && lines > LINES_MAX).then(|| {
        format!(
            "{} has {lines} lines (more than {LINES_MAX}): is there a second idea in it?",
            file.path
        )
    })
}

/// `word`, but not as part of a longer name or path.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let joined = |c: char| c.is_alphanumeric() || "._-$}".contains(c);
        !before.is_some_and(joined)
            && (word.ends_with('/') || !after.is_some_and(char::is_alphanumeric))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> usize {
        check(&SourceFile {
            path: "x.rs".to_owned(),
            text: text.to_owned(),
        })
        .len()
    }

    #[test]
    fn undone_work_and_home_paths_are_found() {
        assert_eq!(findings(&format!("// {}{}: later", "TO", "DO")), 1);
        assert_eq!(findings(&format!("let a = \"{}{}me/x\";", "/home", "/")), 1);
    }

    #[test]
    fn longer_words_are_not() {
        assert_eq!(findings(&format!("let {}{}S = 1;", "TO", "DO")), 0);
        assert_eq!(findings(&format!("\"/srv{}{}x\"", "/root", "/")), 0);
    }

    #[test]
    fn a_long_file_is_warned_of() {
        let file = |lines: usize| SourceFile {
            path: "x.rs".to_owned(),
            text: "x\n".repeat(lines),
        };
        assert!(long_file(&file(400)).is_none());
        assert!(long_file(&file(401)).is_some());
    }
}
