//! Instances as people see them.

use sqlx::postgres::PgRow;

use api::{
    instance::{Instance, InstanceProblem},
    page::Page,
};
use domain::{
    id::ServiceId,
    instance::{Desired, State},
    quantity::{Bytes, MilliCpu},
};

use super::{Error, page::Paging, query, row::Columns, tx::Access};

fn instance(row: &PgRow) -> Result<Instance, Error> {
    let state = row.value::<i16>("state")?;
    Ok(Instance {
        id: row.id("id")?,
        service_id: row.id("service_id")?,
        release_id: row.id("release_id")?,
        deployment_id: row.id("deployment_id")?,
        region: row.parsed("region")?,
        node_id: row.id("node_id")?,
        desired: match row.value("desired")? {
            "run" => Desired::Run,
            _ => Desired::Stop,
        },
        state: State::from_number(state).ok_or_else(|| Error::corrupt("instance state", state))?,
        ready: row.value("ready")?,
        unreachable: row.value("unreachable")?,
        restarts: u32::try_from(row.value::<i32>("restarts")?)
            .map_err(|e| Error::corrupt("restarts", e))?,
        image_digest: row.value("image_digest")?,
        exit_code: row.value("exit_code")?,
        problem: problem(row)?,
        cpu: MilliCpu(
            u32::try_from(row.value::<i64>("used_cpu_millis")?)
                .map_err(|e| Error::corrupt("cpu_millis", e))?,
        ),
        memory: Bytes(
            u64::try_from(row.value::<i64>("used_memory_bytes")?)
                .map_err(|e| Error::corrupt("memory_bytes", e))?,
        ),
        created_at: row.value("created_at")?,
        reported_at: row.value("reported_at")?,
    })
}

fn problem(row: &PgRow) -> Result<Option<InstanceProblem>, Error> {
    let code: Option<String> = row.value("problem_code")?;
    let message: Option<String> = row.value("problem_message")?;
    Ok(code.map(|code| InstanceProblem {
        code,
        message: message.unwrap_or_default(),
    }))
}

/// The instances of a service that have not ended, newest first, and those that ended less than an
/// hour ago.
///
/// # Errors
/// When the database can't be reached.
pub async fn list(
    tx: &mut impl Access,
    service: ServiceId,
    paging: Paging,
) -> Result<Page<Instance>, Error> {
    let query = sqlx::query(
        "select i.id, i.service_id, i.release_id, i.deployment_id, r.name as region, i.node_id,
             i.desired, coalesce(s.state, 10::smallint) as state, coalesce(s.ready, false) as ready,
             n.late_since is not null as unreachable, coalesce(s.restarts, 0) as restarts,
             s.image_digest, s.exit_code, s.problem_code, s.problem_message,
             coalesce(s.cpu_millis, 0) as used_cpu_millis,
             coalesce(s.memory_bytes, 0) as used_memory_bytes, i.created_at, s.reported_at
         from instance i join region r on r.id = i.region_id
         left join instance_status s on s.instance_id = i.id
         left join node_status n on n.node_id = i.node_id
         where i.service_id = $1 and ($2::uuid is null or i.id < $2)
           and (i.desired = 'run' or coalesce(s.state, 10) < 70
                or coalesce(s.reported_at, i.created_at) > now() - interval '1 hour')
         order by i.id desc limit $3",
    )
    .bind(service.uuid());
    query::page(tx, query, paging, instance, |i| i.id.uuid()).await
}
