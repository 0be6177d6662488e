use domain::id::NodeId;

use super::*;

/// Longer than anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let fresh = Endpoint::new(endpoint().spec);
    assert!(!fresh.is_usable());
    fresh.confirm(true);
    assert!(!fresh.is_usable());
    passes(&fresh);
    assert!(fresh.is_usable());
    fresh.confirm(false);
    assert!(!fresh.is_usable());
}

/// True when it is often enough.
fn fails(endpoint: &Endpoint, failure: Failure, is_trial: bool, now: Instant) -> bool {
    endpoint.request_failed(failure, &Breaker::default(), is_trial, now)
}

#[test]
fn an_ejected_one_is_tried_by_one_request_at_a_time_and_comes_back_with_its_answer() {
    let (endpoint, breaker, now) = (endpoint(), Breaker::default(), Instant::now());
    assert!(!fails(&endpoint, Failure::Answer, false, now));
    assert!(!fails(&endpoint, Failure::Status, false, now));
    assert!(fails(&endpoint, Failure::Answer, false, now));
    assert!(endpoint.is_usable(), "whoever knows the others decides");
    endpoint.eject(now);
    assert!(endpoint.is_ejected() && !endpoint.is_usable());
    let trial = |now| endpoint.take_trial(&breaker, true, now);
    assert!(!trial(now));
    let later = now + breaker.ejection.duration();
    assert!(trial(later) && !trial(later), "half-open: one request only");
    assert!(!fails(&endpoint, Failure::Answer, true, later));
    let later = later + breaker.ejection.duration();
    assert!(trial(later) && !endpoint.is_usable());
    endpoint.request_succeeded(false);
    assert!(!endpoint.is_usable(), "that one began before");
    endpoint.request_succeeded(true);
    assert!(endpoint.is_usable() && !trial(later + PATIENCE));
}

#[test]
fn one_that_is_down_is_not_tried_and_comes_up_readmitted() {
    let (endpoint, now) = (endpoint(), Instant::now());
    endpoint.eject(now);
    endpoint.probe_failed(Failure::Connect);
    let later = now + PATIENCE;
    assert!(!endpoint.take_trial(&Breaker::default(), true, later));
    assert!(passes(&endpoint));
    assert!(!endpoint.is_ejected());
}

#[test]
fn a_refused_connection_takes_it_out_until_it_is_up_and_its_agent_says_yes_again() {
    let now = Instant::now();
    let by_request = |e: &Endpoint| assert!(!fails(e, Failure::Connect, false, now));
    let by_probe = |e: &Endpoint| assert!(e.probe_failed(Failure::Connect));
    for refuse in [&by_request as &dyn Fn(&Endpoint), &by_probe] {
        let endpoint = endpoint();
        refuse(&endpoint);
        assert!(!endpoint.is_usable() && endpoint.wants_confirmation());
        assert!(endpoint.is_probed() && endpoint.is_judged(PATIENCE, now));
        assert!(passes(&endpoint));
        assert!(!endpoint.is_usable() && endpoint.awaits_answer());
        assert!(!endpoint.is_judged(PATIENCE, now));
        let asked = endpoint.take_question(PATIENCE, now).unwrap();
        endpoint.answered(asked, true);
        assert!(endpoint.is_usable());
    }
}

#[test]
fn a_refused_one_may_come_back_for_a_while_unless_its_agent_says_that_it_is_gone() {
    let (refused, hangs) = (endpoint(), endpoint());
    let (patience, now) = (PATIENCE, Instant::now());
    let later = now + patience;
    assert!(!refused.may_come_back(patience, now), "it is up");
    for at in [now, now + patience / 2] {
        fails(&refused, Failure::Connect, false, at);
        assert!(refused.may_come_back(patience, at));
    }
    assert!(!refused.may_come_back(patience, later));
    passes(&refused);
    fails(&refused, Failure::Connect, false, later);
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
