//! What a statement may not do to a schema that the version before is running on.

use std::collections::BTreeSet;

use super::statements::Statement;

/// Tables that grow with use: nothing may hold their lock for as long as reading them takes.
const LARGE: &[&str] = &[
    "audit_event",
    "build",
    "deployment",
    "evaluation",
    "event",
    "feed_item",
    "feed_tombstone",
    "instance",
    "instance_status",
    "job",
    "release",
    "service",
    "session",
    "variable",
];

/// A rule that is broken.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its name, for the comment that sets it aside.
    pub rule: &'static str,
    /// What to do instead.
    pub why: &'static str,
}

const DROP: Broken = Broken {
    rule: "drop",
    why: "the version before still reads it; drop it in a release in which nothing does",
};
const RENAME: Broken = Broken {
    rule: "rename",
    why: "the version before knows the old name; add the new one, write both, drop the old one later",
};
const NOT_NULL: Broken = Broken {
    rule: "not-null",
    why: "the version before does not write it; give a default, or make it not null once all rows have it",
};
const TYPE: Broken = Broken {
    rule: "type",
    why: "the table is rewritten under a lock and the version before reads the old type; add another column",
};
const INDEX: Broken = Broken {
    rule: "index",
    why: "writers of a large table wait while it is made; begin the file with -- no-transaction and create it concurrently",
};
const CONSTRAINT: Broken = Broken {
    rule: "constraint",
    why: "all rows are read under a lock; add it not valid and validate it in a later migration",
};
const ROWS: Broken = Broken {
    rule: "rows",
    why: "forced row-level security hides tenants' rows from the owner, and the version before goes on writing; do it in a job, or assert the count",
};

/// The table that a statement makes.
pub fn made_table(statement: &Statement) -> Option<String> {
    let words = words(&statement.sql);
    let name = match words.as_slice() {
        ["create", "table", "if", "not", "exists", name, ..] | ["create", "table", name, ..] => {
            name
        }
        _ => return None,
    };
    Some(table(name))
}

/// The rules that a statement breaks. Tables made in the same file are nobody's yet.
pub fn broken(
    statement: &Statement,
    made: &BTreeSet<String>,
    without_transaction: bool,
) -> Vec<Broken> {
    let words = words(&statement.sql);
    let is_new = |name: &str| made.contains(&table(name));
    match words.as_slice() {
        [
            "drop",
            "table" | "view" | "materialized" | "type" | "schema" | "function",
            ..,
        ] => {
            vec![DROP]
        }
        ["update", "only", name, ..] | ["update", name, ..] if !is_new(name) => vec![ROWS],
        ["delete", "from", name, ..] if !is_new(name) => vec![ROWS],
        ["truncate", ..] => vec![ROWS],
        ["create", "index" | "unique", ..] => index(&words, &is_new, without_transaction),
        ["alter", "table", rest @ ..] => {
            let skipped = rest
                .iter()
                .take_while(|word| ["if", "exists", "only"].contains(word))
                .count();
            match rest.get(skipped) {
                Some(name) if !is_new(name) => actions(&statement.sql).flat_map(action).collect(),
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

fn index(words: &[&str], is_new: &impl Fn(&str) -> bool, without_transaction: bool) -> Vec<Broken> {
    let on = words.iter().skip_while(|word| **word != "on").nth(1);
    let is_large = on.is_some_and(|name| LARGE.contains(&table(name).as_str()) && !is_new(name));
    let beside = words.contains(&"concurrently") && without_transaction;
    if is_large && !beside {
        vec![INDEX]
    } else {
        Vec::new()
    }
}

/// The parts of an `alter table`, between its commas.
fn actions(sql: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    sql.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

fn action(sql: &str) -> Option<Broken> {
    let all = words(sql);
    let has = |run: &[&str]| all.windows(run.len()).any(|window| window == run);
    let keeps = ["constraint", "not", "default", "expression", "identity"];
    let drops = all
        .windows(2)
        .any(|pair| pair[0] == "drop" && !keeps.contains(&pair[1]));
    let adds_column = all.contains(&"add") && !is_constraint(&all);
    if drops {
        Some(DROP)
    } else if has(&["rename"]) {
        Some(RENAME)
    } else if has(&["set", "not", "null"])
        || adds_column && has(&["not", "null"]) && !has(&["default"]) && !has(&["generated"])
    {
        Some(NOT_NULL)
    } else if all.contains(&"alter") && all.contains(&"type") {
        Some(TYPE)
    } else if is_constraint(&all) && !has(&["not", "valid"]) {
        Some(CONSTRAINT)
    } else {
        None
    }
}

/// Whether it adds a check or a key that all rows must be held against.
fn is_constraint(words: &[&str]) -> bool {
    const KINDS: [&str; 6] = [
        "constraint",
        "check",
        "foreign",
        "unique",
        "primary",
        "exclude",
    ];
    words
        .windows(2)
        .any(|pair| pair[0] == "add" && KINDS.iter().any(|kind| pair[1] == *kind))
}

fn words(sql: &str) -> Vec<&str> {
    sql.split(|c: char| c.is_whitespace() || "(),".contains(c))
        .filter(|word| !word.is_empty())
        .collect()
}

/// Without its schema and quotes.
fn table(name: &str) -> String {
    let name = name.rsplit('.').next().unwrap_or(name);
    name.trim_matches('"').to_owned()
}
