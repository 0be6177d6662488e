//! Finding one of a list by what the user typed: its name or its id.

use std::str::FromStr;

use crate::error::{Error, Result};

/// What can be found.
pub trait Resource {
    /// Such as `svc_…`.
    fn id(&self) -> String;
    /// As people call it.
    fn name(&self) -> String;
}

/// The one with this name or id.
pub fn by_name_or_id<T: Resource>(
    all: Vec<T>,
    kind: &'static str,
    wanted: &str,
    place: &str,
) -> Result<T> {
    let known = all.iter().map(Resource::name).collect();
    all.into_iter()
        .find(|item| item.name() == wanted || item.id() == wanted)
        .ok_or_else(|| Error::NotFound {
            kind,
            name: wanted.to_owned(),
            place: place.to_owned(),
            known,
        })
}

/// An id that the platform or the link gave us.
pub fn id<T: FromStr>(text: &str) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| {
        Error::usage(error.to_string(), "link the folder again: railhead link")
    })
}
