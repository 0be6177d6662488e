//! The three ways most statements of this module are run: for one row, for a page, for a change.

use sqlx::{
    Postgres,
    postgres::{PgArguments, PgRow},
};
use uuid::Uuid;

use api::page::Page;

use super::{
    Error,
    page::Paging,
    tx::{Access, Write},
};

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// The one row that there is, or none.
pub(super) async fn find<T>(
    tx: &mut impl Access,
    query: Query<'_>,
    read: impl Fn(&PgRow) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let row = query.fetch_optional(tx.executor()).await?;
    row.as_ref().map(read).transpose()
}

/// A page. The query lacks its last two parameters: the id to begin after, and how many rows.
pub(super) async fn page<T>(
    tx: &mut impl Access,
    query: Query<'_>,
    paging: Paging,
    read: impl Fn(&PgRow) -> Result<T, Error>,
    id: impl Fn(&T) -> Uuid,
) -> Result<Page<T>, Error> {
    let query = query.bind(paging.after).bind(paging.rows());
    let rows = query.fetch_all(tx.executor()).await?;
    let items = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(paging.page(items, id))
}

/// Whether there was a row to change.
pub(super) async fn changed(tx: &mut impl Write, query: Query<'_>) -> Result<bool, Error> {
    Ok(query.execute(tx.executor()).await?.rows_affected() > 0)
}
