//! Values that are out of all proportion, and where in an item they go.

use serde_json::{Value, json};

use super::Chance;

pub(super) fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| json!([inner]))
}

/// None of these is a host name, an id or an address: what they replace can only be refused, or is a
/// number that is taken as it is.
pub(super) fn absurdity(chance: &mut Chance) -> Value {
    let all = [
        Value::Null,
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(""),
        json!("\u{0}\u{1b}[2J"),
        json!("../../etc/passwd"),
        json!("; reboot"),
        json!("99999999999999999999d"),
        json!("18446744073709551615Gi"),
        json!("x y".repeat(5_000)),
        json!([]),
        json!({}),
    ];
    chance.pick(&all).cloned().unwrap_or_default()
}

/// The beginning of another request, another host, nothing, or too much.
pub(super) fn no_path(chance: &mut Chance) -> String {
    let all = [
        "",
        "health",
        "/a b",
        "@192.0.2.1/",
        "http://192.0.2.1/",
        "/\r\nHost: elsewhere.test",
        "/ HTTP/1.1\r\nHost: x\r\n\r\nGET /other",
        "/\u{0}",
    ];
    match chance.pick(&all) {
        Some(path) if !chance.is(100) => (*path).to_owned(),
        _ => format!("/{}", "x".repeat(100_000)),
    }
}

pub(super) fn count_leaves(value: &Value) -> usize {
    match value {
        Value::Array(all) if !all.is_empty() => all.iter().map(count_leaves).sum(),
        Value::Object(all) if !all.is_empty() => all.values().map(count_leaves).sum(),
        _ => 1,
    }
}

pub(super) fn replace_leaf(value: &mut Value, nth: &mut usize, with: &Value) {
    match value {
        Value::Array(all) if !all.is_empty() => {
            all.iter_mut().for_each(|v| replace_leaf(v, nth, with));
        }
        Value::Object(all) if !all.is_empty() => {
            all.values_mut().for_each(|v| replace_leaf(v, nth, with));
        }
        leaf => {
            if *nth == 0 {
                *leaf = with.clone();
            }
            *nth = nth.wrapping_sub(1);
        }
    }
}
