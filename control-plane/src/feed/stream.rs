//! Changes of a feed as the lines that a node reads: begin, secrets, items, what left, and the signed
//! commit.

use protocol::feed::{FeedName, SecretFrame, signature::Signer, writer};

use crate::store::feed::Changes;

/// One change set, in the order in which it is sent.
pub fn lines(
    signer: &Signer,
    feed: &FeedName,
    changes: Changes,
    secrets: Vec<SecretFrame>,
) -> Result<Vec<String>, writer::Error> {
    let head = changes.head;
    let mut lines = vec![writer::begin(head.position, changes.full)?];
    for secret in secrets {
        lines.push(writer::secret(secret)?);
    }
    for (id, item) in &changes.items {
        lines.push(writer::put(id, item)?);
    }
    for (id, cause) in &changes.deleted {
        lines.push(writer::delete(id, Some(*cause))?);
    }
    let commit = signer.commit(feed.clone(), head.position, head.digest, head.count);
    lines.push(writer::commit(commit)?);
    Ok(lines)
}
