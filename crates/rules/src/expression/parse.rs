//! From text to a syntax tree, by the crate `cel`. It recurses as deep as a text nests, and nobody promises that it never
//! panics: so it has a thread of its own with room for the deepest text that is allowed, and its end ends nothing else.

use std::thread;

use cel::{Env, IdedExpr, common::ast::SourceInfo};

use super::Invalid;

/// For 1024 bytes of nothing but nesting, also without optimisation.
const STACK_BYTES: usize = 32 << 20;

/// A syntax tree, and where its parts stand in the text.
pub(super) struct Parsed {
    pub(super) root: IdedExpr,
    source: SourceInfo,
}

impl Parsed {
    /// At which character (from 1) a part begins.
    pub(super) fn column(&self, part: &IdedExpr) -> Option<u32> {
        let (start, _) = self.source.offset_for(part.id)?;
        Some(start.saturating_add(1))
    }
}

/// Does work that needs a large stack, and may panic. None when it did, or when the system gives no thread.
pub(crate) fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let roomy = thread::Builder::new()
            .name("rules".to_owned())
            .stack_size(STACK_BYTES);
        roomy.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

/// Without macros: what they stand for (`exists`, `all`, `has`) stays a call, which is read where types are known.
pub(super) fn parse(text: &str) -> Result<Parsed, Invalid> {
    let parser = Env::default().with_optional_support(false).parser();
    let parsed = parser.parse_with_source_info(text);
    let (root, source) = parsed.map_err(|errors| {
        let first = errors.errors.first();
        let column = first.and_then(|error| u32::try_from(error.pos.1).ok());
        let reason = first.map_or("not an expression", |error| error.msg.as_str());
        Invalid::new(column.filter(|column| *column > 0), reason)
    })?;
    Ok(Parsed { root, source })
}
