//! Workloads on a real Docker Engine: from an item to a confined container, and on through crashes.

mod bad_input;
mod confinement;
mod image;
mod machine;
mod node;
mod outside;
mod poison;
mod process;
mod published;
mod starts;
mod survival;
