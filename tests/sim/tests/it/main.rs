//! Histories by the hundred, and a proof that the checker can see.

mod compare_and_set;
mod outage;
mod planted;
mod seeds;
