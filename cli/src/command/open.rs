//! `open`: the service's address in the browser, or printed where there is none.

use std::process::{Command, Stdio};

use ::api::service::Service;
use clap::Args;

use crate::{
    context::Context,
    error::{Error, Result},
    target::Target,
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Print the address only
    #[arg(long)]
    print: bool,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let client = context.client()?;
    let chosen = Target::new(context, &client).service().await?;
    let service: Service = client.get(&format!("/v1/services/{}", chosen.id)).await?;
    // The default hostname: the tenant's own may not lead here yet.
    let Some(hostname) = service.hostnames.first() else {
        return Err(Error::usage(
            format!("{} has no hostname", service.name),
            "railhead domain add HOSTNAME",
        ));
    };
    let address = format!("https://{hostname}");
    context
        .output
        .show(&serde_json::json!({ "url": address }), || address.clone())?;
    if arguments.print || context.output.json || !has_browser() {
        return Ok(());
    }
    Command::new(opener())
        .arg(&address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
        .map_err(|error| Error::file("start", opener(), &error))
}

const fn opener() -> &'static str {
    if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    }
}

fn has_browser() -> bool {
    cfg!(target_os = "macos")
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some())
}
