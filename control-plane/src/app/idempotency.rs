//! A create that is sent twice under one `Idempotency-Key` takes effect once: the answer is kept in
//! the transaction of the effect and given again.

use serde::{Serialize, de::DeserializeOwned};

use api::problem::Code;

use crate::{
    audit,
    store::{
        self, event,
        idempotency::Kept,
        tx::{Access, Mutation, Write},
    },
    waker::{Topic, Waker},
};

use super::{Context, Error, OnConstraint as _};

/// What a client sent to make a create repeatable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The header's text.
    pub text: String,
    /// SHA-256 of method, path and body.
    pub request_hash: [u8; 32],
}

/// How a create begins.
#[expect(
    clippy::large_enum_variant,
    reason = "moved once, when a create begins"
)]
pub enum Begun<T> {
    /// It is new.
    Fresh(Creation),
    /// It was done before; this was the answer.
    Repeated(T),
}

/// A create in hand.
pub struct Creation {
    tx: Mutation,
    waker: Waker,
    topics: Vec<Topic>,
    /// Actor and key under which the answer is kept.
    keep: Option<(String, Key)>,
}

/// Begins a create, or finds its answer.
///
/// # Errors
/// When the key is in use, was used for another request, or stands for a secret that was shown.
pub async fn begin<T: DeserializeOwned>(
    context: &Context,
    mut tx: Mutation,
) -> Result<Begun<T>, Error> {
    let Some(key) = context.idempotency.clone() else {
        return Ok(Begun::Fresh(Creation::new(context, tx, None)));
    };
    let actor = context.actor.user.to_string();
    if !store::idempotency::try_lock(&mut tx, &actor, &key.text).await? {
        return Err(Error::refused(
            Code::IdempotencyKeyInUse,
            "a request with this Idempotency-Key is still at work; wait for it, then send it again",
        ));
    }
    match store::idempotency::find(&mut tx, &actor, &key.text).await? {
        None => Ok(Begun::Fresh(Creation::new(context, tx, Some((actor, key))))),
        Some(kept) if kept.request_hash != key.request_hash => Err(reused()),
        Some(Kept { answer: None, .. }) => Err(Error::refused(
            Code::Conflict,
            "this was made already, and its secret is shown only once; revoke it and make another \
             one under a new Idempotency-Key",
        )),
        Some(Kept {
            answer: Some(answer),
            ..
        }) => serde_json::from_slice(&answer)
            .map(Begun::Repeated)
            .map_err(|e| Error::Internal(format!("a kept answer can't be read: {e}"))),
    }
}

impl Creation {
    fn new(context: &Context, tx: Mutation, keep: Option<(String, Key)>) -> Self {
        Self {
            tx,
            waker: context.state.waker.clone(),
            topics: vec![Topic::Events],
            keep,
        }
    }

    /// Wakes those who wait for this, after the commit.
    pub fn wake(&mut self, topic: Topic) {
        self.topics.push(topic);
    }

    /// Adds a row to the organization's event stream.
    pub fn event(&mut self, event: event::NewEvent) {
        self.tx.event(event);
    }

    /// Keeps the effect, its audit event and its answer, or nothing.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn commit<T: Serialize>(self, entry: audit::Entry, answer: T) -> Result<T, Error> {
        let kept = serde_json::to_vec(&answer)
            .map_err(|e| Error::Internal(format!("an answer can't be kept: {e}")))?;
        self.keep_and_commit(entry, Some(kept)).await?;
        Ok(answer)
    }

    /// As [`Self::commit`], for an answer with a secret that is shown once: it is not kept.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn commit_secret<T>(self, entry: audit::Entry, answer: T) -> Result<T, Error> {
        self.keep_and_commit(entry, None).await?;
        Ok(answer)
    }

    async fn keep_and_commit(
        mut self,
        entry: audit::Entry,
        answer: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        if let Some((actor, key)) = self.keep.take() {
            let organization = self.tx.organization();
            let kept = Kept {
                request_hash: key.request_hash.to_vec(),
                answer,
            };
            store::idempotency::insert(&mut self.tx, organization, &actor, &key.text, &kept)
                .await
                .on_constraint("idempotency_key_pkey", reused)?;
        }
        self.tx.commit(entry).await?;
        for topic in self.topics {
            self.waker.wake(topic);
        }
        Ok(())
    }
}

impl Access for Creation {
    fn executor(&mut self) -> store::Connection<'_> {
        self.tx.executor()
    }
}

impl Write for Creation {}

fn reused() -> Error {
    Error::refused(
        Code::IdempotencyKeyReused,
        "this Idempotency-Key was used with another request; use a new key for a new request",
    )
}
