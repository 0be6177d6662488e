//! Log lines of builds and instances.

use api::{
    log::{BuildLogQuery, LogQuery, LogRecord},
    problem::Code,
};
use domain::id::{DeploymentId, ServiceId};

use crate::{
    logs::{self, Cursor, Kind, Query},
    slots::Slot,
    store,
};

use super::{Action, Context, Error, Resource, authorize};

/// When nothing else is asked for.
const LINES_DEFAULT: u32 = 100;
/// At most.
const LINES_MAX: u32 = 10_000;
/// A filter is at most so long.
const FILTER_MAX: usize = 500;

/// What is read, and where to go on.
pub struct Stream {
    query: Query,
    cursor: Cursor,
    /// A build's log ends with the build.
    build: Option<DeploymentId>,
    action: Action,
    resource: Resource,
    _slot: Slot,
}

/// The newest lines of a service's instances.
///
/// # Errors
/// When there is no such service for the actor, or the query can't be.
pub async fn of_service(
    context: &Context,
    service: ServiceId,
    query: LogQuery,
) -> Result<(Vec<LogRecord>, Stream), Error> {
    let resource = Resource::Service(service);
    let grant = authorize(context, Action::ServiceLogs, resource).await?;
    let limit = query.limit.unwrap_or(LINES_DEFAULT);
    if !(1..=LINES_MAX).contains(&limit) {
        return Err(malformed(format!(
            "limit must be between 1 and {LINES_MAX}"
        )));
    }
    if query.filter.as_ref().is_some_and(|f| f.len() > FILTER_MAX) {
        return Err(malformed(format!(
            "filter has at most {FILTER_MAX} characters"
        )));
    }
    let query = Query {
        organization: grant.organization,
        service,
        deployment: query.deployment_id,
        kind: Kind::Instance,
        since: query.since,
        until: query.until,
        filter: query.filter,
        limit,
    };
    begin(context, query, None, Action::ServiceLogs, resource).await
}

/// The log of a deployment's build.
///
/// # Errors
/// When there is no such deployment for the actor.
pub async fn of_build(
    context: &Context,
    id: DeploymentId,
    query: &BuildLogQuery,
) -> Result<(Vec<LogRecord>, Stream), Error> {
    let resource = Resource::Deployment(id);
    let grant = authorize(context, Action::DeploymentLogs, resource).await?;
    let found = store::deployment_api::find(&mut grant.read(context).await?, id).await?;
    let deployment = found.ok_or_else(|| Error::not_found("deployment", id))?;
    let lines = Query {
        organization: grant.organization,
        service: deployment.service_id,
        deployment: Some(id),
        kind: Kind::Build,
        since: None,
        until: None,
        filter: None,
        limit: LINES_MAX,
    };
    let build = query.follow.then_some(id);
    begin(context, lines, build, Action::DeploymentLogs, resource).await
}

async fn begin(
    context: &Context,
    query: Query,
    build: Option<DeploymentId>,
    action: Action,
    resource: Resource,
) -> Result<(Vec<LogRecord>, Stream), Error> {
    let slot = context.state.streams.take(context.actor.user.uuid())?;
    let page = context.state.logs.read(&query).await?;
    let stream = Stream {
        query,
        cursor: page.cursor,
        build,
        action,
        resource,
        _slot: slot,
    };
    Ok((page.records, stream))
}

impl Stream {
    /// What was written since; none when nothing will follow. The actor's token and access are
    /// checked again each time.
    ///
    /// # Errors
    /// When access has ended, or the log store can't be reached.
    pub async fn next(&mut self, context: &Context) -> Result<Option<Vec<LogRecord>>, Error> {
        context.state.sessions.recheck(&context.actor).await?;
        let grant = authorize(context, self.action, self.resource).await?;
        let ended = match self.build {
            None => false,
            Some(id) => {
                let mut tx = grant.read(context).await?;
                let found = store::deployment_api::find(&mut tx, id).await?;
                found.is_none_or(|deployment| {
                    deployment.state > api::deployment::DeploymentState::Building
                })
            }
        };
        let page = context.state.logs.follow(&self.query, self.cursor).await?;
        self.cursor = page.cursor;
        Ok(Some(page.records).filter(|records| !(ended && records.is_empty())))
    }
}

impl From<logs::Error> for Error {
    fn from(error: logs::Error) -> Self {
        Self::Unavailable(format!("the log store can't be read: {error}"))
    }
}

fn malformed(detail: String) -> Error {
    Error::refused(Code::MalformedQuery, detail)
}
