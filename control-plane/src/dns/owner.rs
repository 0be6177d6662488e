//! Which names of a zone are ours: those with a TXT record beside them that says so. The zone itself remembers,
//! so that neither a lost database nor another program that writes the same zone makes us touch a foreign name.

use uuid::Uuid;

use super::record::{Kind, RecordSet, Routing};

const LABEL: &str = "_railhead-owner.";
/// Stands for the asterisk, which may only be at a name's beginning.
const WILDCARD: &str = "_wildcard.";
const TTL_SECONDS: u32 = 300;

/// An installation of the platform, as the owner of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    installation: Uuid,
}

impl Owner {
    /// The installation that this id (`platform.installation_id`) is of.
    #[must_use]
    pub const fn new(installation: Uuid) -> Self {
        Self { installation }
    }

    /// Its id.
    #[must_use]
    pub const fn installation(&self) -> Uuid {
        self.installation
    }

    /// What the record says.
    #[must_use]
    pub fn text(&self) -> String {
        format!("railhead-owner={}", self.installation)
    }

    /// The record that makes a name ours.
    #[must_use]
    pub fn mark(&self, name: &str) -> RecordSet {
        RecordSet {
            name: mark_name(name),
            kind: Kind::Txt,
            routing: Routing::Simple,
            ttl: TTL_SECONDS,
            values: [self.text()].into(),
        }
    }

    /// The name that this record makes ours; none when it is no such record.
    #[must_use]
    pub fn marked(&self, set: &RecordSet) -> Option<String> {
        let is_mark = set.kind == Kind::Txt && set.routing == Routing::Simple;
        let is_ours = is_mark && set.values.iter().eq([&self.text()]);
        is_ours.then(|| marked_name(&set.name)).flatten()
    }
}

/// Where the record stands that says whose a name is.
#[must_use]
pub fn mark_name(name: &str) -> String {
    match name.strip_prefix("*.") {
        Some(parent) => format!("{LABEL}{WILDCARD}{parent}"),
        None => format!("{LABEL}{name}"),
    }
}

/// The name that such a record would be about; none when this is another name.
pub(super) fn marked_name(mark: &str) -> Option<String> {
    let name = mark.strip_prefix(LABEL)?;
    Some(match name.strip_prefix(WILDCARD) {
        Some(parent) => format!("*.{parent}"),
        None => name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_mark_of_its_own() {
        let owner = Owner::new(Uuid::nil());
        for (name, mark) in [
            ("apps.example.com", "_railhead-owner.apps.example.com"),
            (
                "*.apps.example.com",
                "_railhead-owner._wildcard.apps.example.com",
            ),
        ] {
            let set = owner.mark(name);
            assert_eq!(set.name, mark);
            assert_eq!(owner.marked(&set).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_mark_of_somebody_else_or_of_two_marks_nothing() {
        let owner = Owner::new(Uuid::nil());
        let theirs = Owner::new(Uuid::max()).mark("a.example.com");
        assert_eq!(owner.marked(&theirs), None);
        let mut both = owner.mark("a.example.com");
        both.values.extend(theirs.values);
        assert_eq!(owner.marked(&both), None);
        let mut elsewhere = owner.mark("a.example.com");
        elsewhere.name = "a.example.com".to_owned();
        assert_eq!(owner.marked(&elsewhere), None);
    }
}
