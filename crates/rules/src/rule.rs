//! The rules of a service, compiled: conditions, templates and keys that were text are what they stand for.

use domain::spec::{EdgeAction, EdgeRule, HeaderChanges};
use http::{HeaderName, HeaderValue};

use crate::{
    Request,
    expression::{Cost, Expression, with_room},
    limit_key::KeySource,
    template::Template,
};

/// Of all conditions of a service together: what they take, its neighbours lack.
const STEPS_MAX: usize = 2048;
const PATTERNS_MAX: usize = 16;

/// The rules of a service, in order.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub(crate) rules: Vec<Rule>,
    needs_place: bool,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Fault {
    /// The path of the field, such as `edge.rules[2].if`.
    pub field: String,
    /// What is wrong and what would do.
    pub reason: String,
}

/// One rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) label: String,
    pub(crate) condition: Expression,
    /// As written.
    pub(crate) written: EdgeAction,
    pub(crate) action: Action,
}

/// What a rule does, as far as it is more than its words say.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    AsWritten,
    Redirect(Template),
    Rewrite(Template),
    Headers(Box<Changes>),
    RateLimit(KeySource),
}

/// Changes of headers, of the request and of the answer.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    pub(crate) request: HeaderEdits,
    pub(crate) response: HeaderEdits,
}

/// Headers that are removed, then those that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Names.
    pub remove: Vec<HeaderName>,
    /// Names and values; each takes the place of all of its name.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

/// Compiles the rules of a service. Takes as long as a few requests for each rule.
///
/// # Errors
/// Everything that is wrong with them, besides what `domain::spec::check_rules` finds.
pub fn compile(rules: &[EdgeRule]) -> Result<Rules, Vec<Fault>> {
    if rules.is_empty() {
        return Ok(Rules::default());
    }
    let Some(compiled) = with_room(|| compile_all(rules)) else {
        return Err(vec![Fault {
            field: "edge.rules".to_owned(),
            reason: "these can't be read".to_owned(),
        }]);
    };
    compiled
}

fn compile_all(written: &[EdgeRule]) -> Result<Rules, Vec<Fault>> {
    let (mut rules, mut faults) = (Vec::with_capacity(written.len()), Vec::new());
    for (index, rule) in written.iter().enumerate() {
        let fault = |field: &str, reason: String| Fault {
            field: format!("edge.rules[{index}].{field}"),
            reason,
        };
        let condition = Expression::compile(&rule.condition);
        let action = Action::compile(&rule.action);
        match (condition, action) {
            (Ok(condition), Ok(action)) => rules.push(Rule {
                label: rule.label(index),
                condition,
                written: rule.action.clone(),
                action,
            }),
            (condition, action) => {
                let condition = condition.err().map(|error| fault("if", error.to_string()));
                let action = action.err().map(|(field, reason)| fault(field, reason));
                faults.extend(condition.into_iter().chain(action));
            }
        }
    }
    faults.extend(too_much(&rules));
    if faults.is_empty() {
        let needs_place = rules.iter().any(Rule::needs_place);
        Ok(Rules { rules, needs_place })
    } else {
        Err(faults)
    }
}

fn too_much(rules: &[Rule]) -> Option<Fault> {
    let costs = rules.iter().map(|rule| rule.condition.cost());
    let all = costs.fold(Cost::default(), |all, one| Cost {
        steps: all.steps + one.steps,
        patterns: all.patterns + one.patterns,
    });
    (all.steps > STEPS_MAX || all.patterns > PATTERNS_MAX).then(|| Fault {
        field: "edge.rules".to_owned(),
        reason: format!(
            "all conditions together take {} steps and {} patterns; {STEPS_MAX} and {PATTERNS_MAX} are allowed",
            all.steps, all.patterns
        ),
    })
}

impl Rules {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any of them asks where the client is.
    #[must_use]
    pub const fn needs_place(&self) -> bool {
        self.needs_place
    }

    /// What the rule at an index is called.
    #[must_use]
    pub fn label(&self, index: usize) -> &str {
        self.rules.get(index).map_or("", |rule| &rule.label)
    }

    /// What the rule at an index does, as written.
    #[must_use]
    pub fn action(&self, index: usize) -> Option<&EdgeAction> {
        self.rules.get(index).map(|rule| &rule.written)
    }

    /// What the rule at an index changes of a request's headers, and of the answer's.
    #[must_use]
    pub fn header_edits(&self, index: usize) -> Option<(&HeaderEdits, &HeaderEdits)> {
        match &self.rules.get(index)?.action {
            Action::Headers(changes) => Some((&changes.request, &changes.response)),
            _ => None,
        }
    }

