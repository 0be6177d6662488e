//! From CEL's syntax tree to typed conditions. What rules have no use for (arithmetic, maps, variables of other worlds) is
//! refused by name, and so is what compares text with numbers: at a request it would be too late.

mod constant;
mod member;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use self::constant::{Constant, as_address};
use super::{
    Cost, DEPTH_MAX, Expression, Invalid, PATTERNS_MAX, STEPS_MAX, header_name,
    parse::Parsed,
    pattern,
    tree::{Condition, Number, Relation, Text},
};

const VARIABLES: &str =
    "request.method, path, query, host, headers, ip, country, asn, region, tls and user_agent";

/// Reads the whole tree.
pub(super) fn lower(parsed: &Parsed) -> Result<Expression> {
    let mut lowering = Lowering {
        parsed,
        bound: Vec::new(),
        cost: Cost::default(),
        depth: 0,
        needs_place: false,
    };
    let condition = lowering.condition(&parsed.root)?;
    Ok(Expression {
        condition,
        needs_place: lowering.needs_place,
        cost: lowering.cost,
    })
}

/// A part of a condition, with its type.
enum Value {
    Bool(Condition),
    Text(Text),
    Number(Number),
    Address,
}

impl Value {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Text(_) => "text",
            Self::Number(_) => "a number",
            Self::Address => "an address",
        }
    }
}

struct Lowering<'a> {
    parsed: &'a Parsed,
    /// Variables of `exists` and `all`, the innermost last.
    bound: Vec<(&'a str, Constant)>,
    cost: Cost,
    depth: usize,
    needs_place: bool,
}

type Result<T> = std::result::Result<T, Invalid>;

impl<'a> Lowering<'a> {
    fn invalid(&self, part: &IdedExpr, reason: impl Into<String>) -> Invalid {
        Invalid::new(self.parsed.column(part), reason)
    }

    fn condition(&mut self, part: &'a IdedExpr) -> Result<Condition> {
        match self.value(part)? {
            Value::Bool(condition) => Ok(condition),
            other => {
                let reason = format!("this is {}, and must be true or false", other.kind());
                Err(self.invalid(part, reason))
            }
        }
    }

    fn text(&mut self, part: &'a IdedExpr) -> Result<Text> {
        match self.value(part)? {
            Value::Text(text) => Ok(text),
            Value::Address => Err(self.invalid(
                part,
                "request.ip is compared by ==, != and in, or by cidr(\"10.0.0.0/8\").containsIP(request.ip)",
            )),
            other => {
                let reason = format!("this is {}, and must be text", other.kind());
                Err(self.invalid(part, reason))
            }
        }
    }

    fn value(&mut self, part: &'a IdedExpr) -> Result<Value> {
        self.cost.steps += 1;
        if self.cost.steps > STEPS_MAX {
            let reason = format!("it takes more than {STEPS_MAX} steps");
            return Err(self.invalid(part, reason));
        }
        if self.depth >= DEPTH_MAX {
            let reason = format!("it nests deeper than {DEPTH_MAX}");
            return Err(self.invalid(part, reason));
        }
        self.depth += 1;
        let value = self.value_of(part);
        self.depth -= 1;
        value
    }

