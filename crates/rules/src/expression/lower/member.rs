//! What is asked of several values: whether one of them is it, or one, or all of them meet a condition.

use std::net::IpAddr;

use cel::common::ast::{Expr, IdedExpr};
use ipnet::IpNet;

use super::{
    Lowering, Result, Value,
    constant::{Constant, as_address, as_number, as_text},
    is_headers,
};
use crate::expression::{header_name, tree::Condition};

impl<'a> Lowering<'a> {
    pub(super) fn is_in(
        &mut self,
        part: &'a IdedExpr,
        one: &'a IdedExpr,
        other: &'a IdedExpr,
    ) -> Result<Condition> {
        if is_headers(other) {
            let Constant::Text(name) = self.constant(one)? else {
                return Err(self.invalid(one, "a header's name is text"));
            };
            let name = header_name(&name).map_err(|reason| self.invalid(one, reason))?;
            return Ok(Condition::HasHeader(name));
        }
        let Expr::List(list) = &other.expr else {
            return Err(self.invalid(other, "a list, or request.headers, stands after `in`"));
        };
        let constants = self.constants(list)?;
        self.cost.steps += constants.len();
        match self.value(one)? {
            Value::Text(text) => {
                let all: Option<Vec<String>> = constants.into_iter().map(as_text).collect();
                let all = all.ok_or_else(|| self.invalid(part, "the list must hold text only"))?;
                Ok(Condition::TextIn(text, all))
            }
            Value::Number(number) => {
                let all: Option<Vec<i64>> = constants.into_iter().map(as_number).collect();
                let all =
                    all.ok_or_else(|| self.invalid(part, "the list must hold numbers only"))?;
                Ok(Condition::NumberIn(number, all))
            }
            Value::Address => {
                let all: Option<Vec<IpAddr>> = constants.into_iter().map(as_address).collect();
                let all = all.ok_or_else(|| self.invalid(part, "the list must hold addresses only; a network is asked by cidr(…).containsIP"))?;
                Ok(Condition::AddressIn(all))
            }
            Value::Bool(_) => Err(self.invalid(part, "true and false are in no list")),
        }
    }

    /// `cidr("10.0.0.0/8").containsIP(request.ip)`.
    pub(super) fn in_network(
        &mut self,
        part: &'a IdedExpr,
        target: &'a IdedExpr,
        address: &'a IdedExpr,
    ) -> Result<Value> {
        let usage = "containsIP is asked so: cidr(\"10.0.0.0/8\").containsIP(request.ip)";
        let network = match &target.expr {
            Expr::Call(call) if call.func_name == "cidr" && call.target.is_none() => {
                call.args.as_slice()
            }
            _ => return Err(self.invalid(part, usage)),
        };
        let [network] = network else {
            return Err(self.invalid(part, usage));
        };
        let Constant::Text(text) = self.constant(network)? else {
            return Err(self.invalid(network, usage));
        };
        let Value::Address = self.value(address)? else {
            return Err(self.invalid(address, usage));
        };
        match text.parse::<IpNet>() {
            Ok(network) => Ok(Value::Bool(Condition::Network(network))),
            Err(_) => {
                let reason = format!("\"{text}\" is no network, such as 10.0.0.0/8");
                Err(self.invalid(network, reason))
            }
        }
    }

    /// `[…].exists(x, …)` and `[…].all(x, …)`: once for each element.
    pub(super) fn each(
        &mut self,
        all_of_them: bool,
        target: &'a IdedExpr,
        variable: &'a IdedExpr,
        condition: &'a IdedExpr,
    ) -> Result<Value> {
        let Expr::List(list) = &target.expr else {
            return Err(self.invalid(target, "exists and all are asked of a list as written"));
        };
        let Expr::Ident(variable) = &variable.expr else {
            return Err(self.invalid(variable, "this must be the name of a variable"));
        };
        let mut parts = Vec::new();
        for constant in self.constants(list)? {
            self.bound.push((variable.as_str(), constant));
            let part = self.condition(condition);
            self.bound.pop();
            parts.push(part?);
        }
        Ok(Value::Bool(match all_of_them {
            true => Condition::All(parts),
            false => Condition::Any(parts),
        }))
    }
}
