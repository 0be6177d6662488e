//! From the feeds' last good states to routes and certificates. Runs at start with what the disk
//! has, and again at every commit. An item that can't be used is refused, counted and logged, and
//! the last good one with its id serves on.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::id::ServiceId;
use link::follow::{Entry, State as FeedState};
use protocol::{
    feed::Commit,
    item::{CertificateItem, GlobalRouteItem, RegionRouteItem, RulesItem},
};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{
    route::{RouteTable, hostname},
    rule::ServiceRules,
    state::State,
    tls::{Certificate, CertificateStore, Tickets},
    upstream::memory::Memory,
};

/// How long an acknowledgement waits for new endpoints to be confirmed and probed.
pub const SETTLE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// The feeds' states as they come.
#[derive(Debug, Clone)]
pub struct Feeds {
    /// `routes/global`.
    pub global: watch::Receiver<Arc<FeedState<GlobalRouteItem>>>,
    /// `routes/region/<own>`.
    pub region: watch::Receiver<Arc<FeedState<RegionRouteItem>>>,
}

/// The commits that this edge serves by: what its report acknowledges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Of `routes/global`.
    pub global: Option<Commit>,
    /// Of `routes/region/<own>`.
    pub region: Option<Commit>,
}

/// Items that can be used, by id.
pub type Good<T> = BTreeMap<Arc<str>, Arc<Entry<T>>>;
/// What was made of items, by their ids, with the entry that each was made from.
type Loaded<T> = BTreeMap<Arc<str>, (Arc<Entry<GlobalRouteItem>>, Arc<T>)>;

/// Compiles states and swaps them in.
pub struct Applier {
    state: Arc<State>,
    feeds: Feeds,
    tickets: Tickets,
    global: Good<GlobalRouteItem>,
    certificates: Loaded<Certificate>,
    rules: Loaded<ServiceRules>,
    /// What the disk had at the start is no change.
    started: bool,
}

impl Applier {
    /// Applies what the disk has; endpoints that could be used before the restart can be used again.
    #[must_use]
    pub fn start(state: Arc<State>, feeds: Feeds, tickets: Tickets, memory: &Memory) -> Self {
        let mut applier = Self {
            state,
            feeds,
            tickets,
            global: BTreeMap::new(),
            certificates: BTreeMap::new(),
            rules: BTreeMap::new(),
            started: false,
        };
        applier.state.routes.store(Arc::new(memory.recall()));
        applier.apply();
        applier.started = true;
        applier
    }

    /// Applies commits for as long as the edge lives, and says what is applied.
    pub async fn run(mut self, applied: watch::Sender<Applied>) {
        loop {
            let newest = self.apply();
            let settled = settle(&self.state);
            tokio::select! {
                () = settled => {
                    failpoint::reach("table-applied");
                    applied.send_if_modified(|before| {
                        std::mem::replace(before, newest.clone()) != newest
                    });
                    if !self.changed().await {
                        return;
                    }
                }
                more = changed(&mut self.feeds) => {
                    if !more {
                        return;
                    }
                }
            }
        }
    }

    async fn changed(&mut self) -> bool {
        changed(&mut self.feeds).await
    }

    /// Compiles the newest states and swaps them in.
    pub fn apply(&mut self) -> Applied {
        let global = Arc::clone(&self.feeds.global.borrow_and_update());
        let region = Arc::clone(&self.feeds.region.borrow_and_update());
        let refused = self.apply_certificates(&global)
            + self.apply_rules(&global)
            + self.apply_routes(&global, &region);
        self.state.metrics.traffic.set_items_refused(refused);
        let newest = Applied {
            global: global.commit.clone(),
            region: region.commit.clone(),
        };
        self.measure(&newest);
        newest
    }

