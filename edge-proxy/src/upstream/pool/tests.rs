use domain::id::InstanceId;
use protocol::item::ServicePolicy;

use super::*;
use crate::upstream::endpoint::Confirmed;

pub(super) fn item(endpoints: Vec<item::Endpoint>) -> ServiceItem {
    ServiceItem {
        service_id: ServiceId::new(),
        deployment_id: DeploymentId::new(),
        endpoints,
        health_path: None,
        traceparent: None,
        policy: ServicePolicy::default(),
        splits: Vec::new(),
    }
}

/// All can be used.
pub(super) fn pool(count: u16) -> ServicePool {
    let item = item((1..=count).map(at).collect());
    let pool = carry_over(&item, None, &Counters::default(), Instant::now());
    for endpoint in pool.endpoints() {
        comes_up(endpoint);
    }
    pool
}

fn comes_up(endpoint: &Endpoint) {
    endpoint.confirm(true);
    endpoint.probe_succeeded(endpoint.verdict());
}

/// Its connection is refused.
fn fails(endpoint: &Endpoint, now: Instant) {
    endpoint.request_failed(Failure::Connect, &Breaker::default(), false, now);
}

fn watched(pool: &ServicePool) -> Vec<item::Endpoint> {
    let mut watched = Vec::new();
    pool.each_watched(|endpoint| watched.push(endpoint.spec));
    watched
}

/// As `before`, with this one in the place of all.
fn changed_to(endpoint: item::Endpoint, before: &Arc<ServicePool>, now: Instant) -> ServicePool {
    let item = ServiceItem {
        service_id: before.service_id,
        ..item(vec![endpoint])
    };
    carry_over(&item, Some(before), &Counters::default(), now)
}

fn at(port: u16) -> item::Endpoint {
    item::Endpoint {
        instance_id: InstanceId::new(),
        node_id: NodeId::new(),
        address: ([127, 0, 0, 1], port).into(),
    }
}

#[test]
fn the_one_of_two_that_has_less_to_do_and_was_not_tried_is_chosen() {
    let (pool, now) = (pool(3), Instant::now());
    let [a, b, c] = pool.endpoints() else {
        panic!()
    };
    a.begin();
    b.begin();
    b.begin();
    let tried = |list: &[&Arc<Endpoint>]| -> Vec<InstanceId> {
        list.iter().map(|e| e.spec.instance_id).collect()
    };
    let chosen = |list: &[&Arc<Endpoint>]| pool.choose(&tried(list), now).map(|e| e.spec);
    assert!((0..50).all(|_| chosen(&[]) != Some(b.spec)));
    assert_eq!(chosen(&[c]), Some(a.spec));
    assert_eq!(chosen(&[c, a]), Some(b.spec));
    assert_eq!(chosen(&[a, b, c]), None);
}

fn ejected(pool: &ServicePool) -> usize {
    pool.endpoints().iter().filter(|e| e.is_ejected()).count()
}

fn all_fail(pool: &ServicePool, now: Instant) {
    for endpoint in pool.endpoints() {
        for _ in 0..5 {
            pool.record_failure(endpoint, Failure::Answer, false, now);
        }
    }
}

#[test]
fn at_most_half_are_ejected_and_a_single_one_never() {
    let now = Instant::now();
    for (count, expected) in [(1_u16, 0), (2, 1), (3, 1), (4, 2)] {
        let pool = pool(count);
        all_fail(&pool, now);
        assert_eq!(ejected(&pool), expected, "of {count}");
    }
}

#[test]
fn however_many_fail_at_once_half_are_ejected() {
    let now = Instant::now();
    for _ in 0..50 {
        let pool = &pool(5);
        std::thread::scope(|scope| {
            for endpoint in pool.endpoints() {
                let fail = move |_| pool.record_failure(endpoint, Failure::Answer, false, now);
                scope.spawn(move || (0..5).for_each(fail));
            }
        });
        assert_eq!(ejected(pool), 2);
    }
}

#[test]
fn of_fewer_endpoints_fewer_stay_ejected() {
    let (before, now) = (Arc::new(pool(4)), Instant::now());
    all_fail(&before, now);
    let stay = before.endpoints().iter().take(2).map(|e| e.spec);
    let item = item(stay.collect());
    assert_eq!(ejected(&before), 2);
    let after = carry_over(&item, Some(&before), &Counters::default(), now);
    assert_eq!(ejected(&after), 1);
}

