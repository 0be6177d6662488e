//! `init`: a new project with its environment `production`, and this folder linked to it.

use clap::Args;
use domain::name::Name;

use crate::{
    context::Context,
    error::{Error, Result},
    link, provide,
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Name of the project; the folder's name when left out
    name: Option<Name>,
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let here = context
        .link
        .as_ref()
        .filter(|found| found.folder == context.folder);
    if let Some(found) = here {
        return Err(Error::usage(
            format!(
                "this folder is linked to the project {} already",
                found.link.project.name
            ),
            "railhead unlink, if it shall become another one",
        ));
    }
    let name = match arguments.name {
        Some(name) => name,
        None => provide::folder_name(context)?,
    };
    let client = context.client()?;
    let (project, link) = provide::project(context, &client, name).await?;
    link::save(&context.folder, &link)?;
    context.output.show(&project, || {
        format!(
            "project {} in {}, linked to this folder",
            link.project.name, link.organization.name
        )
    })?;
    context.output.note("next: railhead up")
}
