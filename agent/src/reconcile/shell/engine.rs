//! Asking the engine, without ever waiting for it: a hung engine must not keep probe verdicts from
//! edges.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use tokio_util::task::AbortOnDropHandle;

use super::observed::Engine;
use crate::runtime::{Container, Error, Runtime};

const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// After its events broke off.
const RECONNECT: Duration = Duration::from_secs(1);

/// What the engine was asked and told.
pub(super) struct Questions {
    runtime: Arc<dyn Runtime>,
    changes: BoxStream<'static, Result<(), Error>>,
    look: Option<AbortOnDropHandle<Result<Vec<Container>, Error>>>,
    look_again: bool,
    /// Its events broke off since it was asked.
    broken: bool,
    /// It has answered at least once.
    pub(super) seen: bool,
    /// It did not answer last time.
    pub(super) lost: bool,
}

pub(super) enum News {
    /// Something has changed; nobody knows yet what.
    Change,
    /// Its events broke off: it may have ended, and may have begun anew by now.
    Broken,
    /// What there is.
    Containers {
        containers: Vec<Container>,
        /// They may be those of the engine before.
        may_be_old: bool,
    },
    /// No answer; the last one stands.
    Lost,
}

impl Questions {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Self {
            changes: runtime.changes(),
            runtime,
            look: None,
            look_again: false,
            broken: false,
            seen: false,
            lost: false,
        }
    }

    pub(super) fn state(&self) -> Engine {
        match (self.lost, self.seen) {
            (true, _) => Engine::Away,
            (false, true) => Engine::Answers,
            (false, false) => Engine::Unasked,
        }
    }

    /// Asks what there is, after the question under way if there is one.
    pub(super) fn look(&mut self) {
        if self.look.is_some() {
            self.look_again = true;
        } else {
            self.ask();
        }
    }

    /// Asks anew: an answer under way may be older than what was just done.
    pub(super) fn look_afresh(&mut self) {
        self.ask();
    }

    fn ask(&mut self) {
        let runtime = Arc::clone(&self.runtime);
        let question = async move {
            let answer = tokio::time::timeout(ANSWER_WITHIN, runtime.list()).await;
            answer.unwrap_or_else(|_| {
                Err(Error::Engine {
                    tried: "list containers",
                    reason: format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
                })
            })
        };
        (self.look_again, self.broken) = (false, false);
        self.look = Some(AbortOnDropHandle::new(tokio::spawn(question)));
    }

    /// Cancel safe.
    pub(super) async fn news(&mut self) -> News {
        let answer = async {
            match &mut self.look {
                Some(look) => look.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = self.changes.next() => self.take_change(change),
            answer = answer => {
                let answer = answer.unwrap_or_else(|broken| Err(Error::Engine {
                    tried: "list containers",
                    reason: broken.to_string(),
                }));
                self.take_answer(answer)
            }
        }
    }

    fn take_change(&mut self, change: Option<Result<(), Error>>) -> News {
        if let Some(Ok(())) = change {
            return News::Change;
        }
        self.changes = changes_later(Arc::clone(&self.runtime));
        self.broken = true;
        News::Broken
    }

    fn take_answer(&mut self, answer: Result<Vec<Container>, Error>) -> News {
        let may_be_old = self.broken;
        self.look = None;
        if self.look_again {
            self.ask();
        }
        let was_lost = std::mem::replace(&mut self.lost, answer.is_err());
        match answer {
            Ok(containers) => {
                self.seen = true;
                if was_lost {
                    tracing::info!("the container engine answers again");
                }
                News::Containers {
                    containers,
                    may_be_old,
                }
            }
            Err(error) => {
                if !was_lost {
                    tracing::warn!(%error, "the container engine does not answer; containers are left as they are");
                }
                News::Lost
            }
        }
    }
}

fn changes_later(runtime: Arc<dyn Runtime>) -> BoxStream<'static, Result<(), Error>> {
    futures::stream::once(tokio::time::sleep(RECONNECT))
        .flat_map(move |()| runtime.changes())
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::fake::Fake;

    #[tokio::test]
    async fn what_was_asked_before_the_events_broke_off_may_be_old() {
        let fake = Arc::new(Fake::default());
        let runtime: Arc<dyn Runtime> = fake.clone();
        let mut questions = Questions::new(runtime);
        let is_old = |news| match news {
            News::Containers { may_be_old, .. } => Some(may_be_old),
            _ => None,
        };
        questions.look();
        fake.cut_events();
        assert!(matches!(questions.news().await, News::Broken));
        questions.look();
        assert_eq!(is_old(questions.news().await), Some(true));
        assert_eq!(is_old(questions.news().await), Some(false));
    }
}
