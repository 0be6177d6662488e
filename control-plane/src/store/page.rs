//! Which part of a list to read. Lists are ordered by id (UUIDv7, so by time), and a cursor is the
//! last id that was given out.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use api::page::{LIMIT_DEFAULT, LIMIT_MAX, Page, PageQuery};

/// A query that can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one of ours.
    #[error("cursor: not a cursor of this API; take the next_cursor of the page before")]
    Cursor,
    /// Nothing, or too much.
    #[error("limit: must be between 1 and {LIMIT_MAX}")]
    Limit,
}

/// Which part of a list to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging {
    /// Only what comes after this id.
    pub(super) after: Option<Uuid>,
    limit: u32,
}

impl Paging {
    /// The beginning of a list.
    pub const FIRST: Self = Self {
        after: None,
        limit: LIMIT_DEFAULT,
    };

    /// Checks what a client asks for.
    ///
    /// # Errors
    /// When cursor or limit can't be.
    pub fn parse(query: &PageQuery) -> Result<Self, Error> {
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Error::Limit);
        }
        let after = query.cursor.as_deref().map(decode).transpose()?;
        Ok(Self { after, limit })
    }

    /// One row more than the page holds, to know whether another follows.
    pub(super) fn rows(self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Makes a page of what [`Self::rows`] rows were read into.
    pub(super) fn page<T>(self, mut items: Vec<T>, id: impl Fn(&T) -> Uuid) -> Page<T> {
        let full = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = items.len() > full;
        items.truncate(full);
        let next_cursor = items.last().filter(|_| more).map(|last| encode(id(last)));
        Page { items, next_cursor }
    }
}

fn encode(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

fn decode(cursor: &str) -> Result<Uuid, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Error::Cursor)?;
    Uuid::from_slice(&bytes).map_err(|_| Error::Cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(cursor: Option<&str>, limit: Option<u32>) -> PageQuery {
        PageQuery {
            cursor: cursor.map(str::to_owned),
            limit,
        }
    }

    #[test]
    fn the_next_cursor_continues_after_the_last_item() {
        let ids = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
        let paging = Paging::parse(&query(None, Some(2))).unwrap();
        let page = paging.page(ids.to_vec(), |id| *id);
        assert_eq!(page.items, ids[..2]);
        let next = Paging::parse(&query(page.next_cursor.as_deref(), Some(2))).unwrap();
        assert_eq!(next.after, Some(ids[1]));
        assert_eq!(next.page(vec![ids[2]], |id| *id).next_cursor, None);
    }

    #[test]
    fn what_can_not_be_is_refused() {
        assert_eq!(Paging::parse(&query(Some("'"), None)), Err(Error::Cursor));
        assert_eq!(
            Paging::parse(&query(Some("AAAA"), None)),
            Err(Error::Cursor)
        );
        for limit in [0, LIMIT_MAX + 1] {
            assert_eq!(Paging::parse(&query(None, Some(limit))), Err(Error::Limit));
        }
    }
}
