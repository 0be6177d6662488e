//! `unlink`: forgets what this folder belongs to; nothing changes on the platform.

use crate::{context::Context, error::Result, link};

pub fn run(context: &Context) -> Result {
    let Some(found) = &context.link else {
        return context.output.note("this folder is not linked");
    };
    link::remove(&found.folder)?;
    context.output.done(&format!(
        "{} is no longer linked to {}",
        found.folder.display(),
        found.link.project.name
    ))
}
