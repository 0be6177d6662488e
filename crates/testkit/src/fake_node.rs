//! What a fake agent and a fake edge share: a real link to a real control plane, in a folder of its own.

use std::fs;

use anyhow::Context as _;
use link::{
    Link,
    follow::{Feed, Follower, State},
    report::{Poke, Reporter},
};
use protocol::{feed::FeedName, item::Item, join::Role, report::RoleReport};
use reqwest::Url;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinSet};

/// A joined node whose tasks end when it is dropped.
#[derive(Debug)]
pub struct FakeNode {
    pub link: Link,
    pub tasks: JoinSet<()>,
    feeds: Vec<Feed>,
    _dir: TempDir,
}

impl FakeNode {
    /// Joins with a token, over the network, as a real node does.
    pub async fn join(
        control_plane: Url,
        token: &str,
        name: &str,
        role: Role,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let token_file = dir.path().join("token");
        fs::write(&token_file, token)?;
        let config = link::Config {
            control_plane,
            name: name.parse()?,
            role,
            state_dir: dir.path().join("state"),
            node_key_file: None,
            join_token_file: Some(token_file),
        };
        let link = Link::open(config)
            .await
            .context("the fake node can't join")?;
        Ok(Self {
            link,
            tasks: JoinSet::new(),
            feeds: Vec::new(),
            _dir: dir,
        })
    }

    /// Follows a feed from now on.
    pub fn follow<T: Item>(
        &mut self,
        feed: FeedName,
    ) -> anyhow::Result<watch::Receiver<Arc<State<T>>>> {
        let follower: Follower<T> = self.link.follow(feed)?;
        let state = follower.state();
        self.feeds.push(follower.feed());
        self.tasks.spawn(follower.run());
        Ok(state)
    }

    /// The feeds followed so far.
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// Reports from now on, with the feeds followed so far.
    pub fn report(&mut self, build: impl FnMut() -> RoleReport + Send + 'static) -> Poke {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let reporter = Reporter::new(&self.link, version, self.feeds.clone());
        let poke = reporter.poke();
        self.tasks.spawn(reporter.run(build));
        poke
    }
}
