//! Histories by the hundred, poisoned feeds by the thousand, and a proof that the checkers can see.

mod compare_and_set;
mod forgotten;
mod outage;
mod planted;
mod poison;
mod seeds;
