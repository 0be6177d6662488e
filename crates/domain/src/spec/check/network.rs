//! What can't be in `network`.

use super::Faults;
use crate::spec::{NetworkSpec, check_hsts};

pub(super) fn check(network: &NetworkSpec, faults: &mut Faults) {
    let NetworkSpec {
        port,
        retries,
        breaker,
        limits,
        max_body,
        hsts,
        ..
    } = network;
    faults.unless(*port > 0, "network.port", "must be between 1 and 65535");
    for (field, checked) in [
        ("network.retries", retries.check()),
        ("network.breaker", breaker.check()),
        ("network.limits", limits.check()),
        ("network.hsts", hsts.map_or(Ok(()), check_hsts)),
    ] {
        if let Err(reason) = checked {
            faults.add(field, reason);
        }
    }
    faults.unless(
        max_body.is_none() || limits.body.is_none(),
        "network.max_body",
        "is the same as network.limits.body: give one of them",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(network: &str) -> Vec<String> {
        let mut faults = Faults::default();
        check(&serde_json::from_str(network).unwrap(), &mut faults);
        let found = faults.0.into_iter();
        found.map(|fault| fault.field).collect()
    }

    #[test]
    fn every_fault_is_named_with_its_field() {
        for (network, wanted) in [
            ("{}", vec![]),
            (r#"{"port":0}"#, vec!["network.port"]),
            (r#"{"retries":{"attempts":0}}"#, vec![]),
            (r#"{"retries":{"attempts":11}}"#, vec!["network.retries"]),
            (r#"{"breaker":{"failures":0}}"#, vec!["network.breaker"]),
            (r#"{"breaker":{"ejection":"0s"}}"#, vec!["network.breaker"]),
            (r#"{"breaker":{"interval":"2h"}}"#, vec!["network.breaker"]),
            (r#"{"breaker":{"max_ejected_percent":0}}"#, vec![]),
            (
                r#"{"breaker":{"max_ejected_percent":101}}"#,
                vec!["network.breaker"],
            ),
            (r#"{"limits":{"connections":0}}"#, vec!["network.limits"]),
            (r#"{"limits":{"connections":1,"pending":0}}"#, vec![]),
            (r#"{"limits":{"pending":5}}"#, vec!["network.limits"]),
            (
                r#"{"limits":{"connections":1,"soft":2}}"#,
                vec!["network.limits"],
            ),
            (r#"{"hsts":"0s"}"#, vec!["network.hsts"]),
            (r#"{"hsts":"1y"}"#, vec![]),
            (
                r#"{"limits":{"body":"1Mi"},"max_body":"1Mi"}"#,
                vec!["network.max_body"],
            ),
        ] {
            assert_eq!(fields(network), wanted, "{network}");
        }
    }

    #[test]
    fn unknown_parts_are_refused() {
        for network in [
            r#"{"retries":{"tries":1}}"#,
            r#"{"breaker":{"fails":1}}"#,
            r#"{"limits":{"requests":1}}"#,
            r#"{"sticky":"header"}"#,
            r#"{"protocol":"h3"}"#,
        ] {
            let read = serde_json::from_str::<NetworkSpec>(network);
            assert!(read.is_err(), "{network}");
        }
    }
}
