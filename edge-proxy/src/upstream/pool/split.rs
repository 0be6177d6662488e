//! A service's deployments side by side: which of them a request is for.

use std::{sync::Arc, time::Instant};

use http::HeaderMap;
use protocol::item::{self, Match, ServiceItem};

use super::{Known, ServicePool, endpoints_of};
use crate::{cookie, upstream::counters::Counters};

/// A deployment beside the service's own.
#[derive(Debug)]
pub struct Split {
    weight: u8,
    matches: Vec<Match>,
    /// Its endpoints.
    pub pool: Arc<ServicePool>,
}

impl Split {
    /// As an item says, for the pool of the service's own deployment.
    pub(super) fn of(
        split: &item::Split,
        item: &ServiceItem,
        beside: &ServicePool,
        known: &mut Known,
        counters: &Counters,
        now: Instant,
    ) -> Self {
        let pool = ServicePool {
            service_id: item.service_id,
            deployment_id: split.deployment_id,
            health_path: split.health_path.clone(),
            counter: counters.of(split.deployment_id),
            shared: Arc::clone(&beside.shared),
            breaker: beside.breaker,
            limits: beside.limits,
            endpoints: endpoints_of(&split.endpoints, known, now),
            leaving: Vec::new(),
            discovered: Default::default(),
            splits: Vec::new(),
        };
        Self {
            weight: split.weight,
            matches: split.matches.clone(),
            pool: Arc::new(pool),
        }
    }

    fn is_marked(&self, headers: &HeaderMap) -> bool {
        self.matches.iter().any(|mark| is_of(mark, headers))
    }
}

fn is_of(mark: &Match, headers: &HeaderMap) -> bool {
    match mark {
        Match::Header { name, value } => {
            let mut values = headers.get_all(name).into_iter();
            values.any(|found| found.as_bytes() == value.as_bytes())
        }
        Match::Cookie { name, value } => cookie::values(headers, name).any(|found| found == value),
    }
}

/// The split that a request goes to: the first that it is marked for, else one by weight. `draw`, from 0 to 99, is drawn
/// once for a request, so that all its attempts go to the same one.
pub(super) fn choose<'a>(splits: &'a [Split], headers: &HeaderMap, draw: u8) -> Option<&'a Split> {
    if let Some(marked) = splits.iter().find(|split| split.is_marked(headers)) {
        return Some(marked);
    }
    let mut below = 0_u32;
    splits.iter().find(|split| {
        below += u32::from(split.weight);
        u32::from(draw) < below
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use domain::id::DeploymentId;
    use http::{HeaderName, HeaderValue, header};
    use proptest::prelude::*;

    use super::*;
    use crate::upstream::pool::{carry_over, tests};

    fn split(weight: u8, matches: Vec<Match>) -> item::Split {
        item::Split {
            deployment_id: DeploymentId::new(),
            endpoints: Vec::new(),
            weight,
            matches,
            health_path: None,
        }
    }

    fn pool(splits: Vec<item::Split>) -> ServicePool {
        let item = ServiceItem {
            splits,
            ..tests::item(Vec::new())
        };
        carry_over(&item, None, &Counters::default(), Instant::now())
    }

    fn marked(name: &str, value: &str) -> HeaderMap {
        let name = HeaderName::try_from(name).unwrap();
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    /// Its place; none for the service's own deployment.
    fn chosen(pool: &ServicePool, headers: &HeaderMap, draw: u8) -> Option<usize> {
        let split = choose(&pool.splits, headers, draw)?;
        let mut all = pool.splits.iter();
        all.position(|other| std::ptr::eq(other, split))
    }

    #[test]
    fn marks_go_before_weights() {
        let header = Match::Header {
            name: "x-canary".into(),
            value: "yes".into(),
        };
        let cookie = Match::Cookie {
            name: "canary".into(),
            value: "1".into(),
        };
        let pool = pool(vec![split(0, vec![header, cookie]), split(100, vec![])]);
        for (headers, place) in [
            (marked("x-canary", "yes"), 0),
            (marked("cookie", "a=b; canary=1"), 0),
            (marked("x-canary", "yes!"), 1),
            (marked("cookie", "canary=11"), 1),
            (HeaderMap::new(), 1),
        ] {
            assert_eq!(chosen(&pool, &headers, 0), Some(place), "{headers:?}");
        }
        let mut twice = marked("x-canary", "no");
        twice.append("x-canary", HeaderValue::from_static("yes"));
        assert_eq!(chosen(&pool, &twice, 99), Some(0));
        assert!(twice.get(header::COOKIE).is_none());
    }

    proptest! {
        #[test]
        fn each_gets_its_weight_and_the_services_own_the_rest(weights in proptest::collection::vec(0_u8..=25, 0..4)) {
            let pool = pool(weights.iter().map(|weight| split(*weight, vec![])).collect());
            let mut counted: HashMap<Option<usize>, u8> = HashMap::new();
            for draw in 0..100 {
                *counted.entry(chosen(&pool, &HeaderMap::new(), draw)).or_default() += 1;
            }
            for (place, weight) in weights.iter().enumerate() {
                prop_assert_eq!(counted.get(&Some(place)).copied().unwrap_or_default(), *weight);
            }
            let rest = 100 - weights.iter().sum::<u8>();
            prop_assert_eq!(counted.get(&None).copied().unwrap_or_default(), rest);
        }
    }
}
