//! Asks agents whether an instance holds its address (docs/ARCHITECTURE.md, invariant 9). Without a yes nothing
//! is sent there; while an agent can't be reached its last answer stands (see `verdict`), also across a restart.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use link::exhaustion::is_exhaustion;
use tokio::task::JoinSet;

use super::{
    discover::Agents,
    endpoint::{Endpoint, Verdict},
    pass::Pace,
    places::{Place, Places},
    pool::ServicePool,
};
use crate::{route::RouteTable, state::State};

/// Between two questions about one endpoint.
const AGAIN: Duration = Duration::from_millis(500);

/// Asks for as long as the edge lives.
pub async fn run(state: Arc<State>, agents: Arc<Agents>) {
    let (mut pace, mut places) = (Pace::start(), Places::default());
    let mut asking = JoinSet::new();
    loop {
        pace.next(&state.confirm_wanted).await;
        let (routes, now) = (state.routes.load_full(), Instant::now());
        let questions = due(&routes, &mut places, now);
        pace.passed(now.elapsed());
        while asking.try_join_next().is_some() {}
        for question in questions {
            let (state, agents) = (Arc::clone(&state), Arc::clone(&agents));
            asking.spawn(async move {
                if question.ask(&agents).await {
                    state.endpoints_changed();
                }
            });
        }
    }
}

/// To one agent, about one endpoint.
struct Question {
    pool: Arc<ServicePool>,
    endpoint: Arc<Endpoint>,
    agent: SocketAddr,
    place: Place,
    /// What is known of the endpoint when the question begins.
    asked: Verdict,
}

/// What is asked now.
fn due(routes: &RouteTable, places: &mut Places, now: Instant) -> Vec<Question> {
    places.retain(|node| routes.agent(node).is_some());
    let mut asked = Vec::new();
    let endpoints = routes.watched(|endpoint| {
        let place = place(endpoint, routes, places, now);
        let is_due = place.is_some();
        asked.extend(place);
        is_due
    });
    let questions = endpoints.into_iter().zip(asked);
    questions
        .map(|((pool, endpoint), (agent, place, asked))| Question {
            pool,
            endpoint,
            agent,
            place,
            asked,
        })
        .collect()
}

/// Where it is asked about an endpoint, if now.
fn place(
    endpoint: &Endpoint,
    routes: &RouteTable,
    places: &mut Places,
    now: Instant,
) -> Option<(SocketAddr, Place, Verdict)> {
    if !endpoint.wants_confirmation() {
        return None;
    }
    let node = endpoint.spec.node_id;
    let (agent, place) = (routes.agent(node)?, places.take(node)?);
    let asked = endpoint.take_question(AGAIN, now)?;
    Some((agent, place, asked))
}

impl Question {
    /// True when the answer changed something.
    async fn ask(self, agents: &Agents) -> bool {
        let spec = self.endpoint.spec;
        let answer = agents.confirmation(spec.node_id, self.agent, spec.instance_id);
        let answer = answer.await;
        if let Err(error) = &answer
            && is_exhaustion(error)
        {
            // The agent was not asked: nothing that it said before stands for an answer.
            self.endpoint.question_ended();
            return false;
        }
        self.place.ended(answer.is_ok());
        let changed = match answer {
            Ok(answer) => {
                let holds = answer.is_some_and(|c| {
                    c.instance_id == spec.instance_id
                        && c.address == spec.address
                        && c.service_id == self.pool.service_id
                });
                tell(&self.endpoint, self.asked, holds)
            }
            Err(error) => {
                tracing::debug!(instance = %spec.instance_id, %error, "an agent did not answer; its last answer stands");
                self.endpoint.unanswered(self.asked)
            }
        };
        self.endpoint.question_ended();
        changed
    }
}

fn tell(endpoint: &Endpoint, asked: Verdict, holds: bool) -> bool {
    let (spec, changed) = (endpoint.spec, endpoint.answered(asked, holds));
    if changed {
        tracing::info!(instance = %spec.instance_id, address = %spec.address, holds, "an agent answered for an endpoint");
    }
    changed
}

#[cfg(test)]
mod tests {
    use domain::id::{DeploymentId, InstanceId, NodeId, ServiceId};
    use protocol::item::{self, AgentItem, RegionRouteItem, ServiceItem, ServicePolicy};

    use super::*;
    use crate::upstream::counters::Counters;

    fn service(node_id: NodeId, endpoints: u16) -> RegionRouteItem {
        let endpoint = |port| item::Endpoint {
            instance_id: InstanceId::new(),
            node_id,
            address: ([127, 0, 0, 1], port).into(),
        };
        RegionRouteItem::Service(ServiceItem {
            service_id: ServiceId::new(),
            deployment_id: DeploymentId::new(),
            endpoints: (1..=endpoints).map(endpoint).collect(),
            health_path: None,
            traceparent: None,
            policy: ServicePolicy::default(),
            splits: Vec::new(),
        })
    }

    fn agent(node_id: NodeId) -> RegionRouteItem {
        RegionRouteItem::Agent(AgentItem {
            node_id,
            address: ([127, 0, 0, 1], 7444).into(),
        })
    }

    fn table(items: &[RegionRouteItem]) -> RouteTable {
        let items: Vec<_> = items.iter().collect();
        RouteTable::build(&[], &items, &RouteTable::default(), &Counters::default())
    }

    fn of(node: NodeId, questions: &[Question]) -> usize {
        let asked = questions.iter();
        asked.filter(|q| q.endpoint.spec.node_id == node).count()
    }

    #[test]
    fn a_silent_agent_with_many_endpoints_does_not_keep_others_from_being_asked() {
        let (silent, healthy) = (NodeId::new(), NodeId::new());
        let mut items = vec![agent(silent), agent(healthy), service(healthy, 10)];
        items.extend((0..100).map(|_| service(silent, 10)));
        let (routes, mut places, now) = (table(&items), Places::default(), Instant::now());

        let first = due(&routes, &mut places, now);
        assert_eq!(of(healthy, &first), 10);
        assert_eq!(of(silent, &first), 16);
        for question in first {
            let answered = question.endpoint.spec.node_id == healthy;
            question.place.ended(answered);
            question.endpoint.question_ended();
        }

        let second = due(&routes, &mut places, now + AGAIN);
        assert_eq!(of(healthy, &second), 10, "nothing has been confirmed yet");
        assert_eq!(of(silent, &second), 1);
        let third = due(&routes, &mut places, now + AGAIN * 2);
        assert!(third.is_empty(), "all are being asked");
    }

    #[test]
    fn whose_agent_is_not_known_takes_no_place() {
        let (unknown, known) = (NodeId::new(), NodeId::new());
        let items = [service(unknown, 1000), agent(known), service(known, 1)];
        let asked = due(&table(&items), &mut Places::default(), Instant::now());
        assert_eq!((of(unknown, &asked), of(known, &asked)), (0, 1));
    }
}