    /// How many are refused.
    fn apply_certificates(&mut self, global: &FeedState<GlobalRouteItem>) -> usize {
        let load = |item: &GlobalRouteItem, _: Option<&Certificate>| match item {
            GlobalRouteItem::Certificate(item) => Some(self.load(item, global)),
            _ => None,
        };
        let (certificates, refused) = reload(global, &self.certificates, load);
        self.certificates = certificates;
        let store = CertificateStore::build(self.certificates.values().map(|(_, c)| c));
        self.state.metrics.routed("certificate_names", store.len());
        self.state.certificates.store(Arc::new(store));
        refused
    }

    /// How many are refused.
    fn apply_rules(&mut self, global: &FeedState<GlobalRouteItem>) -> usize {
        let load = |item: &GlobalRouteItem, before: Option<&ServiceRules>| match item {
            GlobalRouteItem::Rules(item) => Some(self.compile(item, before)),
            _ => None,
        };
        let (rules, refused) = reload(global, &self.rules, load);
        self.rules = rules;
        self.state
            .metrics
            .routed("services_with_rules", self.rules.len());
        refused
    }

    fn compile(&self, item: &RulesItem, before: Option<&ServiceRules>) -> Option<ServiceRules> {
        match ServiceRules::compile(item, before, self.state.limits.table()) {
            Ok(rules) => Some(rules),
            Err(faults) => {
                let fault = faults.first().map(ToString::to_string).unwrap_or_default();
                tracing::error!(service = %item.service_id, %fault, "rules are refused; the last good ones serve on");
                self.state.metrics.item_refused("routes/global");
                None
            }
        }
    }

    fn load(
        &self,
        item: &CertificateItem,
        global: &FeedState<GlobalRouteItem>,
    ) -> Option<Certificate> {
        let Some(key) = global.secrets.get(&item.key) else {
            tracing::warn!(certificate = %item.id, "the key of a certificate has not come");
            self.state.metrics.item_refused("routes/global");
            return None;
        };
        match Certificate::load(item, &Zeroizing::new(key.to_owned()), &self.tickets) {
            Ok(certificate) => Some(certificate),
            Err(error) => {
                tracing::error!(%error, "a certificate is refused; the last good one serves on");
                self.state.metrics.item_refused("routes/global");
                None
            }
        }
    }

    /// How many are refused.
    fn apply_routes(
        &mut self,
        global: &FeedState<GlobalRouteItem>,
        region: &FeedState<RegionRouteItem>,
    ) -> usize {
        let (good, refused) = good_items(global, &self.global);
        for id in &refused {
            tracing::error!(item = %id, "a route is refused: its host name is none; the last good one serves on");
            self.state.metrics.item_refused("routes/global");
        }
        self.global = good;
        let global: Vec<_> = self.global.values().map(|entry| &entry.item).collect();
        let region: Vec<_> = region.items.values().map(|entry| &entry.item).collect();
        let before = self.state.routes.load_full();
        let table = RouteTable::build(&global, &region, &before, &self.state.counters);
        let rules = self.rules.values().filter_map(rules_of_service);
        let table = table.with_rules(rules.collect());
        if self.started {
            region.iter().for_each(|item| trace_change(item, &before));
        }
        self.state.metrics.routed("hostnames", table.hostnames());
        self.state.metrics.routed("endpoints", table.endpoints());
        self.state.routes.store(Arc::new(table));
        self.state.endpoints_changed();
        refused.len()
    }

    fn measure(&self, applied: &Applied) {
        let feeds = [
            ("routes/global", &applied.global),
            ("routes/region", &applied.region),
        ];
        for (feed, commit) in feeds {
            if let Some(commit) = commit {
                self.state.metrics.applied(feed, commit.generation.0);
            }
        }
    }
}

fn rules_of_service(
    (entry, rules): &(Arc<Entry<GlobalRouteItem>>, Arc<ServiceRules>),
) -> Option<(ServiceId, Arc<ServiceRules>)> {
    match &entry.item {
        GlobalRouteItem::Rules(item) => Some((item.service_id, Arc::clone(rules))),
        _ => None,
    }
}

