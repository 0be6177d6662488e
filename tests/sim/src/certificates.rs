//! Certificates, where a history lasts for longer than they do: real ones of nodes, and at each new connection between
//! two of them a real handshake by the verifiers of `link` at the simulation's time; and when users' ends.

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, SystemTime},
};

use control_plane::ca::SERVER_RENEWAL;
use domain::id::NodeId;
use link::{
    identity::Identity,
    tls::{self, Peers},
};
use protocol::join::{Role, SpiffeId};
use rustls::{
    ClientConnection, ConnectionCommon, ServerConnection, SideData, time_provider::TimeProvider,
};
use rustls_pki_types::{ServerName, UnixTime};
use testkit::pki::{Life, Pki};

use crate::{
    clock::{self, MINUTE, Millis, SECOND},
    fault::Fault,
    network::Peer,
    outage::BEFORE,
    world::World,
};

const HOUR: Millis = 60 * MINUTE;
/// Of a node's certificate, as the control plane gives it out; the next one is asked for after a third of it.
const LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// Of the certificate that edges show to users.
const SHOWN_LIFETIME: Millis = 90 * 24 * HOUR;

/// A process: the node and its boot.
type Process = (Peer, u64);

/// Everybody's certificates.
pub struct Certificates {
    pki: Pki,
    identities: BTreeMap<Peer, Identity>,
    /// Links that are open, and between which boots.
    links: BTreeMap<(Peer, Peer), (u64, u64)>,
    /// The end of what edges show to users.
    shown_until: Millis,
    /// Handshakes with a certificate whose time was over.
    pub expired: u64,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// What edges show is about to be renewed when everything central goes away: the worst moment for that.
    fn new(fault: Option<Fault>) -> Self {
        Self {
            pki: Pki::new(),
            identities: BTreeMap::new(),
            links: BTreeMap::new(),
            shown_until: BEFORE + renewal(fault) + SECOND,
            expired: 0,
        }
    }

    /// Gives a node a certificate that began so long ago.
    fn issue(&mut self, peer: Peer, id: &SpiffeId, began_ago: Duration) {
        let life = Life {
            began_ago,
            lasts: LIFETIME,
        };
        self.identities.insert(peer, self.pki.identity(id, life));
    }

    /// A node that is heard by the control plane gets its next certificate when it is time for it.
    fn renew(&mut self, peer: Peer, now: Millis) {
        let Some(identity) = self.identities.get(&peer) else {
            return;
        };
        if identity.credentials().validity.renew_at() <= clock::wall(now) {
            let id = identity.spiffe_id();
            self.issue(peer, &id, ago(now));
        }
    }

    /// Whether two processes can speak with each other: by the link that they have, or by a new one.
    fn link(&mut self, client: Process, server: Process, now: Millis, refuses: bool) -> bool {
        let (ends, boots) = ((client.0, server.0), (client.1, server.1));
        if self.links.get(&ends) == Some(&boots) {
            return true;
        }
        let identities = (
            self.identities.get(&client.0),
            self.identities.get(&server.0),
        );
        let (Some(client), Some(server)) = identities else {
            return false;
        };
        let expired = has_ended(client, now) || has_ended(server, now);
        self.expired += u64::from(expired);
        let met = !(refuses && expired) && meet(client, server, now).is_ok();
        if met {
            self.links.insert(ends, boots);
        }
        met
    }

    /// Whether what an edge shows satisfies a user.
    const fn satisfies_users(&self, now: Millis) -> bool {
        now <= self.shown_until
    }

    /// A node that works by a certificate whose time is over.
    pub fn overdue(&self, now: Millis) -> Option<Peer> {
        let mut all = self.identities.iter();
        let found = all.find(|(_, identity)| has_ended(identity, now));
        found.map(|(peer, _)| *peer)
    }
}

fn has_ended(identity: &Identity, now: Millis) -> bool {
    identity.credentials().validity.not_after < clock::wall(now)
}

/// So long before its end what edges show is renewed.
fn renewal(fault: Option<Fault>) -> Millis {
    match fault {
        Some(Fault::RenewedTooLate) => 12 * HOUR,
        _ => SERVER_RENEWAL
            .num_milliseconds()
            .try_into()
            .unwrap_or_default(),
    }
}

