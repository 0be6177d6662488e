//! Which one of a list is meant: the one that was named, the only one, the usual one, or the one
//! that the user picks. What stays unclear is an error that names the choices.

use crate::{
    confirm::unanswered,
    error::{Error, Result},
    link::Chosen,
};

/// What is to be found.
pub(super) struct Question<'a> {
    pub kind: &'static str,
    pub option: &'static str,
    pub prefix: &'static str,
    pub place: String,
    pub wanted: Option<&'a str>,
    pub fallback: Option<&'static str>,
}

impl Chosen {
    /// Whether this is what was typed, if anything was.
    pub fn answers_to(&self, wanted: Option<&str>) -> bool {
        wanted.is_none_or(|wanted| wanted == self.name || wanted == self.id)
    }
}

/// Whether a text is an id with this prefix rather than a name.
pub(super) fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The one that is meant.
pub(super) fn choose(question: &Question<'_>, all: Vec<Chosen>) -> Result<Chosen> {
    let wanted = question.wanted;
    let known: Vec<String> = all.iter().map(|chosen| chosen.name.clone()).collect();
    let found = match (wanted, question.fallback) {
        (Some(_), _) => all.into_iter().find(|chosen| chosen.answers_to(wanted)),
        (None, _) if all.len() == 1 => all.into_iter().next(),
        (None, fallback) => all
            .into_iter()
            .find(|chosen| fallback == Some(chosen.name.as_str())),
    };
    found.ok_or_else(|| unclear(question, known))
}

/// Nothing was named and there is more than one.
pub(super) fn is_open(question: &Question<'_>, all: &[Chosen]) -> bool {
    let by_fallback = |chosen: &Chosen| question.fallback == Some(chosen.name.as_str());
    question.wanted.is_none() && all.len() > 1 && !all.iter().any(by_fallback)
}

/// Lets the user pick.
pub(super) fn ask(question: &Question<'_>, all: Vec<Chosen>) -> Result<Chosen> {
    let names: Vec<&str> = all.iter().map(|chosen| chosen.name.as_str()).collect();
    let index = dialoguer::Select::new()
        .with_prompt(format!("Which {} of {}?", question.kind, question.place))
        .items(&names)
        .default(0)
        .interact()
        .map_err(|error| unanswered(&error))?;
    all.into_iter()
        .nth(index)
        .ok_or_else(|| unclear(question, Vec::new()))
}

fn unclear(question: &Question<'_>, known: Vec<String>) -> Error {
    let (kind, place) = (question.kind, question.place.clone());
    match question.wanted {
        Some(name) => Error::NotFound {
            kind,
            name: name.to_owned(),
            place,
            known,
        },
        None if known.is_empty() => Error::usage(
            format!("there is no {kind} in {place} yet"),
            match kind {
                "organization" => {
                    "ask your platform team for one, or: railhead organization new NAME"
                }
                "project" => "railhead init",
                "environment" => "railhead environment new NAME",
                _ => "railhead up, railhead deploy or railhead service add NAME",
            },
        ),
        None => Error::usage(
            format!("which {kind} of {place}?"),
            format!(
                "{} with one of: {}; or link this folder once: railhead link",
                question.option,
                known.join(", ")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(name: &str) -> Chosen {
        Chosen {
            id: format!("env_{}", "0".repeat(32)),
            name: name.into(),
        }
    }

    fn question(wanted: Option<&str>) -> Question<'_> {
        Question {
            kind: "environment",
            option: "-e",
            prefix: "env_",
            place: "shop".into(),
            wanted,
            fallback: Some("production"),
        }
    }

    #[test]
    fn the_only_one_or_production_is_meant_when_none_is_named() {
        let only = choose(&question(None), vec![chosen("staging")]).unwrap();
        assert_eq!(only.name, "staging");
        let both = vec![chosen("staging"), chosen("production")];
        assert_eq!(choose(&question(None), both).unwrap().name, "production");
    }

    #[test]
    fn what_is_unclear_names_the_choices() {
        let two = || vec![chosen("a"), chosen("b")];
        let unclear = choose(&question(None), two()).unwrap_err();
        assert_eq!(unclear.exit_code(), 2);
        assert!(unclear.advice().concat().contains("a, b"));
        let missing = choose(&question(Some("c")), two()).unwrap_err();
        assert_eq!(missing.exit_code(), 5);
        assert!(missing.advice().concat().contains("a, b"));
    }

    #[test]
    fn ids_are_told_from_names() {
        assert!(is_id(&format!("env_{}", "0".repeat(32)), "env_"));
        assert!(!is_id("env_short", "env_"));
        assert!(!is_id("production", "env_"));
    }
}