/// Makes something of each item that `load` is about (`Some`); what is made of an item that did not change stays, and of
/// one that nothing can be made of (`Some(None)`) what was made of the last good one with its id. And how many those are.
fn reload<T>(
    global: &FeedState<GlobalRouteItem>,
    before: &Loaded<T>,
    load: impl Fn(&GlobalRouteItem, Option<&T>) -> Option<Option<T>>,
) -> (Loaded<T>, usize) {
    let (mut next, mut refused) = (BTreeMap::new(), 0);
    for (id, entry) in &global.items {
        let known = before.get(id);
        if let Some(same) = known.filter(|(known, _)| Arc::ptr_eq(known, entry)) {
            next.insert(Arc::clone(id), same.clone());
            continue;
        }
        let Some(made) = load(&entry.item, known.map(|(_, made)| &**made)) else {
            continue;
        };
        refused += usize::from(made.is_none());
        let made = made.map(|made| (Arc::clone(entry), Arc::new(made)));
        if let Some(usable) = made.or_else(|| known.cloned()) {
            next.insert(Arc::clone(id), usable);
        }
    }
    (next, refused)
}

/// A deployment's trace shows when each edge took its routes over.
fn trace_change(item: &RegionRouteItem, before: &RouteTable) {
    let RegionRouteItem::Service(item) = item else {
        return;
    };
    let known = before
        .service(item.service_id)
        .map(|pool| pool.deployment_id);
    if known == Some(item.deployment_id) {
        return;
    }
    let span = tracing::info_span!("apply_routes", service_id = %item.service_id, deployment_id = %item.deployment_id);
    if let Some(parent) = &item.traceparent {
        telemetry::context::set_parent(&span, parent);
    }
    span.in_scope(|| {
        tracing::info!(
            endpoints = item.endpoints.len(),
            "a deployment's routes are applied"
        );
    });
}

/// What can be used, with the last good one in the place of what can't; and the ids of what can't.
#[must_use]
pub fn good_items(
    global: &FeedState<GlobalRouteItem>,
    last: &Good<GlobalRouteItem>,
) -> (Good<GlobalRouteItem>, Vec<Arc<str>>) {
    let mut good = BTreeMap::new();
    let mut refused = Vec::new();
    for (id, entry) in &global.items {
        if is_good(&entry.item) {
            good.insert(Arc::clone(id), Arc::clone(entry));
            continue;
        }
        refused.push(Arc::clone(id));
        if let Some(last_good) = last.get(id) {
            good.insert(Arc::clone(id), Arc::clone(last_good));
        }
    }
    (good, refused)
}

fn is_good(item: &GlobalRouteItem) -> bool {
    match item {
        GlobalRouteItem::Hostname(item) => hostname::pattern(&item.hostname).is_some(),
        GlobalRouteItem::Challenge(item) => hostname::normalize(&item.hostname).is_some(),
        GlobalRouteItem::Rules(_)
        | GlobalRouteItem::Certificate(_)
        | GlobalRouteItem::Edge(_)
        | GlobalRouteItem::Denied(_) => true,
    }
}

async fn changed(feeds: &mut Feeds) -> bool {
    tokio::select! {
        changed = feeds.global.changed() => changed.is_ok(),
        changed = feeds.region.changed() => changed.is_ok(),
    }
}

/// Waits until every endpoint of the feed has been judged: an acknowledgement lets the control plane
/// end the old instances, so the new ones must be in use by then. One that can't be judged in time
/// does not hold up the others. The longer it takes, the more seldom it looks.
async fn settle(state: &State) {
    let begun = Instant::now();
    while !is_settled(state) {
        tokio::time::sleep(LOOK.max(begun.elapsed() / 10)).await;
    }
}

fn is_settled(state: &State) -> bool {
    let (routes, now) = (state.routes.load(), Instant::now());
    routes.services().all(|pool| pool.is_settled(SETTLE, now))
}