/// Certificates are made by the machine's clock, which is ahead of the simulation's.
fn ago(at: Millis) -> Duration {
    let then = SystemTime::from(clock::wall(at));
    SystemTime::now().duration_since(then).unwrap_or_default()
}

/// The simulation's time, as verifiers ask for it.
#[derive(Debug)]
struct At(Millis);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = clock::wall(self.0).timestamp().try_into().ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// A handshake of two nodes.
fn meet(client: &Identity, server: &Identity, now: Millis) -> io::Result<()> {
    let only = |node: &Identity| Peers {
        node_id: Some(node.node_id()),
        ..Peers::default()
    };
    let mut accepts = tls::server_config(server, only(client)).map_err(io::Error::other)?;
    let mut connects = tls::client_config(client, only(server)).map_err(io::Error::other)?;
    accepts.time_provider = Arc::new(At(now));
    connects.time_provider = Arc::new(At(now));
    let name = ServerName::try_from("node.invalid").map_err(io::Error::other)?;
    let client = ClientConnection::new(Arc::new(connects), name).map_err(io::Error::other)?;
    let server = ServerConnection::new(Arc::new(accepts)).map_err(io::Error::other)?;
    converse(client, server)
}

/// Until both are through.
fn converse(mut client: ClientConnection, mut server: ServerConnection) -> io::Result<()> {
    while client.is_handshaking() || server.is_handshaking() {
        let said = tell(&mut client, &mut server)? + tell(&mut server, &mut client)?;
        if said == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// What one has to say reaches the other; how much that was.
fn tell<A, B, S: SideData, T: SideData>(from: &mut A, to: &mut B) -> io::Result<usize>
where
    A: DerefMut + Deref<Target = ConnectionCommon<S>>,
    B: DerefMut + Deref<Target = ConnectionCommon<T>>,
{
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes)?;
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest)?;
        to.process_new_packets().map_err(io::Error::other)?;
    }
    Ok(bytes.len())
}

impl World {
    /// Every node has a certificate, none older than the third of its life after which it is renewed.
    pub(crate) fn certify(&mut self) {
        let mut certificates = Certificates::new(self.fault);
        let peers: Vec<(NodeId, Peer)> = self.peers.iter().map(|(id, peer)| (*id, *peer)).collect();
        for (id, peer) in peers {
            let age = Duration::from_millis(self.random.between(0, 8 * HOUR - MINUTE));
            if let Some(id) = self.spiffe_id(id, peer) {
                certificates.issue(peer, &id, ago(0) + age);
            }
        }
        self.certificates = Some(certificates);
    }

    fn spiffe_id(&self, node_id: NodeId, peer: Peer) -> Option<SpiffeId> {
        let (role, region) = match peer {
            Peer::Agent(index) => (Role::Agent, &self.nodes.get(index)?.region),
            Peer::Edge(index) => (Role::Edge, &self.edges.get(index)?.region),
            Peer::Replica(_) => return None,
        };
        Some(SpiffeId {
            trust_domain: "railhead.test".to_owned(),
            region: region.clone(),
            role,
            node_id,
        })
    }

    /// Whether a node can speak with another one over mTLS.
    pub(crate) fn can_link(&mut self, client: Peer, server: Peer) -> bool {
        let boots = self.boot_of(client).zip(self.boot_of(server));
        let refuses = self.fault == Some(Fault::ExpiryRefuses);
        let Some(certificates) = &mut self.certificates else {
            return true;
        };
        boots.is_some_and(|(from, to)| {
            certificates.link((client, from), (server, to), self.now, refuses)
        })
    }

    /// Whether users accept the certificate that edges show.
    pub(crate) fn is_accepted_by_users(&self) -> bool {
        let certificates = self.certificates.as_ref();
        certificates.is_none_or(|certificates| certificates.satisfies_users(self.now))
    }

    /// A node has been heard by a control plane.
    pub(crate) fn renew_certificate(&mut self, peer: Peer) {
        if let Some(certificates) = &mut self.certificates {
            certificates.renew(peer, self.now);
        }
    }

    /// What edges show is renewed before it ends.
    pub(crate) fn renew_shown(&mut self) {
        if let Some(certificates) = &mut self.certificates
            && certificates.shown_until < self.now + renewal(self.fault)
        {
            certificates.shown_until = self.now + SHOWN_LIFETIME;
        }
    }
}
