//! Reads typed values out of rows, with an error that names the column.

use std::{fmt::Display, str::FromStr};

use serde::de::DeserializeOwned;
use sqlx::{Decode, Row, Type, postgres::PgRow};
use uuid::Uuid;

use super::Error;

/// Typed columns of a row.
pub(super) trait Columns {
    /// A plain value.
    fn value<'r, T>(&'r self, column: &str) -> Result<T, Error>
    where
        T: Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>;

    /// A typed id.
    fn id<T: From<Uuid>>(&self, column: &str) -> Result<T, Error> {
        Ok(T::from(self.value::<Uuid>(column)?))
    }

    /// A typed id that may be absent.
    fn id_opt<T: From<Uuid>>(&self, column: &str) -> Result<Option<T>, Error> {
        Ok(self.value::<Option<Uuid>>(column)?.map(T::from))
    }

    /// A text with a meaning, such as a name.
    fn parsed<T>(&self, column: &'static str) -> Result<T, Error>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text: &str = self.value(column)?;
        text.parse().map_err(|e: T::Err| Error::corrupt(column, e))
    }

    /// A text that is one word of an enum.
    fn json_text<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        let text: String = self.value(column)?;
        serde_json::from_value(serde_json::Value::String(text))
            .map_err(|e| Error::corrupt(column, e))
    }

    /// A JSON document.
    fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, Error> {
        let value: serde_json::Value = self.value(column)?;
        serde_json::from_value(value).map_err(|e| Error::corrupt(column, e))
    }
}

impl Columns for PgRow {
    fn value<'r, T>(&'r self, column: &str) -> Result<T, Error>
    where
        T: Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
    {
        Ok(self.try_get(column)?)
    }
}