    fn value_of(&mut self, part: &'a IdedExpr) -> Result<Value> {
        match &part.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => {
                Ok(Value::Bool(Condition::Constant(*value.inner())))
            }
            Expr::Literal(_) => match self.constant(part)? {
                Constant::Text(text) => Ok(Value::Text(Text::Literal(text))),
                Constant::Number(number) => Ok(Value::Number(Number::Literal(number))),
            },
            Expr::Ident(name) => match self.bound(name) {
                Some(Constant::Text(text)) => Ok(Value::Text(Text::Literal(text))),
                Some(Constant::Number(number)) => Ok(Value::Number(Number::Literal(number))),
                None => Err(self.unknown(part, name)),
            },
            Expr::Select(select) => self.select(part, select),
            Expr::Call(call) => match &call.target {
                None => self.function(part, call),
                Some(target) => self.method(part, call, target),
            },
            Expr::List(_) => {
                Err(self.invalid(part, "a list stands after `in`, or before exists and all"))
            }
            _ => Err(self.invalid(part, "rules have no use for this")),
        }
    }

    fn unknown(&self, part: &IdedExpr, name: &str) -> Invalid {
        self.invalid(part, format!("there is no {name}; there are {VARIABLES}"))
    }

    /// `request.<variable>` and `request.headers.<name>`.
    fn select(&mut self, part: &IdedExpr, select: &SelectExpr) -> Result<Value> {
        if is_request(&select.operand) {
            return self.variable(part, &select.field);
        }
        if is_headers(&select.operand) {
            return self.header(part, &select.field);
        }
        Err(self.unknown(part, &format!(".{} of this", select.field)))
    }

    fn variable(&mut self, part: &IdedExpr, name: &str) -> Result<Value> {
        let text = match name {
            "method" => Text::Method,
            "path" => Text::Path,
            "query" => Text::Query,
            "host" => Text::Host,
            "user_agent" => Text::UserAgent,
            "region" => Text::Region,
            "country" => {
                self.needs_place = true;
                Text::Country
            }
            "asn" => {
                self.needs_place = true;
                return Ok(Value::Number(Number::Asn));
            }
            "tls" => return Ok(Value::Bool(Condition::Tls)),
            "ip" => return Ok(Value::Address),
            "headers" => {
                let reason =
                    "which header? request.headers[\"x-name\"], or \"x-name\" in request.headers";
                return Err(self.invalid(part, reason));
            }
            other => return Err(self.unknown(part, &format!("request.{other}"))),
        };
        Ok(Value::Text(text))
    }

    fn header(&self, part: &IdedExpr, name: &str) -> Result<Value> {
        let name = header_name(name).map_err(|reason| self.invalid(part, reason))?;
        Ok(Value::Text(Text::Header(name)))
    }

    fn function(&mut self, part: &'a IdedExpr, call: &'a CallExpr) -> Result<Value> {
        let name = call.func_name.as_str();
        match (name, call.args.as_slice()) {
            (operators::LOGICAL_NOT, [inner]) => {
                let inner = self.condition(inner)?;
                Ok(Value::Bool(Condition::Not(Box::new(inner))))
            }
            (operators::LOGICAL_AND, [one, other]) => {
                let (one, other) = (self.condition(one)?, self.condition(other)?);
                Ok(Value::Bool(all(one, other)))
            }
            (operators::LOGICAL_OR, [one, other]) => {
                let (one, other) = (self.condition(one)?, self.condition(other)?);
                Ok(Value::Bool(any(one, other)))
            }
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                let parts = [
                    self.condition(condition)?,
                    self.condition(then)?,
                    self.condition(otherwise)?,
                ];
                Ok(Value::Bool(Condition::Choice(Box::new(parts))))
            }
            (operators::IN, [one, other]) => self.is_in(part, one, other).map(Value::Bool),
            (operators::INDEX, [target, name]) if is_headers(target) => {
                match self.constant(name)? {
                    Constant::Text(text) => self.header(name, &text),
                    Constant::Number(_) => Err(self.invalid(name, "a header's name is text")),
                }
            }
            (operators::NEGATE, [_]) => match self.constant(part)? {
                Constant::Number(number) => Ok(Value::Number(Number::Literal(number))),
                Constant::Text(_) => Err(self.invalid(part, "only numbers have a sign")),
            },
            ("has", [header]) => self.has(part, header),
            ("size", [text]) => Ok(Value::Number(Number::Size(self.text(text)?))),
            ("matches", [text, pattern]) => self.matches(text, pattern),
            (_, [one, other]) => match relation(name) {
                Some(relation) => self.compare(part, one, relation, other).map(Value::Bool),
                None => Err(self.no_function(part, name)),
            },
            _ => Err(self.no_function(part, name)),
        }
    }

    fn no_function(&self, part: &IdedExpr, name: &str) -> Invalid {
        let name = name.replace('_', "");
        let known = "startsWith, endsWith, contains, matches, lowerAscii, size, has, exists, all and cidr(…).containsIP";
        self.invalid(
            part,
            format!("rules have no {name} here; there are {known}"),
        )
    }

    fn method(
        &mut self,
        part: &'a IdedExpr,
        call: &'a CallExpr,
        target: &'a IdedExpr,
    ) -> Result<Value> {
        let name = call.func_name.as_str();
        match (name, call.args.as_slice()) {
            ("startsWith", [other]) => {
                let (text, other) = (self.text(target)?, self.text(other)?);
                Ok(Value::Bool(Condition::StartsWith(text, other)))
            }
            ("endsWith", [other]) => {
                let (text, other) = (self.text(target)?, self.text(other)?);
                Ok(Value::Bool(Condition::EndsWith(text, other)))
            }
            ("contains", [other]) => {
                let (text, other) = (self.text(target)?, self.text(other)?);
                Ok(Value::Bool(Condition::Contains(text, other)))
            }
            ("matches", [pattern]) => self.matches(target, pattern),
            ("lowerAscii", []) => {
                let text = self.text(target)?;
                Ok(Value::Text(Text::LowerAscii(Box::new(text))))
            }
            ("size", []) => Ok(Value::Number(Number::Size(self.text(target)?))),
            ("containsIP", [address]) => self.in_network(part, target, address),
            ("exists" | "all", [variable, condition]) => {
                self.each(name == "all", target, variable, condition)
            }
            _ => Err(self.no_function(part, name)),
        }
    }

    /// `has(request.headers.name)`.
    fn has(&self, part: &IdedExpr, header: &IdedExpr) -> Result<Value> {
        match &header.expr {
            Expr::Select(select) if is_headers(&select.operand) => {
                let name = header_name(&select.field);
                let name = name.map_err(|reason| self.invalid(header, reason))?;
                Ok(Value::Bool(Condition::HasHeader(name)))
            }
            _ => Err(self.invalid(part, "has asks for a header: has(request.headers.name)")),
        }
    }

    fn matches(&mut self, text: &'a IdedExpr, wanted: &'a IdedExpr) -> Result<Value> {
        let text = self.text(text)?;
        self.cost.patterns += 1;
        if self.cost.patterns > PATTERNS_MAX {
            let reason = format!("it has more than {PATTERNS_MAX} patterns");
            return Err(self.invalid(wanted, reason));
        }
        let Constant::Text(written) = self.constant(wanted)? else {
            return Err(self.invalid(wanted, "a pattern is text"));
        };
        let pattern = pattern(&written).map_err(|reason| self.invalid(wanted, reason))?;
        Ok(Value::Bool(Condition::Matches(text, pattern)))
    }

    fn compare(
        &mut self,
        part: &'a IdedExpr,
        one: &'a IdedExpr,
        relation: Relation,
        other: &'a IdedExpr,
    ) -> Result<Condition> {
        let (one, other) = (self.value(one)?, self.value(other)?);
        let kinds = (one.kind(), other.kind());
        match (one, other) {
            (Value::Text(one), Value::Text(other)) => Ok(Condition::Text(one, relation, other)),
            (Value::Number(one), Value::Number(other)) => {
                Ok(Condition::Number(one, relation, other))
            }
            (Value::Bool(one), Value::Bool(other)) if is_equality(relation) => {
                let same = Condition::Same(Box::new([one, other]));
                Ok(negated_if(relation, same))
            }
            (Value::Address, Value::Text(Text::Literal(text)))
            | (Value::Text(Text::Literal(text)), Value::Address)
                if is_equality(relation) =>
            {
                let address = as_address(Constant::Text(text))
                    .ok_or_else(|| self.invalid(part, "this is no address"))?;
                Ok(negated_if(relation, Condition::AddressIn(vec![address])))
            }
            _ => {
                let reason = format!("{} can't be compared with {} so", kinds.0, kinds.1);
                Err(self.invalid(part, reason))
            }
        }
    }
}

