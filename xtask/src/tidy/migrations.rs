//! Migrations: two versions of the control plane run side by side on one schema, so a migration only
//! expands it; what an older version reads goes in a later one. A statement that contracts says why it
//! may, in a comment of its own: `-- allow(<rule>): <reason>`. Nobody edits one that has landed.

mod rules;
mod statements;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use self::statements::{Statement, statements};
use super::SourceFile;

const FOLDER: &str = "control-plane/migrations/";
const CHECKSUMS: &str = "control-plane/migrations/checksums.txt";
/// Those up to this number were there before these rules.
const OLDER: u32 = 30;
/// A reason is a sentence.
const REASON_MIN: usize = 20;

/// A migration of the checkout.
struct Migration<'a> {
    number: u32,
    file: &'a SourceFile,
}

/// Every broken rule of every migration.
pub fn check(files: &[SourceFile]) -> Vec<String> {
    let (migrations, mut found) = migrations(files);
    found.extend(numbers(&migrations));
    found.extend(checksums(files, &migrations));
    let newer = migrations.iter().filter(|m| m.number > OLDER);
    found.extend(newer.flat_map(|migration| contractions(migration.file)));
    found
}

fn migrations(files: &[SourceFile]) -> (Vec<Migration<'_>>, Vec<String>) {
    let (mut migrations, mut found) = (Vec::new(), Vec::new());
    for file in files {
        let Some(name) = file.path.strip_prefix(FOLDER) else {
            continue;
        };
        if !name.ends_with(".sql") {
            continue;
        }
        let number = name.split_once('_').filter(|(number, _)| number.len() == 4);
        match number.and_then(|(number, _)| number.parse().ok()) {
            Some(number) => migrations.push(Migration { number, file }),
            None => found.push(format!(
                "{}: a migration is called NNNN_what_it_does.sql",
                file.path
            )),
        }
    }
    (migrations, found)
}

