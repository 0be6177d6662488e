//! The guide's table of errors names the test that sees each of them: every such name must be that of a
//! function in a Rust file.

use std::collections::BTreeSet;

use super::SourceFile;

const TABLE: &str = "docs/guide/errors.md";
/// Names of tests are sentences; shorter names in the table are those of files.
const WORDS_MIN: usize = 4;

/// Every name in the table's last column that no function has. A name that ends with "…" was written out
/// before.
pub fn check(files: &[SourceFile]) -> Vec<String> {
    let functions: BTreeSet<&str> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .flat_map(|file| functions(&file.text))
        .collect();
    let is_known = |name: &str| match name.strip_suffix('…') {
        Some(begin) => functions.iter().any(|function| function.starts_with(begin)),
        None => functions.contains(name),
    };
    let tables = files.iter().filter(|file| file.path == TABLE);
    tables
        .flat_map(|table| table.text.lines().enumerate())
        .flat_map(|(index, line)| names(line).map(move |name| (index + 1, name)))
        .filter(|(_, name)| !is_known(name))
        .map(|(line, name)| format!("{TABLE}:{line}: no test is called {name}"))
        .collect()
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    let declared = text.lines().filter_map(|line| line.split_once("fn "));
    declared.filter_map(|(_, rest)| rest.split(['(', '<']).next())
}

/// The names of tests in a row's last column.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let row = line
        .strip_prefix('|')
        .and_then(|line| line.strip_suffix('|'));
    let last = row.and_then(|row| row.rsplit('|').next());
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '…';
    last.into_iter()
        .flat_map(move |cell| cell.split(move |c| !is_part(c)))
        .filter(|word| word.split('_').count() >= WORDS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_test_that_is_not_there_is_found() {
        let code = file("a.rs", "async fn each_has_its_code() {\n");
        let row = |name: &str| file(TABLE, &format!("| input | `code_of_the_input` | {name} |"));
        for (name, findings) in [
            ("`bad_input` each_has_its_code", 0),
            ("each_has_its_…", 0),
            ("each_has_another_code", 1),
            ("each_had_its_…", 1),
        ] {
            let files = [file("a.rs", &code.text), row(name)];
            assert_eq!(check(&files).len(), findings, "{name}");
        }
    }
}
