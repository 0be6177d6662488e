//! Without the control plane and its database, for days: `SIM_DAYS` of them (1); the bar is at 30. Nodes'
//! certificates expire on the first of them, which refuses nobody. The one that users see was about to be renewed.

#![allow(clippy::print_stdout, reason = "a history is told to people")]

use std::env;

use sim::{Scenario, run};

const DAY: u64 = 24 * 60 * 60 * 1_000;

#[test]
fn no_request_fails_while_everything_central_is_away_for_days() {
    let days = env::var("SIM_DAYS").ok();
    let days: u64 = days.and_then(|days| days.parse().ok()).unwrap_or(1);
    let outcome = run(&Scenario::outage(7, days * DAY));
    println!("{days} days: {outcome}");
    assert!(outcome.violation.is_none(), "{outcome}");
    let (answered, failed) = outcome.away;
    println!("{answered} requests were answered meanwhile, {failed} failed");
    assert!(answered >= days * 10_000, "{answered}");
    assert_eq!(failed, 0);
    let expired = outcome.expired;
    println!("{expired} handshakes with a certificate whose time was over");
    assert!(expired > 20, "{expired}");
}
