//! `up`: this folder as it is, committed or not, to live HTTPS. It packs what no ignore file leaves
//! out, sends it, and follows the build and the deployment to their end.

use std::path::{Path, PathBuf};

use ::api::{archive::Archive, client::Client, deployment::DeploymentSource, service::Service};
use bytes::Bytes;
use clap::Args;
use domain::spec::ServiceSpec;
use futures::{Stream, StreamExt};
use tokio_util::io::ReaderStream;

use super::redeploy;
use crate::{
    archive::{self, Packed},
    context::Context,
    error::{Error, Result},
    output::Moving,
    provide::Provider,
    spec::{RunSettings, SourceSettings},
};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder to send
    #[arg(default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    run: RunSettings,
    /// Do not wait for build and deployment
    #[arg(short, long)]
    detach: bool,
    /// Ask nothing (as with --yes) and move nothing on the screen
    #[arg(long)]
    ci: bool,
}

impl Arguments {
    /// The folder to send.
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// `--ci`.
    pub const fn is_unattended(&self) -> bool {
        self.ci
    }
}

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let folder = &context.folder;
    check_folder(folder)?;
    let client = context.client()?;
    let service = Provider {
        context,
        client: &client,
        source: &SourceSettings::default(),
        run: &arguments.run,
        check: &|spec| check_dockerfile(folder, spec),
    };
    let service = service.service().await?;
    let packed = pack(context, &service).await?;
    let archive = send(context, &client, &service, &packed).await?;
    drop(packed);
    let source = DeploymentSource::Archive {
        archive_id: archive.id,
    };
    let id = service.id.to_string();
    redeploy::begin(context, &client, &id, Some(source), arguments.detach).await
}

fn check_folder(folder: &Path) -> Result {
    if !folder.is_dir() {
        return Err(Error::usage(
            format!("{} is not a folder", folder.display()),
            "railhead up FOLDER",
        ));
    }
    let home = dirs::home_dir().and_then(|home| home.canonicalize().ok());
    if folder.parent().is_none() || home.as_deref() == Some(folder) {
        return Err(Error::usage(
            format!("{} is not an application's folder", folder.display()),
            "go to the application's folder, or name it: railhead up FOLDER",
        ));
    }
    Ok(())
}

fn check_dockerfile(folder: &Path, spec: &ServiceSpec) -> Result {
    let dockerfile = dockerfile_of(spec);
    if folder.join(&dockerfile).is_file() {
        return Ok(());
    }
    Err(Error::usage(
        format!("there is no {dockerfile} in {}", folder.display()),
        "write one (it says how your program is built), name another with --dockerfile PATH, or deploy an image: railhead deploy --image IMAGE",
    ))
}

fn dockerfile_of(spec: &ServiceSpec) -> String {
    let path = spec.build.dockerfile_path.trim_start_matches("./");
    path.trim_start_matches('/').to_owned()
}

async fn pack(context: &Context, service: &Service) -> Result<Packed> {
    let line = Moving::spinner(context.output.moves);
    line.say("packing");
    let dockerfile = dockerfile_of(&service.spec);
    let folder = context.folder.clone();
    let work = move || -> Result<_> {
        let contents = archive::list(&folder, &dockerfile)?;
        let packed = archive::pack(&folder, &contents)?;
        Ok((packed, contents.left_out))
    };
    let (packed, left_out) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::file("pack", &context.folder, &error))??;
    drop(line);
    for what in left_out {
        context
            .output
            .note(&format!("left out {}", context.output.foreign(&what)))?;
    }
    let files = if packed.files == 1 { "file" } else { "files" };
    context.output.done(&format!(
        "packed {} {files}, {}",
        packed.files,
        indicatif::HumanBytes(packed.size_bytes)
    ))?;
    Ok(packed)
}

async fn send(
    context: &Context,
    client: &Client,
    service: &Service,
    packed: &Packed,
) -> Result<Archive> {
    let line = std::sync::Arc::new(Moving::bytes(
        context.output.moves,
        packed.size_bytes,
        "sending",
    ));
    let path = format!("/v1/services/{}/archives", service.id);
    let open = || stream(packed, line.clone());
    let archive: Archive = client
        .upload(&path, "application/gzip", packed.size_bytes, open)
        .await?;
    drop(line);
    context.output.done(&format!("sent to {}", service.name))?;
    Ok(archive)
}

/// The archive from its beginning.
fn stream(
    packed: &Packed,
    line: std::sync::Arc<Moving>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    line.restart();
    let opened = packed.file.reopen().map(tokio::fs::File::from_std);
    futures::stream::once(async { opened })
        .map(|file| file.map(ReaderStream::new))
        .flat_map(|stream| match stream {
            Ok(stream) => stream.boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        })
        .inspect(move |chunk| {
            line.advance(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        })
}
