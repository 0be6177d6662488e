//! An agent, and a control plane that sends it poison.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use agent::desired::Desired;
use domain::{
    id::{NodeId, ServiceId},
    instance::Desired as Wish,
};
use link::{
    follow::{Ledger, Standing},
    identity::DenyList,
    node_key::NodeKey,
};
use protocol::{
    feed::FeedName,
    item::{DeniedItem, InstanceItem, NodeItem},
};
use testkit::{
    poison::{Chance, Items, Kind, Kitchen, Poison},
    wait::{until, until_some},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{super::process::PATIENCE, control_plane::ControlPlane, process::Agent};

/// Of fewer items the brake lets all go.
const ITEMS: usize = 4;
/// Until the agent has followed what may still be whole, or hung up.
const HEEDED_WITHIN: Duration = Duration::from_secs(1);
/// Of a part of a line it says nothing at all.
const REFUSED_WITHIN: Duration = Duration::from_millis(150);
const LOOK: Duration = Duration::from_millis(20);

pub struct Trial {
    pub agent: Agent,
    pub control_plane: ControlPlane,
    instances: Vec<InstanceItem>,
    chance: Chance,
    /// The process that shall take no harm.
    pid: u32,
    taken: usize,
    refused: usize,
}

impl Trial {
    /// The agent has joined, and goes by its first document.
    pub async fn start(
        seed: u64,
        folder: &Path,
        socket: &Path,
        instances: Vec<InstanceItem>,
    ) -> Self {
        let control_plane = ControlPlane::start(items(&instances)).await;
        let agent = Agent::start(folder, &control_plane, socket);
        let trial = Self {
            pid: agent.pid(),
            agent,
            control_plane,
            instances,
            chance: Chance::new(seed),
            taken: 0,
            refused: 0,
        };
        assert_eq!(trial.recovers(PATIENCE).await, Ok(()));
        trial
    }

    /// Sends some, and looks what has come of it: nothing, or exactly what was signed.
    pub async fn poison(&mut self, kind: Kind) {
        let before = self.on_disk().applied().cloned();
        let Poison { bytes, set } = self.cook(kind);
        let commit = set
            .as_ref()
            .map(|set| self.control_plane.source().forge.commit(set));
        let line = self.send(bytes).await;
        let within = set.as_ref().map_or(REFUSED_WITHIN, |_| HEEDED_WITHIN);
        let give_up = kind.may_lack_its_end().then(|| Instant::now() + within);
        let is_late = || give_up.is_some_and(|at| Instant::now() > at);
        let is_followed = || {
            let commit = commit.as_ref();
            commit.is_some_and(|commit| self.control_plane.is_followed(commit))
        };
        until(PATIENCE, async || {
            line.is_closed() || is_followed() || is_late()
        })
        .await;

        // Before the disk is looked at: whoever takes it and hangs up in between has not refused it.
        let is_refused = line.is_closed();
        let now = self.on_disk().applied().cloned();
        let is_taken = commit.is_some() && now == commit;
        assert!(is_taken || now == before, "{kind:?} leads to {now:?}");
        self.taken += usize::from(is_taken);
        self.refused += usize::from(is_refused);
        // What is not refused may still be taken.
        if let Some(set) = set.filter(|_| is_taken || !is_refused) {
            self.control_plane.source().forge.publish(&set);
        }
    }

    /// Sends bytes; where they went.
    pub async fn send(&self, bytes: Vec<u8>) -> mpsc::Sender<Vec<u8>> {
        let line = async || self.control_plane.source().line();
        let line = until_some(PATIENCE, line).await;
        // Who has hung up meanwhile does not get it.
        let _ = line.send(bytes).await;
        line
    }

    /// The same process as ever, which would run on what was good; or what is amiss.
    pub async fn is_unharmed(&mut self) -> Result<(), String> {
        self.agent.lives().await?;
        if self.agent.pid() != self.pid {
            return Err("another process is in its place".to_owned());
        }
        self.keeps_what_was_good()
    }

    /// Whatever the newest document says, every instance shall run.
    fn keeps_what_was_good(&self) -> Result<(), String> {
        let state = Arc::clone(&self.on_disk().state().borrow());
        let desired = Desired::from_state(&state, true).ok_or("it has no document")?;
        for instance in &self.instances {
            let wanted = desired.instances.get(&instance.id);
            let wish = wanted.map(|wanted| wanted.item.desired);
            if wish != Some(Wish::Run) {
                return Err(format!("for {} it has {wish:?}", instance.id));
            }
        }
        Ok(())
    }

    /// The right document comes, and is taken within `patience`; or not.
    pub async fn recovers(&self, patience: Duration) -> Result<(), String> {
        let (commit, right, line) = {
            let mut source = self.control_plane.source();
            (source.mend(), source.right(), source.line())
        };
        if let Some(line) = line {
            let _ = line.send(right).await;
        }
        let followed = async {
            while !self.control_plane.is_followed(&commit) {
                sleep(LOOK).await;
            }
        };
        let taken = timeout(patience, followed).await;
        taken.map_err(|_| "it does not take the right document")?;
        let state = Arc::clone(&self.on_disk().state().borrow());
        let mut standings = state.items.values().map(|entry| entry.standing);
        assert!(standings.all(|standing| standing == Standing::Current));
        assert_eq!(state.items.len(), ITEMS);
        Ok(())
    }

    /// Of so many that were sent, half of them signed, many were taken and many refused, and its metrics tell of these.
    pub async fn is_told_of(&self, sent: usize) {
        let (taken, refused) = (self.taken, self.refused);
        assert!(
            taken * 4 > sent && refused * 4 > sent,
            "of {sent} were {taken} taken and {refused} refused"
        );
        let told = self.agent.interruptions().await;
        assert!(told >= refused, "{refused} were refused, not {told}");
    }

    /// What the agent would go by if it started now.
    fn on_disk(&self) -> Ledger<NodeItem> {
        let state_dir = &self.agent.state_dir;
        let key = NodeKey::ensure(&NodeKey::default_path(state_dir)).unwrap();
        let feed = FeedName::Node(self.control_plane.node());
        let (keys, status) = (self.control_plane.keys(), Arc::default());
        Ledger::load(feed, state_dir, key, keys, status, DenyList::default()).unwrap()
    }

    fn cook(&mut self, kind: Kind) -> Poison {
        let services = self.instances.iter().map(|instance| instance.service_id);
        let services: Vec<ServiceId> = services.collect();
        let source = self.control_plane.source();
        Kitchen {
            forge: &source.forge,
            items: &source.items,
            services: &services,
            node: self.control_plane.node(),
            chance: &mut self.chance,
        }
        .cook(kind)
    }
}

/// The instances, and nodes that were expelled.
fn items(instances: &[InstanceItem]) -> Items {
    let instances = instances.iter().map(|instance| {
        let id = format!("instance/{}", instance.id);
        (id, NodeItem::Instance(Box::new(instance.clone())))
    });
    let denied = std::iter::repeat_with(NodeId::new).map(|node_id| {
        let item = DeniedItem { node_id };
        (format!("denied/{node_id}"), NodeItem::Denied(item))
    });
    let items = instances.chain(denied).take(ITEMS);
    items
        .map(|(id, item)| (id, serde_json::to_value(item).unwrap()))
        .collect()
}
