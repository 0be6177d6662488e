//! The connection of a transaction, as statements get it. The server gives a statement up after its time
//! (`database.statement_timeout`); one that has no answer well after that will never have one: the server's machine is
//! gone and has not said so, and nothing else would ever end the waiting.

use std::{io, time::Duration};

use futures::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::time::timeout;

/// A connection with a limit to its silence.
#[derive(Debug)]
pub struct Connection<'c> {
    inner: &'c mut PgConnection,
    patience: Duration,
}

impl<'c> Connection<'c> {
    pub(super) fn new(inner: &'c mut PgConnection, patience: Duration) -> Self {
        Self { inner, patience }
    }

    /// For one statement of several.
    pub(super) fn again(&mut self) -> Connection<'_> {
        Connection {
            inner: self.inner,
            patience: self.patience,
        }
    }
}

/// What is said to the server, if it is answered in time.
pub(super) async fn answered<T>(
    patience: Duration,
    said: impl Future<Output = sqlx::Result<T>>,
) -> sqlx::Result<T> {
    timeout(patience, said)
        .await
        .unwrap_or_else(|_| Err(silent()))
}

fn silent() -> sqlx::Error {
    let reason = "the database has not answered for longer than any statement may take";
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason))
}

impl<'c> Executor<'c> for Connection<'c> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Answer>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let patience = self.patience;
        let answers = Some(self.inner.fetch_many(query));
        stream::unfold(answers, move |answers| next(answers, patience)).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(answered(self.patience, self.inner.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        let prepared = self.inner.prepare_with(sql, parameters);
        Box::pin(answered(self.patience, prepared))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'c: 'e,
    {
        Box::pin(answered(self.patience, self.inner.describe(sql)))
    }
}

type Answer = sqlx::Result<Either<PgQueryResult, PgRow>>;
type Answers<'e> = BoxStream<'e, Answer>;

/// The next answer, and what the others come from: nothing, once there was silence.
async fn next(
    answers: Option<Answers<'_>>,
    patience: Duration,
) -> Option<(Answer, Option<Answers<'_>>)> {
    let mut answers = answers?;
    match timeout(patience, answers.next()).await {
        Ok(answer) => Some((answer?, Some(answers))),
        Err(_) => Some((Err(silent()), None)),
    }
}