    /// Each rule's label, and whether a request meets its condition.
    pub fn explain(&self, request: &Request<'_>) -> Vec<(&str, bool)> {
        let rules = self.rules.iter();
        rules
            .map(|rule| (rule.label.as_str(), rule.condition.holds(request)))
            .collect()
    }
}

impl Rule {
    const fn needs_place(&self) -> bool {
        let by_key = match &self.action {
            Action::RateLimit(key) => key.needs_place(),
            _ => false,
        };
        by_key || self.condition.needs_place()
    }
}

impl Action {
    fn compile(written: &EdgeAction) -> Result<Self, (&'static str, String)> {
        match written {
            EdgeAction::Redirect(redirect) => Template::parse(&redirect.to)
                .map(Self::Redirect)
                .map_err(|reason| ("then.to", reason)),
            EdgeAction::Rewrite(rewrite) => rewriting(&rewrite.path)
                .map(Self::Rewrite)
                .map_err(|reason| ("then.path", reason)),
            EdgeAction::Headers(headers) => {
                let changes = Changes {
                    request: HeaderEdits::of(&headers.request)?,
                    response: HeaderEdits::of(&headers.response)?,
                };
                Ok(Self::Headers(Box::new(changes)))
            }
            EdgeAction::RateLimit(limit) => KeySource::of(&limit.key)
                .map(Self::RateLimit)
                .ok_or_else(|| ("then.key", "not the name of a header".to_owned())),
            EdgeAction::Block(_)
            | EdgeAction::Allow(_)
            | EdgeAction::BasicAuth(_)
            | EdgeAction::Maintenance(_) => Ok(Self::AsWritten),
        }
    }
}

/// What is not a path for a sample is none for any request.
fn rewriting(path: &str) -> Result<Template, String> {
    let template = Template::parse(path)?;
    let headers = http::HeaderMap::new();
    let sample = Request::new("GET", "/a?b", "a.test", &headers, [192, 0, 2, 1].into());
    match template.path(&sample, None) {
        Some(_) => Ok(template),
        None => Err("this makes no path".to_owned()),
    }
}

impl HeaderEdits {
    fn of(changes: &HeaderChanges) -> Result<Self, (&'static str, String)> {
        let no_header = |what: &str| ("then", format!("\"{what}\" is no header"));
        let mut edits = Self::default();
        for name in &changes.remove {
            edits
                .remove
                .push(name.parse().map_err(|_| no_header(name))?);
        }
        for (name, value) in &changes.set {
            let name: HeaderName = name.parse().map_err(|_| no_header(name))?;
            let value = HeaderValue::from_str(value).map_err(|_| no_header(value))?;
            edits.set.push((name, value));
        }
        Ok(edits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<EdgeRule> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        let faults = compile(&rules(
            r#"[{"if":"request.tls","then":{"action":"allow"}},
                {"if":"request.path","then":{"action":"redirect","to":"/{x}"}},
                {"if":"nothing","then":{"action":"rewrite","path":"/{query"}}]"#,
        ))
        .unwrap_err();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "edge.rules[1].if",
                "edge.rules[1].then.to",
                "edge.rules[2].if",
                "edge.rules[2].then.path"
            ]
        );
    }

    #[test]
    fn all_conditions_together_have_limits() {
        let with = |condition: &str, count: usize| {
            let rule = serde_json::json!({ "if": condition, "then": { "action": "allow" } });
            let rules: Vec<EdgeRule> = vec![serde_json::from_value(rule).unwrap(); count];
            compile(&rules)
                .map(drop)
                .map_err(|faults| faults[0].field.clone())
        };
        let pattern = "request.path.matches('a')";
        assert_eq!(with(pattern, PATTERNS_MAX), Ok(()));
        let refused = Err("edge.rules".to_owned());
        assert_eq!(with(pattern, PATTERNS_MAX + 1), refused);
        let many = vec!["request.tls"; 40].join("||");
        assert_eq!(with(&many, 5), Ok(()));
        assert_eq!(with(&many, 64), refused);
    }

    #[test]
    fn only_rules_that_ask_for_it_need_a_place() {
        for (text, needs) in [
            (r#"[{"if":"request.tls","then":{"action":"allow"}}]"#, false),
            (
                r#"[{"if":"request.country == \"DE\"","then":{"action":"allow"}}]"#,
                true,
            ),
            (
                r#"[{"if":"true","then":{"action":"rate_limit","key":"asn","limit":1,"window":"1s"}}]"#,
                true,
            ),
        ] {
            assert_eq!(
                compile(&rules(text)).unwrap().needs_place(),
                needs,
                "{text}"
            );
        }
    }
}