fn numbers(migrations: &[Migration<'_>]) -> Vec<String> {
    let mut seen: BTreeMap<u32, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for migration in migrations {
        let path = migration.file.path.as_str();
        if let Some(other) = seen.insert(migration.number, path) {
            found.push(format!("{path}: {other} has the same number"));
        }
    }
    found
}

/// The list is what `sha256sum` writes, numbers rising.
fn checksums(files: &[SourceFile], migrations: &[Migration<'_>]) -> Vec<String> {
    let list = files.iter().find(|file| file.path == CHECKSUMS);
    let lines: Vec<(&str, &str)> = list
        .iter()
        .flat_map(|list| list.text.lines())
        .filter_map(|line| line.split_once("  "))
        .collect();
    let mut found = Vec::new();
    if !lines.is_sorted_by_key(|(_, name)| *name) {
        found.push(format!("{CHECKSUMS}: the numbers do not rise"));
    }
    let landed: BTreeMap<&str, &str> = lines.iter().map(|(sum, name)| (*name, *sum)).collect();
    let mut there = BTreeSet::new();
    for migration in migrations {
        let name = migration.file.path.trim_start_matches(FOLDER);
        there.insert(name);
        let sum = hex::encode(Sha256::digest(migration.file.text.as_bytes()));
        match landed.get(name) {
            None => found.push(format!("{CHECKSUMS}: add the line \"{sum}  {name}\"")),
            Some(listed) if *listed != sum => found.push(format!(
                "{}: it has landed and is another one now: databases that have it refuse to start; make a new migration",
                migration.file.path
            )),
            Some(_) => {}
        }
    }
    let gone = landed.keys().filter(|name| !there.contains(**name));
    found.extend(gone.map(|name| format!("{FOLDER}{name}: it has landed and is gone")));
    found
}

/// What a migration takes from the version before, or does under a lock that stops it.
fn contractions(file: &SourceFile) -> Vec<String> {
    let all = statements(&file.text);
    let made: BTreeSet<String> = all.iter().filter_map(rules::made_table).collect();
    let without_transaction = file.text.starts_with("-- no-transaction");
    let mut found = Vec::new();
    for statement in &all {
        let allowed = allowances(statement);
        let mut needed = BTreeSet::new();
        for broken in rules::broken(statement, &made, without_transaction) {
            needed.insert(broken.rule.to_owned());
            if !allowed.contains(broken.rule) {
                found.push(format!(
                    "{}:{}: {}: {}; or say why it may: -- allow({}): <reason>",
                    file.path, statement.line, broken.rule, broken.why, broken.rule
                ));
            }
        }
        found.extend(allowed.difference(&needed).map(|rule| {
            format!(
                "{}:{}: allow({rule}) allows nothing here",
                file.path, statement.line
            )
        }));
    }
    found
}

/// The rules that a statement's comments set aside, with a reason.
fn allowances(statement: &Statement) -> BTreeSet<String> {
    let allow = |comment: &String| {
        let (rule, reason) = comment.strip_prefix("allow(")?.split_once("):")?;
        (reason.trim().len() >= REASON_MIN).then(|| rule.to_owned())
    };
    statement.comments.iter().filter_map(allow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile {
            path: format!("{FOLDER}{path}"),
            text: text.to_owned(),
        }
    }

    fn sum(text: &str) -> String {
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    /// Findings about this text, as a migration that has landed.
    fn findings(text: &str) -> Vec<String> {
        let list = format!("{}  0099_x.sql\n", sum(text));
        check(&[file("0099_x.sql", text), file("checksums.txt", &list)])
    }

    #[test]
    fn what_expands_is_free() {
        let free = "create table a (id uuid primary key, b text not null);\n\
                    create unique index a_b on a (b);\n\
                    alter table node add column c text, add column d bigint not null default 0;\n\
                    create index node_c on node (c);\n\
                    grant select on a to railhead_system;\n";
        assert_eq!(findings(free), [""; 0]);
    }

    #[test]
    fn each_way_to_break_the_version_before_is_found() {
        for (sql, rule) in [
            ("drop table node", "drop"),
            ("alter table node drop column name", "drop"),
            ("alter table node drop name", "drop"),
            ("drop view instance_usage", "drop"),
            ("alter table node rename to machine", "rename"),
            ("alter table node rename column name to title", "rename"),
            ("alter table node add column c text not null", "not-null"),
            (
                "alter table node add c text default 'x', add d int not null",
                "not-null",
            ),
            (
                "alter table node alter column name set not null",
                "not-null",
            ),
            ("alter table node alter column version type integer", "type"),
            (
                "alter table node alter version set data type integer",
                "type",
            ),
            ("create unique index d on deployment (number)", "index"),
            (
                "create index concurrently d on deployment (number)",
                "index",
            ),
            ("create index d on public.deployment (number)", "index"),
            (
                "alter table node add constraint c check (name <> '')",
                "constraint",
            ),
            (
                "alter table instance add foreign key (node_id) references node",
                "constraint",
            ),
            ("update node set schedulable = true", "rows"),
            ("delete from event", "rows"),
        ] {
            let found = findings(&format!("{sql};\n"));
            assert_eq!(found.len(), 1, "{sql}: {found:?}");
            assert!(
                found[0].contains(&format!(":1: {rule}: ")),
                "{sql}: {found:?}"
            );
        }
    }

    #[test]
    fn a_contraction_needs_a_reason_that_fits() {
        let with = |comment: &str| findings(&format!("-- {comment}\ndrop table old;\n")).len();
        assert_eq!(with("allow(drop): nothing reads it since version 0.4"), 0);
        assert_eq!(with("allow(drop): because"), 1);
        assert_eq!(with("allow(rename): nothing reads it since version 0.4"), 2);
        let free = "-- allow(drop): nothing reads it since version 0.4\nselect 1;\n";
        assert_eq!(findings(free).len(), 1, "a reason for nothing");
    }

    #[test]
    fn an_index_is_made_beside_the_running_version() {
        let text =
            "-- no-transaction\ncreate unique index concurrently d on deployment (number);\n";
        assert_eq!(findings(text), [""; 0]);
    }

    #[test]
    fn one_that_has_landed_stays_as_it_is() {
        let text = "select 1;\n";
        let listed =
            |name: &str, list: &str| check(&[file(name, text), file("checksums.txt", list)]);
        let right = format!("{}  0099_x.sql\n", sum(text));
        assert_eq!(listed("0099_x.sql", &right), [""; 0]);
        assert!(listed("0099_x.sql", "")[0].contains(&right[..60]));
        let other = format!("{}  0099_x.sql\n", sum("select 2;\n"));
        assert!(listed("0099_x.sql", &other)[0].contains("another one now"));
        let more = format!("{right}{}  0100_y.sql\n", sum(""));
        assert!(listed("0099_x.sql", &more)[0].contains("is gone"));
        let falling = format!("{}  0100_y.sql\n{right}", sum(text));
        let files = [
            file("0099_x.sql", text),
            file("0100_y.sql", text),
            file("checksums.txt", &falling),
        ];
        assert!(check(&files)[0].contains("do not rise"));
    }

    #[test]
    fn numbers_are_four_digits_and_nobodys_else() {
        let list = format!("{0}  0099_x.sql\n{0}  0099_y.sql\n", sum(""));
        let files = [
            file("0099_x.sql", ""),
            file("0099_y.sql", ""),
            file("99_z.sql", ""),
            file("checksums.txt", &list),
        ];
        let found = check(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("is called NNNN"));
        assert!(found[1].contains("same number"));
    }
}
