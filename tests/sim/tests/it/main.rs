//! Histories by the hundred, and a proof that the checker can see.

mod planted;
mod seeds;
