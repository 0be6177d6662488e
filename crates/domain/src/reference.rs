//! References in variables' values: `${{service.VARIABLE}}`, `${{shared.KEY}}` and
//! `${{secret(32)}}`. Resolved when a release is made; what can't be resolved, and circles, are
//! named so that a person can find them.

use std::collections::BTreeMap;

use crate::name::{Name, VariableName};

/// Longest generated secret.
pub const SECRET_MAX: usize = 256;

/// Longest resolved value, so that references can't multiply into a huge one.
pub const VALUE_MAX: usize = 64 * 1024;

/// Where a variable lives: of one service, or shared by the environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// `${{shared.KEY}}`
    Shared,
    /// `${{<service>.VARIABLE}}`
    Service(Name),
}

/// A variable of an environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Where it lives.
    pub scope: Scope,
    /// What it is called.
    pub name: VariableName,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.scope {
            Scope::Shared => write!(f, "shared.{}", self.name),
            Scope::Service(service) => write!(f, "{service}.{}", self.name),
        }
    }
}

/// Every variable of an environment, as written.
pub type Variables = BTreeMap<Key, String>;

/// Why a value has no final text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one of the three forms.
    #[error(
        "${{{{{0}}}}} is no reference: write ${{{{service.VARIABLE}}}}, ${{{{shared.KEY}}}} or ${{{{secret(32)}}}}"
    )]
    Syntax(String),
    /// `${{` without `}}`.
    #[error("a reference begins with ${{{{ but does not end with }}}}: {0}")]
    Unclosed(String),
    /// Nothing of that name.
    #[error(
        "{from} refers to {to}, which does not exist: set it, or correct the service's or variable's name"
    )]
    Unresolved {
        /// The variable with the reference.
        from: String,
        /// What it asks for.
        to: String,
    },
    /// A variable that needs itself.
    #[error("these variables refer to each other in a circle: {}", .0.join(" → "))]
    Cycle(Vec<String>),
    /// References multiplied it.
    #[error("{0} is longer than 64 KiB once its references are filled in")]
    TooLong(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Reference(Key),
    Secret(usize),
}

/// Checks a value's references for their form, as when a variable is saved.
///
/// # Errors
/// [`Error::Syntax`] or [`Error::Unclosed`].
pub fn check(value: &str) -> Result<(), Error> {
    parse(value).map(drop)
}

/// Fills in `${{secret(n)}}` with texts of `random(n)`; done once, when a variable is saved, so
/// that the secret is the same in every release.
///
/// # Errors
/// [`Error::Syntax`] or [`Error::Unclosed`].
pub fn generate(value: &str, mut random: impl FnMut(usize) -> String) -> Result<String, Error> {
    Ok(parse(value)?
        .into_iter()
        .map(|part| match part {
            Part::Text(text) => text,
            Part::Reference(key) => format!("${{{{{key}}}}}"),
            Part::Secret(length) => random(length),
        })
        .collect())
}

/// The final values of one service: its own variables and the shared ones that it doesn't
/// override, with every reference filled in. `all` holds the whole environment's variables.
///
/// # Errors
/// The first reference that can't be filled in, by name.
pub fn resolve(service: &Name, all: &Variables) -> Result<BTreeMap<VariableName, String>, Error> {
    let own = |key: &&Key| key.scope == Scope::Service(service.clone());
    let shared = |key: &&Key| key.scope == Scope::Shared;
    let mut values = BTreeMap::new();
    for key in all.keys().filter(own).chain(all.keys().filter(shared)) {
        if !values.contains_key(&key.name) {
            values.insert(key.name.clone(), value_of(key, all, &mut Vec::new())?);
        }
    }
    Ok(values)
}

fn value_of(key: &Key, all: &Variables, path: &mut Vec<Key>) -> Result<String, Error> {
    if let Some(start) = path.iter().position(|seen| seen == key) {
        let circle = path.iter().skip(start).chain([key]);
        return Err(Error::Cycle(circle.map(ToString::to_string).collect()));
    }
    let unresolved = || Error::Unresolved {
        from: path
            .last()
            .map_or_else(|| key.to_string(), ToString::to_string),
        to: key.to_string(),
    };
    let written = all.get(key).ok_or_else(unresolved)?;
    path.push(key.clone());
    let mut value = String::new();
    for part in parse(written)? {
        match part {
            Part::Text(text) => value.push_str(&text),
            Part::Reference(to) => value.push_str(&value_of(&to, all, path)?),
            Part::Secret(length) => return Err(Error::Syntax(format!("secret({length})"))),
        }
        if value.len() > VALUE_MAX {
            return Err(Error::TooLong(key.to_string()));
        }
    }
    path.pop();
    Ok(value)
}

