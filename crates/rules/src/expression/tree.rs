//! Conditions as they are evaluated: each part has one type, so there is nothing left that could go wrong.

use std::{borrow::Cow, cmp::Ordering, net::IpAddr};

use http::{HeaderName, header};
use ipnet::IpNet;
use regex::Regex;

use crate::Request;

/// What is true or false about a request.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Constant(bool),
    Tls,
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    /// The first decides between the second and the third.
    Choice(Box<[Self; 3]>),
    Same(Box<[Self; 2]>),
    Text(Text, Relation, Text),
    Number(Number, Relation, Number),
    TextIn(Text, Vec<String>),
    NumberIn(Number, Vec<i64>),
    AddressIn(Vec<IpAddr>),
    Network(IpNet),
    HasHeader(HeaderName),
    StartsWith(Text, Text),
    EndsWith(Text, Text),
    Contains(Text, Text),
    Matches(Text, Regex),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone)]
pub(super) enum Text {
    Literal(String),
    Method,
    Path,
    Query,
    Host,
    UserAgent,
    Country,
    Region,
    Header(HeaderName),
    LowerAscii(Box<Self>),
}

#[derive(Debug, Clone)]
pub(super) enum Number {
    Literal(i64),
    Asn,
    /// In characters, as CEL counts.
    Size(Text),
}

impl Condition {
    pub(super) fn holds(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Constant(value) => *value,
            Self::Tls => request.tls,
            Self::Not(condition) => !condition.holds(request),
            Self::All(conditions) => conditions.iter().all(|part| part.holds(request)),
            Self::Any(conditions) => conditions.iter().any(|part| part.holds(request)),
            Self::Choice(parts) => {
                let [condition, then, otherwise] = &**parts;
                let chosen = if condition.holds(request) {
                    then
                } else {
                    otherwise
                };
                chosen.holds(request)
            }
            Self::Same(parts) => {
                let [one, other] = &**parts;
                one.holds(request) == other.holds(request)
            }
            Self::Text(one, relation, other) => {
                let (one, other) = (one.of(request), other.of(request));
                relation.holds((*one).cmp(&*other))
            }
            Self::Number(one, relation, other) => {
                relation.holds(one.of(request).cmp(&other.of(request)))
            }
            Self::TextIn(text, all) => {
                let text = text.of(request);
                all.iter().any(|one| *one == *text)
            }
            Self::NumberIn(number, all) => all.contains(&number.of(request)),
            Self::AddressIn(all) => all.contains(&request.ip),
            Self::Network(network) => network.contains(&request.ip),
            Self::HasHeader(name) => request.headers.contains_key(name),
            Self::StartsWith(text, part) => text.of(request).starts_with(&*part.of(request)),
            Self::EndsWith(text, part) => text.of(request).ends_with(&*part.of(request)),
            Self::Contains(text, part) => text.of(request).contains(&*part.of(request)),
            Self::Matches(text, pattern) => pattern.is_match(&text.of(request)),
        }
    }
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Text {
    fn of<'a>(&'a self, request: &'a Request<'_>) -> Cow<'a, str> {
        match self {
            Self::Literal(text) => Cow::Borrowed(text),
            Self::Method => Cow::Borrowed(request.method),
            Self::Path => Cow::Borrowed(request.path()),
            Self::Query => Cow::Borrowed(request.query),
            Self::Host => Cow::Borrowed(request.host),
            Self::UserAgent => request.header(&header::USER_AGENT),
            Self::Country => Cow::Borrowed(request.place.country()),
            Self::Region => Cow::Borrowed(request.region),
            Self::Header(name) => request.header(name),
            Self::LowerAscii(text) => lower(text.of(request)),
        }
    }
}

impl Number {
    fn of(&self, request: &Request<'_>) -> i64 {
        match self {
            Self::Literal(number) => *number,
            Self::Asn => request.place.asn.into(),
            Self::Size(text) => {
                let characters = text.of(request).chars().count();
                i64::try_from(characters).unwrap_or(i64::MAX)
            }
        }
    }
}

fn lower(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        text
    }
}
