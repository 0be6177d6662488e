//! Instances as their node sees them.

use domain::id::NodeId;
use protocol::report::InstanceReport;
use uuid::Uuid;

use super::{Error, signed};
use crate::store::tx::{Access as _, SystemTx};

/// One row per reported instance, as arrays for `unnest`.
#[derive(Default)]
struct Instances {
    ids: Vec<Uuid>,
    states: Vec<i16>,
    ready: Vec<bool>,
    restarts: Vec<i32>,
    addresses: Vec<Option<String>>,
    digests: Vec<Option<String>>,
    exit_codes: Vec<Option<i64>>,
    problem_codes: Vec<Option<String>>,
    problem_messages: Vec<Option<String>>,
    cpu: Vec<i64>,
    memory: Vec<i64>,
    received: Vec<i64>,
    sent: Vec<i64>,
}

impl Instances {
    fn push(&mut self, instance: &InstanceReport) -> Result<(), Error> {
        let problem = instance.problem.as_ref();
        self.ids.push(instance.id.uuid());
        self.states.push(instance.state.number());
        self.ready.push(instance.ready);
        self.restarts
            .push(i32::try_from(instance.restarts).unwrap_or(i32::MAX));
        self.addresses
            .push(instance.address.map(|address| address.to_string()));
        self.digests.push(instance.image_digest.clone());
        self.exit_codes.push(instance.exit_code);
        self.problem_codes
            .push(problem.map(|problem| problem.code.clone()));
        self.problem_messages
            .push(problem.map(|problem| problem.message.clone()));
        self.cpu.push(instance.usage.cpu.0.into());
        self.memory.push(signed(instance.usage.memory.0)?);
        self.received.push(signed(instance.usage.received.0)?);
        self.sent.push(signed(instance.usage.sent.0)?);
        Ok(())
    }
}

/// Only instances that the plan has on this node are touched, and a state never goes back. Whoever reports a
/// lower one (an agent that has lost its disk) still has the instance: it is not to be taken for gone.
pub(super) async fn store(
    tx: &mut SystemTx,
    node: NodeId,
    instances: &[InstanceReport],
) -> Result<bool, Error> {
    if instances.is_empty() {
        return Ok(false);
    }
    let mut rows = Instances::default();
    for instance in instances {
        rows.push(instance)?;
    }
    let changed: i64 = sqlx::query_scalar(
        "with reported as (
            select r.* from unnest($2::uuid[], $3::smallint[], $4::boolean[], $5::integer[], $6::text[],
                $7::text[], $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[],
                $14::bigint[]) as r (id, state, ready, restarts, address, image_digest, exit_code,
                problem_code, problem_message, cpu_millis, memory_bytes, received_bytes, sent_bytes)
            join instance i on i.id = r.id and i.node_id = $1
         ), changed as (
            select r.id from reported r join instance_status s on s.instance_id = r.id
            where s.state <= r.state and
                (s.state, s.ready, s.restarts, s.address, s.image_digest, s.exit_code, s.problem_code)
                is distinct from
                (r.state, r.ready, r.restarts, r.address, r.image_digest, r.exit_code, r.problem_code)
         ), routed as (
            insert into route_refresh (service_id, organization_id)
            select distinct i.service_id, i.organization_id from changed c join instance i on i.id = c.id
            where i.purpose = 'serve' order by 1
            on conflict (service_id) do update set requested_at = now()
         ), stored as (
            update instance_status s set state = r.state, ready = r.ready, restarts = r.restarts,
                address = r.address, image_digest = r.image_digest, exit_code = r.exit_code,
                problem_code = r.problem_code, problem_message = r.problem_message,
                cpu_millis = r.cpu_millis, memory_bytes = r.memory_bytes,
                received_bytes = r.received_bytes, sent_bytes = r.sent_bytes, reported_at = now()
            from reported r where s.instance_id = r.id and s.state <= r.state
         ), seen as (
            update instance_status s set reported_at = now()
            from reported r where s.instance_id = r.id and s.state > r.state
         )
         select count(*) from changed",
    )
    .bind(node.uuid())
    .bind(rows.ids)
    .bind(rows.states)
    .bind(rows.ready)
    .bind(rows.restarts)
    .bind(rows.addresses)
    .bind(rows.digests)
    .bind(rows.exit_codes)
    .bind(rows.problem_codes)
    .bind(rows.problem_messages)
    .bind(rows.cpu)
    .bind(rows.memory)
    .bind(rows.received)
    .bind(rows.sent)
    .fetch_one(tx.executor())
    .await?;
    Ok(changed > 0)
}