#[test]
fn an_ejected_endpoint_is_tried_when_its_turn_comes_and_not_twice_by_one_request() {
    let (pool, now) = (pool(2), Instant::now());
    all_fail(&pool, now);
    let bad = Arc::clone(pool.endpoints().iter().find(|e| e.is_ejected()).unwrap());
    let trial = |tried: &[InstanceId], now| pool.take_trial(tried, true, now).map(|e| e.spec);
    assert_eq!(trial(&[], now), None);
    let later = now + pool.breaker.ejection.duration();
    assert_eq!(trial(&[bad.spec.instance_id], later), None);
    assert_eq!(trial(&[], later), Some(bad.spec));
    assert_eq!(trial(&[], later), None, "half-open");
    assert_ne!(pool.choose(&[], later).map(|e| e.spec), Some(bad.spec));
}

#[test]
fn a_leaving_endpoint_serves_until_a_new_one_can() {
    let (before, now) = (Arc::new(pool(1)), Instant::now());
    let (old, new) = (before.endpoints()[0].spec, at(9));
    let after = Arc::new(changed_to(new, &before, now));
    let chosen = || after.choose(&[], now).map(|e| e.spec);
    assert_eq!(chosen(), Some(old));
    let (patience, late) = (Duration::from_secs(5), now + Duration::from_secs(6));
    assert!(!after.is_settled(patience, late), "the old one is needed");
    assert!(
        after.is_settled(patience, now + LEAVING_FOR),
        "nobody holds up others for ever"
    );
    after.endpoints()[0].confirm(true);
    assert!(!after.is_settled(patience, late), "it was not probed");
    comes_up(&after.endpoints()[0]);
    assert!(after.is_settled(patience, late));
    assert_eq!(chosen(), Some(new));
}

#[test]
fn what_has_left_for_good_is_no_last_resort_and_its_state_is_forgotten() {
    let (before, now) = (Arc::new(pool(1)), Instant::now());
    let old = before.endpoints()[0].spec;
    let after = Arc::new(changed_to(at(9), &before, now));
    let has_old = |pool: &ServicePool, now| pool.all(now).iter().any(|e| e.spec == old);
    assert!(has_old(&after, now) && !has_old(&after, now + LEAVING_FOR));
    let back = changed_to(old, &after, now + LEAVING_FOR);
    assert!(!back.has_usable(now), "it must be confirmed anew");
    let back = changed_to(old, &after, now);
    assert!(back.has_usable(now), "it was seldom away");
}

#[test]
fn an_endpoint_of_another_version_is_not_asked_at_this_ones_health_path() {
    let (before, now) = (Arc::new(pool(1)), Instant::now());
    let (old, new) = (before.endpoints()[0].spec, at(9));
    let mut after = changed_to(new, &before, now);
    assert_eq!(after.health_path_of(&new), None);
    after.health_path = Some("/new".to_owned());
    assert_eq!(after.health_path_of(&new), Some("/new"));
    assert_eq!(after.health_path_of(&old), None);
}

#[test]
fn a_leaving_endpoint_is_watched_only_while_it_is_not_known_whether_it_may_be_used() {
    let (before, now) = (Arc::new(pool(1)), Instant::now());
    let (old, new) = (Arc::clone(&before.endpoints()[0]), at(9));
    let after = changed_to(new, &before, now);
    assert_eq!(watched(&after), [new]);

    fails(&old, now);
    assert_eq!(watched(&after), [new, old.spec]);
    assert!(!after.has_usable(now));
    comes_up(&old);
    assert!(!after.has_usable(now), "it must be said again");
    old.confirm(true);
    assert!(after.has_usable(now));
    assert_eq!(watched(&after), [new]);

    fails(&old, now);
    old.confirm(false);
    assert_eq!(watched(&after), [new], "it is gone");
}

