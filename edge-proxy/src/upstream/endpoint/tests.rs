use domain::id::{InstanceId, NodeId};

use super::*;

fn endpoint() -> Endpoint {
    let endpoint = Endpoint::new(item::Endpoint {
        instance_id: InstanceId::new(),
        node_id: NodeId::new(),
        address: ([127, 0, 0, 1], 80).into(),
    });
    endpoint.confirm(true);
    passes(&endpoint);
    endpoint
}

fn passes(endpoint: &Endpoint) -> bool {
    endpoint.probe_succeeded(endpoint.verdict())
}

#[test]
fn usable_needs_confirmation_and_a_passed_probe() {
    let now = Instant::now();
    let fresh = Endpoint::new(endpoint().spec);
    assert!(!fresh.is_usable(now));
    fresh.confirm(true);
    assert!(!fresh.is_usable(now));
    passes(&fresh);
    assert!(fresh.is_usable(now));
    fresh.confirm(false);
    assert!(!fresh.is_usable(now));
}

#[test]
fn three_failures_eject_for_thirty_seconds_then_one_may_try() {
    let (endpoint, now) = (endpoint(), Instant::now());
    for _ in 0..2 {
        endpoint.request_failed(Failure::Answer, true, now);
    }
    assert!(endpoint.is_usable(now));
    endpoint.request_failed(Failure::Answer, true, now);
    assert!(endpoint.is_ejected(now) && !endpoint.is_usable(now));
    let later = now + EJECTED_FOR;
    assert!(endpoint.is_usable(later));
    endpoint.begin(later);
    assert!(!endpoint.is_usable(later), "half-open: one request only");
    endpoint.request_succeeded();
    assert!(endpoint.is_usable(later));
}

#[test]
fn a_refused_connection_takes_it_out_until_it_is_up_and_its_agent_says_yes_again() {
    let now = Instant::now();
    let by_request = |e: &Endpoint| e.request_failed(Failure::Connect, false, now);
    let by_probe = |e: &Endpoint| assert!(e.probe_failed(Failure::Connect));
    for refuse in [&by_request as &dyn Fn(&Endpoint), &by_probe] {
        let endpoint = endpoint();
        refuse(&endpoint);
        assert!(!endpoint.is_usable(now) && endpoint.wants_confirmation());
        assert!(endpoint.is_probed() && endpoint.is_judged(EJECTED_FOR, now));
        assert!(passes(&endpoint));
        assert!(!endpoint.is_usable(now) && endpoint.awaits_answer());
        assert!(!endpoint.is_judged(EJECTED_FOR, now));
        let asked = endpoint.take_question(EJECTED_FOR, now).unwrap();
        endpoint.answered(asked, true);
        assert!(endpoint.is_usable(now));
    }
}

#[test]
fn a_refused_one_may_come_back_for_a_while_unless_its_agent_says_that_it_is_gone() {
    let (refused, hangs) = (endpoint(), endpoint());
    let (patience, now) = (EJECTED_FOR, Instant::now());
    let later = now + patience;
    assert!(!refused.may_come_back(patience, now), "it is up");
    for at in [now, now + patience / 2] {
        refused.request_failed(Failure::Connect, false, at);
        assert!(refused.may_come_back(patience, at));
    }
    assert!(!refused.may_come_back(patience, later));
    passes(&refused);
    refused.request_failed(Failure::Connect, false, later);
    assert!(refused.may_come_back(patience, later));
    refused.confirm(false);
    assert!(!refused.may_come_back(patience, later));
    for _ in 0..DOWN_AFTER {
        hangs.probe_failed(Failure::Answer);
    }
    assert!(!hangs.may_come_back(patience, now));
}

#[test]
fn it_is_probed_at_once_and_then_once_an_interval() {
    let (endpoint, now) = (Endpoint::new(endpoint().spec), Instant::now());
    let second = Duration::from_secs(1);
    assert!(endpoint.take_probe(second, now));
    let later = now + second;
    assert!(!endpoint.take_probe(second, later), "it is being probed");
    endpoint.probe_ended(second);
    assert!(endpoint.is_slow());
    assert!(!endpoint.take_probe(second, now));
    assert!(endpoint.take_probe(second, later));
    endpoint.probe_ended(Duration::from_millis(5));
    assert!(!endpoint.is_slow());
    assert!(endpoint.take_question(second, now).is_some());
    let later = now + second;
    let again = endpoint.take_question(second, later);
    assert!(again.is_none(), "it is being asked");
    endpoint.question_ended();
    let asked = endpoint.take_question(second, later).unwrap();
    endpoint.answered(asked, true);
    endpoint.question_ended();
    assert!(endpoint.take_question(second, later + second).is_none());
}

#[test]
fn slow_probes_take_it_out_after_three_and_without_a_connection_its_agent_is_asked_anew() {
    for (failure, confirmed) in [
        (Failure::Answer, Confirmed::Yes),
        (Failure::Silence, Confirmed::Doubted),
    ] {
        let endpoint = endpoint();
        assert!(!endpoint.probe_failed(failure));
        assert!(!endpoint.probe_failed(failure));
        assert_eq!(endpoint.confirmed(), Confirmed::Yes);
        assert!(endpoint.probe_failed(failure));
        assert_eq!(endpoint.confirmed(), confirmed);
    }
}
