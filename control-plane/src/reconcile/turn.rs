//! A turn over many: what can't be brought on of one service keeps no other from its turn. The turn has failed all
//! the same, so that it is logged, counted and seen by `railhead admin doctor`.

use std::fmt::Display;

use super::Error;
use crate::store;

/// Some of a turn could not be brought on.
#[derive(Debug, thiserror::Error)]
#[error("{failed} could not be brought on, among them {subject}: {source}")]
pub struct Partly {
    failed: u32,
    subject: String,
    source: Box<Error>,
}

impl Partly {
    /// Whether all of it were others in the way.
    pub(super) fn is_retryable(&self) -> bool {
        self.source.is_retryable()
    }
}

/// What went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Turn(Option<Partly>);

impl Turn {
    /// What was done about one of them, if it could be.
    ///
    /// # Errors
    /// When the others would fare no better: the database is away.
    pub(super) fn note<T>(
        &mut self,
        subject: impl Display,
        done: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(error) if concerns_all(&error) => Err(error),
            Err(error) => {
                self.keep(&subject, error);
                Ok(None)
            }
        }
    }

    /// Something that helps nobody to try again weighs more than what does.
    fn keep(&mut self, subject: &impl Display, error: Error) {
        let failed = self.0.as_ref().map_or(0, |partly| partly.failed) + 1;
        match &mut self.0 {
            Some(partly) if !partly.is_retryable() || error.is_retryable() => {
                partly.failed = failed;
            }
            kept => {
                *kept = Some(Partly {
                    failed,
                    subject: subject.to_string(),
                    source: Box::new(error),
                });
            }
        }
    }

    /// The turn's end.
    ///
    /// # Errors
    /// When some could not be brought on.
    pub(super) fn end(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), |partly| Err(partly.into()))
    }
}

fn concerns_all(error: &Error) -> bool {
    match error {
        Error::Store(store::Error::Contention(_)) => false,
        Error::Store(error) => error.is_retryable(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreadable(what: &'static str) -> Error {
        store::Error::corrupt(what, "nonsense").into()
    }

    fn in_the_way() -> Error {
        store::Error::Contention(sqlx::Error::WorkerCrashed).into()
    }

    fn away() -> Error {
        store::Error::Unavailable(sqlx::Error::PoolTimedOut).into()
    }

    #[test]
    fn the_others_go_on_and_the_turn_tells_at_its_end() {
        let mut turn = Turn::default();
        assert!(
            turn.note("a", Err::<(), _>(in_the_way()))
                .unwrap()
                .is_none()
        );
        assert!(
            turn.note("b", Err::<(), _>(unreadable("name")))
                .unwrap()
                .is_none()
        );
        assert_eq!(turn.note("c", Ok(1)).unwrap(), Some(1));
        assert!(
            turn.note("d", Err::<(), _>(in_the_way()))
                .unwrap()
                .is_none()
        );
        let told = turn.end().unwrap_err();
        assert!(!told.is_retryable());
        insta::assert_snapshot!(
            told,
            @"3 could not be brought on, among them b: a stored name can't be read: nonsense"
        );
    }

    #[test]
    fn nobody_goes_on_without_a_database() {
        let mut turn = Turn::default();
        assert!(turn.note("a", Err::<(), _>(away())).is_err());
        assert!(turn.note("b", Err::<(), _>(in_the_way())).is_ok());
        assert!(turn.end().unwrap_err().is_retryable());
        assert!(Turn::default().end().is_ok());
    }
}