#[test]
fn a_refusal_is_not_forgotten_when_agents_or_the_feed_name_the_same_one_again() {
    let (before, now) = (Arc::new(pool(1)), Instant::now());
    let (named, routed) = (at(7), before.endpoints()[0].spec);
    let found = before.set_discovered(HashSet::from([named, routed]), &[], now);
    assert_eq!(found, 1, "what is routed is not named again");
    let discovered = before.all(now).pop().unwrap();
    comes_up(&discovered);
    fails(&discovered, now);
    before.set_discovered(HashSet::from([named]), &[], now);
    let routed = Arc::new(changed_to(named, &before, now));
    let has_left = changed_to(at(8), &routed, now);
    for pool in [&*before, &*routed, &has_left] {
        let all = pool.all(now);
        let mut same = all.iter().filter(|e| e.spec == named);
        assert!(same.all(|e| Arc::ptr_eq(e, &discovered)));
        assert!(all.iter().any(|e| e.spec == named));
    }
    assert_eq!(discovered.confirmed(), Confirmed::Doubted);
}

#[test]
fn what_an_agent_named_stands_while_it_is_silent() {
    let (pool, now) = (pool(0), Instant::now());
    let (stays, gone) = (at(7), at(8));
    pool.set_discovered(HashSet::from([stays, gone]), &[], now);
    assert_eq!(
        pool.set_discovered(HashSet::new(), &[stays.node_id], now),
        1
    );
    assert_eq!(watched(&pool), [stays]);
}

/// A service's own endpoints, and those of another deployment beside it.
fn side_by_side(own: &[item::Endpoint], beside: &[item::Endpoint]) -> ServiceItem {
    let split = item::Split {
        deployment_id: DeploymentId::new(),
        endpoints: beside.to_vec(),
        weight: 10,
        matches: Vec::new(),
        health_path: Some("/new".to_owned()),
    };
    ServiceItem {
        splits: vec![split],
        ..item(own.to_vec())
    }
}

fn ports(endpoints: &[Arc<Endpoint>]) -> Vec<u16> {
    endpoints.iter().map(|e| e.spec.address.port()).collect()
}

#[test]
fn a_deployment_beside_the_own_has_its_own_endpoints_counter_and_health_path() {
    let (counters, now) = (Counters::default(), Instant::now());
    let item = side_by_side(&[at(1)], &[at(2)]);
    let pool = Arc::new(carry_over(&item, None, &counters, now));
    let parts: Vec<_> = pool.parts().collect();
    let [own, beside] = parts[..] else { panic!() };
    assert_eq!(
        (ports(own.endpoints()), ports(beside.endpoints())),
        (vec![1], vec![2])
    );
    assert_eq!(own.health_path_of(&item.endpoints[0]), None);
    assert_eq!(
        beside.health_path_of(&item.splits[0].endpoints[0]),
        Some("/new")
    );
    beside.counter.record(true);
    assert_eq!(counters.snapshot()[&item.splits[0].deployment_id].failed, 1);
    assert_eq!(pool.routed().count(), 2);
    assert!(
        !pool.is_settled(Duration::from_secs(5), now),
        "nobody is judged"
    );
    let headers = HeaderMap::new();
    assert!(Arc::ptr_eq(pool.part(&headers, 99), own));
    assert!(Arc::ptr_eq(pool.part(&headers, 9), beside));
    assert!(beside.choose(&[], now).is_none());
    comes_up(&beside.endpoints()[0]);
    assert!(beside.choose(&[], now).is_some() && own.choose(&[], now).is_none());
}

#[test]
fn who_is_promoted_keeps_its_state_and_who_made_way_is_leaving() {
    let (counters, now) = (Counters::default(), Instant::now());
    let (old, new) = (at(1), at(2));
    let before = carry_over(&side_by_side(&[old], &[new]), None, &counters, now);
    before.routed().for_each(|endpoint| comes_up(endpoint));
    let after = carry_over(&item(vec![new]), Some(&Arc::new(before)), &counters, now);
    assert!(after.endpoints()[0].is_usable());
    let leaving: Vec<_> = after
        .leaving(now)
        .map(|e| (e.spec, e.is_usable()))
        .collect();
    assert_eq!(leaving, [(old, true)]);
}

#[test]
fn what_is_routed_beside_the_own_deployment_is_not_named_again() {
    let (item, now) = (side_by_side(&[at(1)], &[at(2)]), Instant::now());
    let pool = carry_over(&item, None, &Counters::default(), now);
    let named = HashSet::from([item.splits[0].endpoints[0]]);
    assert_eq!(pool.set_discovered(named, &[], now), 0);
}
