//! When changed routes count as taken over: by every edge that follows a changed tier
//! and is not late, and by at least one. Used for deployments and for every instance that leaves.

/// One edge that follows one changed tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    /// It has applied the position that is asked for, or a newer one.
    pub applied: bool,
    /// It has been silent for too long to be waited for.
    pub late: bool,
}

/// How far the edges are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// An edge that is not late, or the first one at all, is still to come.
    Waiting,
    /// Enough to go on; late edges may still use the old routes.
    EnoughButLate,
    /// Nobody uses the old routes.
    All,
}

/// Judges the followers of every changed tier. `routed` is false for what no edge ever routed to
/// (workers, private services): then there is nobody to wait for.
#[must_use]
pub fn judge(followers: &[Follower], routed: bool) -> Acknowledgement {
    let punctual_missing = followers.iter().any(|f| !f.applied && !f.late);
    let one_applied = followers.iter().any(|f| f.applied);
    if !routed {
        Acknowledgement::All
    } else if punctual_missing || !one_applied {
        Acknowledgement::Waiting
    } else if followers.iter().any(|f| !f.applied) {
        Acknowledgement::EnoughButLate
    } else {
        Acknowledgement::All
    }
}

/// Whether routes that were added are in use: every punctual follower has applied them.
#[must_use]
pub fn is_in_use(followers: &[Follower]) -> bool {
    followers.iter().all(|f| f.applied || f.late)
}

/// Whether nobody uses a route any more that was taken away: every punctual follower has applied
/// its removal, and late ones have too or have had their time.
#[must_use]
pub fn is_unused(followers: &[Follower], late_time_is_over: bool) -> bool {
    followers
        .iter()
        .all(|f| f.applied || (f.late && late_time_is_over))
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPLIED: Follower = Follower {
        applied: true,
        late: false,
    };
    const BEHIND: Follower = Follower {
        applied: false,
        late: false,
    };
    const LATE: Follower = Follower {
        applied: false,
        late: true,
    };

    #[test]
    fn every_punctual_edge_and_at_least_one() {
        assert_eq!(judge(&[], true), Acknowledgement::Waiting);
        assert_eq!(judge(&[LATE], true), Acknowledgement::Waiting);
        assert_eq!(judge(&[APPLIED, BEHIND], true), Acknowledgement::Waiting);
        assert_eq!(
            judge(&[APPLIED, LATE], true),
            Acknowledgement::EnoughButLate
        );
        assert_eq!(judge(&[APPLIED, APPLIED], true), Acknowledgement::All);
        assert_eq!(judge(&[], false), Acknowledgement::All);
    }

    #[test]
    fn what_was_added_is_in_use_when_no_punctual_edge_is_behind() {
        assert!(is_in_use(&[]));
        assert!(is_in_use(&[APPLIED, LATE]));
        assert!(!is_in_use(&[APPLIED, BEHIND]));
    }

    #[test]
    fn a_late_edge_holds_an_instance_only_for_its_time() {
        assert!(is_unused(&[APPLIED], false));
        assert!(!is_unused(&[APPLIED, LATE], false));
        assert!(is_unused(&[APPLIED, LATE], true));
        assert!(!is_unused(&[BEHIND], true));
    }
}
