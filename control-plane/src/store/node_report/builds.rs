//! Builds as their node sees them.

use std::collections::BTreeMap;

use domain::id::NodeId;
use protocol::{
    feed::{Commit, DropCause, FeedName},
    report::{BUILD_CANCELED, BuildReport, BuildResult, BuildState},
};

use super::{Error, signed};
use crate::{
    feed::build::item_id,
    store::{
        feed::{self, Change},
        tx::{Access as _, SystemTx},
    },
};

/// A build that was given to another node meanwhile is not touched, nor is one that has ended. What a node has ended as
/// canceled was canceled in a history that it has read; that need not be this one.
pub(super) async fn store(
    tx: &mut SystemTx,
    node: NodeId,
    builds: &[BuildReport],
) -> Result<bool, Error> {
    let mut changed = 0;
    for build in builds {
        let row = BuildRow::of(&build.state)?;
        let stored = sqlx::query(
            "update build set state = $3, problem_code = $4, problem_message = $5, digest = $6,
                size_bytes = $7, commit_sha = $8, commit_title = $9, commit_author = $10,
                commit_branch = $11, source_digest = $12,
                started_at = coalesce($13, started_at), finished_at = case when $14 then now() end
             where id = $1 and node_id = $2 and finished_at is null and (canceled or $4::text is distinct from $15)
               and (state, $14::boolean) is distinct from ($3, false)",
        )
        .bind(build.id.uuid())
        .bind(node.uuid())
        .bind(row.state)
        .bind(row.problem_code)
        .bind(row.problem_message)
        .bind(row.digest)
        .bind(row.size)
        .bind(row.commit_sha)
        .bind(row.commit_title)
        .bind(row.commit_author)
        .bind(row.commit_branch)
        .bind(row.source_digest)
        .bind(build.started_at)
        .bind(row.finished)
        .bind(BUILD_CANCELED)
        .execute(tx.executor())
        .await?;
        changed += stored.rows_affected();
    }
    Ok(changed > 0)
}

/// What the node makes although the document that it works by lacks it is of a history that this database has
/// lost, or is another node's by now: its word counts nowhere, and what is wanted waits behind it. Whether the
/// node has to be told.
pub(super) async fn let_go(
    tx: &mut SystemTx,
    node: NodeId,
    applied: &[Commit],
    builds: &[BuildReport],
) -> Result<bool, Error> {
    let feed = FeedName::Node(node);
    let Some(commit) = applied.iter().find(|commit| commit.feed == feed) else {
        return Ok(false);
    };
    if builds.is_empty() {
        return Ok(false);
    }
    let ids: Vec<String> = builds.iter().map(|build| item_id(build.id)).collect();
    let unknown: Vec<String> = sqlx::query_scalar(
        "select r.id from unnest($4::text[]) as r (id) join platform p on p.epoch = $2
         where not exists (select 1 from feed_item i where i.feed = $1 and i.id = r.id)
           and not exists (
            select 1 from feed_tombstone t where t.feed = $1 and t.id = r.id and t.generation > $3)",
    )
    .bind(feed.to_string())
    .bind(commit.epoch.0)
    .bind(commit.generation.0)
    .bind(ids)
    .fetch_all(tx.executor())
    .await?;
    if unknown.is_empty() {
        return Ok(false);
    }
    tracing::info!(%node, builds = ?unknown, "a node makes what its feed has not: it is let go");
    let cause = DropCause::Plan;
    let let_go = unknown.into_iter().map(|id| Change::LetGo { id, cause });
    feed::write(tx, BTreeMap::from([(feed, let_go.collect())])).await?;
    Ok(true)
}

#[derive(Default)]
struct BuildRow<'a> {
    state: &'static str,
    finished: bool,
    problem_code: Option<&'a str>,
    problem_message: Option<&'a str>,
    digest: Option<&'a str>,
    size: Option<i64>,
    commit_sha: Option<&'a str>,
    commit_title: Option<&'a str>,
    commit_author: Option<&'a str>,
    commit_branch: Option<&'a str>,
    source_digest: Option<&'a str>,
}

impl<'a> BuildRow<'a> {
    fn succeeded(result: &'a BuildResult) -> Result<Self, Error> {
        let commit = result.commit.as_ref();
        Ok(Self {
            state: "succeeded",
            finished: true,
            digest: Some(&result.digest),
            size: Some(signed(result.size.0)?),
            commit_sha: commit.map(|commit| commit.sha.as_str()),
            commit_title: commit.map(|commit| commit.title.as_str()),
            commit_author: commit.map(|commit| commit.author.as_str()),
            commit_branch: commit.and_then(|commit| commit.branch.as_deref()),
            source_digest: result.source_digest.as_deref(),
            ..Self::default()
        })
    }

    fn of(state: &'a BuildState) -> Result<Self, Error> {
        let at_work = |state| Self {
            state,
            ..Self::default()
        };
        Ok(match state {
            BuildState::Waiting => at_work("waiting"),
            BuildState::Fetching => at_work("fetching"),
            BuildState::Building => at_work("building"),
            BuildState::Pushing => at_work("pushing"),
            BuildState::Succeeded(result) => Self::succeeded(result)?,
            BuildState::Failed { problem } => Self {
                state: "failed",
                finished: true,
                problem_code: Some(&problem.code),
                problem_message: Some(&problem.message),
                ..Self::default()
            },
        })
    }
}
