//! What every function of `app` knows about the request it serves.

use serde_json::Value;

use crate::{State, audit, identity::Actor, store::tx::Mutation, waker::Topic};

use super::{Action, Error, idempotency};

/// Who asks what, from where.
#[derive(Clone)]
pub struct Context {
    /// What all parts share.
    pub state: State,
    /// Who asks.
    pub actor: Actor,
    /// The same for the audit log, with address and request id.
    pub source: audit::Source,
    /// W3C trace context, carried on to nodes.
    pub traceparent: Option<String>,
    /// Makes a create repeatable.
    pub idempotency: Option<idempotency::Key>,
}

impl Context {
    /// The audit event of something that is about to be done.
    pub fn did(&self, action: Action, resource: impl ToString) -> audit::Entry {
        audit::Entry::success(self.source.clone(), action.as_str(), resource)
    }

    /// The same with more about it; never a secret.
    pub fn did_with(&self, action: Action, resource: impl ToString, detail: Value) -> audit::Entry {
        self.did(action, resource).with_detail(detail)
    }

    /// Keeps a change with its audit event, then wakes those who wait for it.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn commit(
        &self,
        tx: Mutation,
        entry: audit::Entry,
        topics: &[Topic],
    ) -> Result<(), Error> {
        tx.commit(entry).await?;
        failpoint::reach("mutation-committed");
        for topic in topics.iter().chain(&[Topic::Events]) {
            self.state.waker.wake(*topic);
        }
        Ok(())
    }
}
