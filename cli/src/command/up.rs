//! `up`: this folder as it is, committed or not, to live HTTPS. It packs what no ignore file leaves
//! out, sends it, and follows the build and the deployment to their end.

use std::path::{Path, PathBuf};

use ::api::{archive::Archive, client::Client, deployment::DeploymentSource, service::Service};
use bytes::Bytes;
use clap::Args;
use futures::{Stream, StreamExt};
use tokio_util::io::ReaderStream;

use super::redeploy;
use crate::{
    archive::{self, Packed},
    context::Context,
    error::{Error, Result},
    output::Moving,
    provide::{self, Settings},
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

pub async fn run(context: &Context, arguments: Arguments) -> Result {
    let folder = folder(&arguments.path)?;
    let client = context.client()?;
    let settings = Settings {
        source: &SourceSettings::default(),
        run: &arguments.run,
    };
    let service = provide::service(context, &client, &settings).await?;
    let packed = pack(context, &folder, &service).await?;
    let archive = send(context, &client, &service, &packed).await?;
    drop(packed);
    let source = DeploymentSource::Archive {
        archive_id: archive.id,
    };
    let id = service.id.to_string();
    redeploy::begin(context, &client, &id, Some(source), arguments.detach).await
}

fn folder(path: &Path) -> Result<PathBuf> {
    let folder = path
        .canonicalize()
        .map_err(|error| Error::file("find", path, &error))?;
    if !folder.is_dir() {
        return Err(Error::usage(
            format!("{} is not a folder", path.display()),
            "railhead up FOLDER",
        ));
    }
    let is_home =
        dirs::home_dir().and_then(|home| home.canonicalize().ok()) == Some(folder.clone());
    if folder.parent().is_none() || is_home {
        return Err(Error::usage(
            format!("{} is not an application's folder", folder.display()),
            "go to the application's folder, or name it: railhead up FOLDER",
        ));
    }
    Ok(folder)
}

async fn pack(context: &Context, folder: &Path, service: &Service) -> Result<Packed> {
    let line = Moving::spinner(context.output.moves);
    line.say("packing");
    let dockerfile = dockerfile_of(service);
    let owned = folder.to_owned();
    let work = move || {
        let contents = archive::list(&owned, &dockerfile)?;
        if !contents
            .entries
            .iter()
            .any(|path| path == Path::new(&dockerfile))
        {
            return Err(no_dockerfile(&owned, &dockerfile));
        }
        let packed = archive::pack(&owned, &contents)?;
        Ok((packed, contents.left_out))
    };
    let (packed, left_out) = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::file("pack", folder, &error))??;
    drop(line);
    for what in left_out {
        context
            .output
            .note(&format!("left out {}", context.output.foreign(&what)))?;
    }
    context.output.done(&format!(
        "packed {} files, {}",
        packed.files,
        indicatif::HumanBytes(packed.size_bytes)
    ))?;
    Ok(packed)
}

fn dockerfile_of(service: &Service) -> String {
    service
        .spec
        .build
        .dockerfile_path
        .trim_start_matches("./")
        .trim_start_matches('/')
        .to_owned()
}

fn no_dockerfile(folder: &Path, dockerfile: &str) -> Error {
    Error::usage(
        format!("there is no {dockerfile} in {}", folder.display()),
        "write one (it says how your program is built), name another with --dockerfile PATH, or deploy an image: railhead deploy --image IMAGE",
    )
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
