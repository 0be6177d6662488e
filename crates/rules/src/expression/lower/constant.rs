//! Values as written: literals, and the variables of `exists` and `all`, which stand for one of them.

use std::net::IpAddr;

use cel::common::ast::{Expr, IdedExpr, ListExpr, LiteralValue, operators};

use super::{Lowering, Result};

/// What a list may hold.
#[derive(Clone)]
pub(super) enum Constant {
    Text(String),
    Number(i64),
}

impl Lowering<'_> {
    pub(super) fn bound(&self, name: &str) -> Option<Constant> {
        let found = self.bound.iter().rev().find(|(bound, _)| *bound == name);
        found.map(|(_, constant)| constant.clone())
    }

    /// Text or a whole number, as written.
    pub(super) fn constant(&self, part: &IdedExpr) -> Result<Constant> {
        match &part.expr {
            Expr::Literal(LiteralValue::String(text)) => {
                Ok(Constant::Text(text.inner().to_owned()))
            }
            Expr::Literal(LiteralValue::Int(number)) => Ok(Constant::Number(*number.inner())),
            Expr::Call(call) if call.func_name == operators::NEGATE => match call.args.as_slice() {
                [number] => match self.constant(number)? {
                    Constant::Number(number) => Ok(Constant::Number(number.saturating_neg())),
                    Constant::Text(_) => Err(self.invalid(part, "only numbers have a sign")),
                },
                _ => Err(self.invalid(part, "only numbers have a sign")),
            },
            Expr::Ident(name) => self.bound(name).ok_or_else(|| self.unknown(part, name)),
            _ => Err(self.invalid(part, "this must be text or a whole number, as written")),
        }
    }

    pub(super) fn constants(&self, list: &ListExpr) -> Result<Vec<Constant>> {
        list.elements
            .iter()
            .map(|part| self.constant(part))
            .collect()
    }
}

pub(super) fn as_text(constant: Constant) -> Option<String> {
    match constant {
        Constant::Text(text) => Some(text),
        Constant::Number(_) => None,
    }
}

pub(super) fn as_number(constant: Constant) -> Option<i64> {
    match constant {
        Constant::Number(number) => Some(number),
        Constant::Text(_) => None,
    }
}

pub(super) fn as_address(constant: Constant) -> Option<IpAddr> {
    let text = as_text(constant)?;
    text.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}