fn parse(value: &str) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("${{") {
        let (inner, behind) = after
            .split_once("}}")
            .ok_or_else(|| Error::Unclosed(shortened(after)))?;
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        parts.push(parse_reference(inner.trim())?);
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

fn parse_reference(inner: &str) -> Result<Part, Error> {
    let syntax = || Error::Syntax(shortened(inner));
    if let Some(length) = inner
        .strip_prefix("secret(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        let length = length.parse().map_err(|_| syntax())?;
        return (1..=SECRET_MAX)
            .contains(&length)
            .then_some(Part::Secret(length))
            .ok_or_else(syntax);
    }
    let (scope, name) = inner.split_once('.').ok_or_else(syntax)?;
    let scope = match scope {
        "shared" => Scope::Shared,
        service => Scope::Service(service.parse().map_err(|_| syntax())?),
    };
    let name = name.parse().map_err(|_| syntax())?;
    Ok(Part::Reference(Key { scope, name }))
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(key, value)| match parse_reference(key).unwrap() {
                Part::Reference(key) => (key, (*value).to_owned()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn resolved(pairs: &[(&str, &str)]) -> Result<BTreeMap<String, String>, Error> {
        let values = resolve(&"web".parse().unwrap(), &variables(pairs))?;
        Ok(values
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect())
    }

    #[test]
    fn own_shared_and_other_services_variables_are_filled_in() {
        let values = resolved(&[
            (
                "web.URL",
                "postgres://${{ pg.USER }}:${{pg.PASSWORD}}@db/${{shared.NAME}}",
            ),
            ("pg.USER", "app"),
            ("pg.PASSWORD", "${{shared.SALT}}x"),
            ("shared.NAME", "shop"),
            ("shared.SALT", "s"),
            ("web.SALT", "own"),
        ])
        .unwrap();
        assert_eq!(values["URL"], "postgres://app:sx@db/shop");
        assert_eq!(
            values["SALT"], "own",
            "a service's own variable overrides the shared one"
        );
        assert_eq!(values["NAME"], "shop");
        assert!(!values.contains_key("PASSWORD"));
    }

    #[test]
    fn what_does_not_exist_is_named_with_who_asks() {
        let error = resolved(&[("web.URL", "${{pg.HOST}}")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "web.URL refers to pg.HOST, which does not exist: set it, or correct the service's or variable's name"
        );
    }

    #[test]
    fn a_circle_is_named_in_its_order() {
        let error = resolved(&[
            ("web.A", "${{pg.B}}"),
            ("pg.B", "${{shared.C}}"),
            ("shared.C", "${{pg.B}}"),
        ])
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "these variables refer to each other in a circle: pg.B → shared.C → pg.B"
        );
        assert!(matches!(
            resolved(&[("web.A", "${{web.A}}")]),
            Err(Error::Cycle(_))
        ));
    }

    #[test]
    fn references_that_are_none_are_refused_when_saved() {
        for value in [
            "${{}}",
            "${{web}}",
            "${{Web.A}}",
            "${{web.1A}}",
            "${{secret()}}",
            "${{secret(0)}}",
            "${{secret(9999)}}",
            "${{web.A",
        ] {
            assert!(check(value).is_err(), "{value}");
        }
        for value in ["", "$HOME", "${A}", "}}", "${{web.A}}", "${{ secret(32) }}"] {
            assert_eq!(check(value), Ok(()), "{value}");
        }
    }

    #[test]
    fn a_secret_is_made_once_and_references_stay() {
        let value = generate("a-${{secret(4)}}-${{pg.HOST}}", |n| "x".repeat(n)).unwrap();
        assert_eq!(value, "a-xxxx-${{pg.HOST}}");
    }

    #[test]
    fn references_that_multiply_are_stopped() {
        let mut pairs = vec![("web.V0".to_owned(), "x".repeat(1024))];
        for i in 1..12 {
            pairs.push((
                format!("web.V{i}"),
                format!("${{{{web.V{}}}}}", i - 1).repeat(8),
            ));
        }
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert!(matches!(resolved(&pairs), Err(Error::TooLong(_))));
    }

    proptest! {
        #[test]
        fn any_graph_of_references_ends(edges in prop::collection::vec((0_u8..8, 0_u8..8), 0..20)) {
            let mut written: BTreeMap<u8, String> = (0..8).map(|i| (i, i.to_string())).collect();
            for (from, to) in edges {
                written.entry(from).or_default().push_str(&format!("${{{{web.V{to}}}}}"));
            }
            let keyed: Vec<_> = written.iter().map(|(i, value)| (format!("web.V{i}"), value.clone())).collect();
            let pairs: Vec<_> = keyed.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            match resolved(&pairs) {
                Ok(values) => prop_assert!(values.values().all(|value| !value.contains("${{"))),
                Err(error) => prop_assert!(matches!(error, Error::Cycle(_) | Error::TooLong(_))),
            }
        }
    }
}
