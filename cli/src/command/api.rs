//! `api`: any request to the API with the credentials, authority and trace of this command line.

use std::path::Path;

use clap::Args;
use http::Method;

use crate::{
    context::Context,
    error::{Error, Result},
    files,
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// GET, POST, PUT, PATCH or DELETE
    method: Method,
    /// Such as /v1/me; railhead api GET /v1/openapi.json lists all
    path: String,
    /// JSON to send: the text itself, @FILE, or - for standard input
    #[arg(short, long, value_name = "JSON")]
    data: Option<String>,
    /// Shows that nobody changed it since it was read, for PATCH
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let body = arguments.data.as_deref().map(body).transpose()?;
    let client = context.client()?;
    let answer = client
        .raw(
            arguments.method,
            &arguments.path,
            arguments.if_match.as_deref(),
            body,
        )
        .await?;
    // Indented where it is one JSON value; anything else (streams, text) as it came.
    match serde_json::from_slice::<serde_json::Value>(&answer) {
        Ok(value) => context.output.show(&value, || format!("{value:#}")),
        Err(_) => context.output.bytes(&answer),
    }
}

fn body(data: &str) -> Result<Vec<u8>> {
    let text = match data.strip_prefix('@') {
        Some(file) => files::read(Path::new(file))?,
        None if data == "-" => std::io::read_to_string(std::io::stdin())
            .map_err(|error| Error::file("read", "standard input", &error))?,
        None => data.to_owned(),
    };
    serde_json::from_str::<serde_json::Value>(&text).map_err(|error| {
        Error::usage(
            format!("the data is not JSON: {error}"),
            "railhead api POST /v1/… -d '{\"name\":\"x\"}'",
        )
    })?;
    Ok(text.into_bytes())
}
