//! What must hold of builds.

use std::collections::BTreeMap;

use control_plane::feed::build::item_id;
use domain::id::{BuildId, DeploymentId, NodeId};
use protocol::feed::FeedName;

use super::{Checker, Invariant};
use crate::table::{BuildRow, Tables, is_canceled};

/// Which node has made an image, and by which build.
#[derive(Debug, Default)]
pub(super) struct Made(BTreeMap<String, (BuildId, NodeId)>);

impl Checker {
    /// A node has made an image.
    pub fn built(&mut self, digest: String, build: BuildId, node: NodeId) {
        self.made.0.insert(digest, (build, node));
    }

    /// A node's report about a build was stored.
    pub fn heard(&mut self, before: &BuildRow, after: &BuildRow, by: NodeId) {
        if before.is_finished() || !after.is_finished() {
            return;
        }
        let id = before.id;
        if before.node != Some(by) {
            let has = before.node;
            let what = format!("{id} is ended by the word of {by}, and {has:?} has it");
            self.broken(Invariant::Build, what);
        }
        if is_canceled(&after.state) && !before.canceled {
            let what = format!("{id} ends as canceled, and nobody has canceled it");
            self.broken(Invariant::Build, what);
        }
    }

    /// A deployment goes on with its build's image.
    pub fn released(&mut self, deployment: DeploymentId, build: &BuildRow) {
        let id = build.id;
        let digest = build.digest().unwrap_or_default();
        let made = self.made.0.get(digest);
        let is_its_own = made.is_some_and(|(of, by)| *of == id && build.node == Some(*by));
        if !is_its_own || build.canceled {
            let canceled = build.canceled;
            let what = format!(
                "{deployment} goes on with {digest:?} of {id} (canceled: {canceled}), which is of {made:?}"
            );
            self.broken(Invariant::Build, what);
        }
    }

    /// A build was given to a node.
    pub fn given(&mut self, tables: &Tables, before: Option<&BuildRow>) {
        let Some(before) = before else {
            return;
        };
        let build = before.id;
        if before.is_finished() {
            let what = format!("{build} has ended and is given to another node");
            self.broken(Invariant::Build, what);
        }
        let item = item_id(build);
        let is_told = |node: &&NodeId| {
            let feed = tables.feeds.get(&FeedName::Node(**node));
            feed.is_some_and(|feed| feed.document.get(&item).is_some())
        };
        let told: Vec<&NodeId> = tables.nodes.keys().filter(is_told).collect();
        if told.len() > 1 {
            let what = format!("{build} is told to {told:?}");
            self.broken(Invariant::Build, what);
        }
    }
}
