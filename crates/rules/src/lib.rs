//! Edge rules: what becomes of a request by them. The control plane compiles them when they are saved, an edge when they
//! come by its feed, and `railhead edge rules test` to explain a decision: all three by this crate, so that they agree.
//!
//! Conditions are CEL. The crate `cel` parses them; what they mean is checked here once, with types, so that an
//! evaluation can't fail, takes no memory but for texts that have to be put together, and ends
//! (docs/adr/0065-conditions-are-typed-once.md).

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

mod block_all;
mod decision;
mod expression;
mod limit_key;
mod path;
mod request;
mod rule;
mod template;

pub use block_all::would_block_everything;
pub use decision::{Admission, Decision, Limiter, Quota, Unlimited, Verdict};
pub use limit_key::LimitKey;
pub use request::{Place, Request};
pub use rule::{Fault, HeaderEdits, Rules, compile};
