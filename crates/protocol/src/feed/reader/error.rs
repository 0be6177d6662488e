//! Why a change set was refused. Who follows the feed adds its name.

use domain::generation::Position;

use crate::feed::{FeedName, digest, signature};

/// Why a change set was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More than [`super::Limits::line_bytes`].
    #[error("a frame has {bytes} bytes, more than the {limit} allowed")]
    LineTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// No frame.
    #[error("a line is no frame: {0}")]
    NotAFrame(String),
    /// The item of a put can't be an item.
    #[error("the item {id} can't be taken: {source}")]
    Item {
        /// The item's id.
        id: String,
        /// Why.
        source: digest::Error,
    },
    /// Not begin … commit.
    #[error("a frame \"{frame}\" came {when}")]
    Order {
        /// Its kind.
        frame: &'static str,
        /// Before or after what it came.
        when: &'static str,
    },
    /// A difference was sent to a reader without a document.
    #[error("a difference was sent, but there is no document here that it could change")]
    NothingToChange,
    /// Older than the document.
    #[error("{offered} was offered, older than {applied} which is applied")]
    Older {
        /// The position that was sent.
        offered: Position,
        /// The position of the document.
        applied: Position,
    },
    /// The same position with another digest.
    #[error(
        "other content was offered for {position}, which is applied: its history was rewritten; \
         if the control plane's database was restored, run `control-plane admin restored` there"
    )]
    Rewritten {
        /// The position.
        position: Position,
    },
    /// More than [`super::Limits`] allow.
    #[error("the document or the change is larger than allowed: {what} above {limit}")]
    TooLarge {
        /// Items, frames or bytes.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The commit is another feed's.
    #[error("a commit of {0} was sent")]
    OtherFeed(FeedName),
    /// The commit's position is not that of its begin.
    #[error("{begun} was begun but {committed} committed")]
    OtherPosition {
        /// In the begin frame.
        begun: Position,
        /// In the commit frame.
        committed: Position,
    },
    /// The document would have another number of items.
    #[error("{position} should have {expected} items, but the frames lead to {found}")]
    Count {
        /// The position offered.
        position: Position,
        /// In the commit frame.
        expected: u64,
        /// By the frames.
        found: u64,
    },
    /// The document would have another digest.
    #[error("{position} should have digest {expected}, but the frames lead to {found}")]
    Digest {
        /// The position offered.
        position: Position,
        /// In the commit frame.
        expected: String,
        /// By the frames.
        found: String,
    },
    /// Signed by no known key.
    #[error(transparent)]
    Signature(#[from] signature::Error),
}

impl Error {
    /// Stable, snake_case: what operators search logs and alerts for.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "feed_line_too_long",
            Self::NotAFrame(_) => "feed_malformed",
            Self::Item { .. } => "feed_item_malformed",
            Self::Order { .. } => "feed_out_of_order",
            Self::NothingToChange => "feed_base_missing",
            Self::Older { .. } => "feed_older",
            Self::Rewritten { .. } => "feed_rewritten",
            Self::TooLarge { .. } => "feed_too_large",
            Self::OtherFeed(_) => "feed_foreign",
            Self::OtherPosition { .. } | Self::Count { .. } | Self::Digest { .. } => {
                "feed_inconsistent"
            }
            Self::Signature(_) => "feed_signature_invalid",
        }
    }
}