fn is_request(part: &IdedExpr) -> bool {
    matches!(&part.expr, Expr::Ident(name) if name == "request")
}

fn is_headers(part: &IdedExpr) -> bool {
    match &part.expr {
        Expr::Select(select) => select.field == "headers" && is_request(&select.operand),
        _ => false,
    }
}

fn relation(name: &str) -> Option<Relation> {
    Some(match name {
        operators::EQUALS => Relation::Equal,
        operators::NOT_EQUALS => Relation::NotEqual,
        operators::LESS => Relation::Less,
        operators::LESS_EQUALS => Relation::LessOrEqual,
        operators::GREATER => Relation::Greater,
        operators::GREATER_EQUALS => Relation::GreaterOrEqual,
        _ => return None,
    })
}

const fn is_equality(relation: Relation) -> bool {
    matches!(relation, Relation::Equal | Relation::NotEqual)
}

fn negated_if(relation: Relation, condition: Condition) -> Condition {
    match relation {
        Relation::NotEqual => Condition::Not(Box::new(condition)),
        _ => condition,
    }
}

/// `a && b && c` is one list, however it was nested.
fn all(one: Condition, other: Condition) -> Condition {
    let mut parts = match one {
        Condition::All(parts) => parts,
        one => vec![one],
    };
    match other {
        Condition::All(more) => parts.extend(more),
        other => parts.push(other),
    }
    Condition::All(parts)
}

fn any(one: Condition, other: Condition) -> Condition {
    let mut parts = match one {
        Condition::Any(parts) => parts,
        one => vec![one],
    };
    match other {
        Condition::Any(more) => parts.extend(more),
        other => parts.push(other),
    }
    Condition::Any(parts)
}
