//! Rules in files, in the words of `railhead.toml`: `[[rules]]` with `if` and `then`.

use std::{io::Read as _, path::Path};

use domain::spec::{EdgeSpec, check_rules};
use rules::Rules;

use super::unreadable;
use crate::{
    error::{Error, Result},
    files,
};

/// What a file, or standard input (`-`), says.
pub fn read(path: &Path) -> Result<EdgeSpec> {
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| Error::file("read", "standard input", &error))?;
        text
    } else {
        files::read(path)?
    };
    parse(&text)
}

fn parse(text: &str) -> Result<EdgeSpec> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()));
    }
    toml::from_str(text).map_err(|error| unreadable(error.to_string().trim_end()))
}

/// As [`read`] takes it.
pub fn write(edge: &EdgeSpec) -> Result<String> {
    toml::to_string(edge).map_err(|error| Error::file("write", "standard output", &error))
}

/// The rules as edges go by them; every fault is told at once, before anything is sent.
pub fn compile(edge: &EdgeSpec) -> Result<Rules> {
    let faults: Vec<String> = check_rules(&edge.rules)
        .iter()
        .map(ToString::to_string)
        .collect();
    if !faults.is_empty() {
        return Err(unreadable(&faults.join("; ")));
    }
    rules::compile(&edge.rules).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        unreadable(&faults.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
[[rules]]
name = "login"
if = 'request.path.startsWith("/login") && request.method == "POST"'
then = { action = "rate_limit", key = "ip", limit = 20, window = "1m" }

[[rules]]
if = '!request.tls'
then = { action = "headers", response = { set = { x-plain = "1" } } }
"#;

    #[test]
    fn what_is_shown_can_be_set() {
        let edge = parse(RULES).unwrap();
        assert_eq!(edge.rules.len(), 2);
        compile(&edge).unwrap();
        assert_eq!(parse(&write(&edge).unwrap()).unwrap(), edge);
        let json = serde_json::to_string(&edge).unwrap();
        assert_eq!(parse(&json).unwrap(), edge);
    }

    #[test]
    fn slips_are_told_with_their_place() {
        for (text, part) in [
            ("[[rules]]\nif = 'true'", "then"),
            ("[[rule]]", "rule"),
            (
                "[[rules]]\nif = 'true'\nthen = { action = \"bloc\" }",
                "bloc",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
        for (condition, action, part) in [
            ("request.path", "allow", "edge.rules[0].if"),
            ("true", "block\", status = 200, x = \"", "x"),
        ] {
            let text = format!("[[rules]]\nif = '{condition}'\nthen = {{ action = \"{action}\" }}");
            let error = parse(&text).and_then(|edge| compile(&edge)).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
