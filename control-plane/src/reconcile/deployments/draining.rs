//! What of older deployments still runs while a new one serves: it is live when that has ended.

use std::collections::BTreeMap;

use domain::deployment::{acknowledgement::Follower, machine::Failure};

/// Older instances of the service, and what may keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Older {
    /// How many have not ended, by region.
    pub instances: BTreeMap<String, i64>,
    /// Those that follow a feed which the deployment has changed.
    pub edges: Vec<Follower>,
}

impl Older {
    /// All have ended, or which have not and why.
    pub(super) fn ended(&self) -> Result<(), Failure> {
        let count: i64 = self.instances.values().sum();
        if count == 0 {
            return Ok(());
        }
        let places: Vec<String> = self
            .instances
            .iter()
            .map(|(region, count)| format!("{region} {count}"))
            .collect();
        let which = if count == 1 {
            "1 old instance has".to_owned()
        } else {
            format!("{count} old instances have")
        };
        let left = format!("{which} not ended yet ({})", places.join(", "));
        Err(match self.late_edges() {
            0 => Failure::new("old_instances_draining", left),
            1 => kept(&left, "1 edge that is late"),
            late => kept(&left, &format!("{late} edges that are late")),
        })
    }

    fn late_edges(&self) -> usize {
        let late = |edge: &&Follower| edge.late && !edge.applied;
        self.edges.iter().filter(late).count()
    }
}

fn kept(left: &str, by: &str) -> Failure {
    let message = format!("{left}; {by} may still use them, so they stay up to 10 minutes longer");
    Failure::new("old_instances_kept", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn older(instances: &[(&str, i64)], edges: Vec<Follower>) -> Older {
        let instances = instances.iter();
        Older {
            instances: instances.map(|(r, n)| ((*r).to_owned(), *n)).collect(),
            edges,
        }
    }

    #[test]
    fn it_says_how_many_are_left_where_and_why() {
        const APPLIED: Follower = Follower {
            applied: true,
            late: false,
        };
        const LATE: Follower = Follower {
            applied: false,
            late: true,
        };
        assert_eq!(older(&[], vec![LATE]).ended(), Ok(()));
        let said = |older: Older| {
            let Failure { code, message } = older.ended().unwrap_err();
            format!("{code}: {message}")
        };
        insta::assert_snapshot!(
            said(older(&[("eu-west", 1)], vec![APPLIED])),
            @"old_instances_draining: 1 old instance has not ended yet (eu-west 1)"
        );
        insta::assert_snapshot!(
            said(older(&[("eu-west", 1), ("us-east", 2)], vec![APPLIED, LATE])),
            @"old_instances_kept: 3 old instances have not ended yet (eu-west 1, us-east 2); 1 edge that is late may still use them, so they stay up to 10 minutes longer"
        );
    }
}
