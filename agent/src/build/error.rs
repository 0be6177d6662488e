//! Why a build made no image. Each cause has a code that the API, the CLI and tests rely on.

use std::{path::PathBuf, time::Duration};

use domain::quantity::Bytes;
use protocol::report::{BUILD_CANCELED, Problem};

use super::lookup;

/// Why a build made no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no repository at {repo} (git: {said}). Check the address")]
    RepositoryNotFound { repo: String, said: String },
    #[error(
        "the repository {repo} is private or does not exist (git: {said}). Add a deploy key to the project and use the ssh address"
    )]
    RepositoryPrivate { repo: String, said: String },
    #[error(
        "the repository {repo} can't be reached from the build network (git: {said}). Check the address, and what the operator's firewall lets out"
    )]
    RepositoryUnreachable { repo: String, said: String },
    #[error(
        "the ssh server of {repo} shows another host key than before. If its owner changed the key, ask the operator to remove your organization's file from known_hosts in the build nodes' data_dir"
    )]
    HostKeyChanged { repo: String },
    #[error("the repository {repo} is refused: {reason}")]
    RepositoryRefused { repo: String, reason: String },
    #[error("the repository {repo} has no commits. Push one and deploy again")]
    RepositoryEmpty { repo: String },
    #[error(
        "the source is larger than {limit}. Remove what the build does not need, or ask the operator to raise build.max_source"
    )]
    RepositoryTooLarge { limit: Bytes },
    #[error(
        "the repository {repo} has no branch, tag or commit \"{reference}\". A commit is named by all its 40 digits"
    )]
    ReferenceNotFound { repo: String, reference: String },
    #[error("fetching {repo} failed (git: {said})")]
    FetchFailed { repo: String, said: String },
    #[error("submodule {path}: {error}")]
    Submodule { path: String, error: Box<Error> },
    #[error("the uploaded archive can't be used: {reason}. Upload it again")]
    ArchiveInvalid { reason: String },
    #[error("the uploaded archive could not be fetched from the control plane: {0}")]
    ArchiveFetch(link::client::Error),
    #[error("the source has no folder {root}. Check source.root")]
    RootNotFound { root: String },
    #[error("the source has no Dockerfile at {path}. Add one, or set build.dockerfile_path")]
    DockerfileNotFound { path: String },
    #[error("the Dockerfile failed: {what}")]
    DockerfileFailed { what: String },
    #[error(transparent)]
    Image(#[from] lookup::Error),
    #[error(
        "the image does not fit this platform's {wanted}: {found}. Choose an image and programs for {wanted}"
    )]
    WrongArchitecture { found: String, wanted: String },
    #[error(
        "the image was built, and the platform's registry could not take it as {image}: {said}. This is the platform's \
         own failure: deploy again, and tell the operator if it stays"
    )]
    PushFailed { image: String, said: String },
    #[error("the image was built, and may not be pushed to {image}: {said}. Tell the operator")]
    PushRefused { image: String, said: String },
    #[error(
        "the build was stopped after {} s. Make it faster or raise build.timeout", .after.as_secs()
    )]
    TimedOut { after: Duration },
    #[error("the build was canceled")]
    Canceled,
    #[error("the build was interrupted {times} times by a restart of the node's agent")]
    Interrupted { times: u32 },
    #[error("the value of build secret {name} has not reached the node. Deploy again")]
    SecretMissing { name: String },
    #[error("{limit} builds already wait on this node. Deploy again later")]
    QueueFull { limit: usize },
    #[error(
        "the platform's build engine failed: {0}. This is the platform's own failure: deploy again, and tell the \
         operator if it stays"
    )]
    Engine(String),
    #[error("the platform's build engine refused: {0}. Tell the operator")]
    EngineRefused(String),
    #[error("{doing} ended early: {source}. Deploy again, and tell the operator if it stays")]
    EndedEarly {
        doing: &'static str,
        source: tokio::task::JoinError,
    },
    #[error("the certificate of the platform's registry can't be used: {0}")]
    RegistryCertificate(reqwest::Error),
    #[error(
        "user {uid} can't pass through {}: choose another build.data_dir, or chmod o+x that folder", .folder.display()
    )]
    Unreachable { folder: PathBuf, uid: u32 },
    #[error("the node could not {doing} {path}: {source}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

impl Error {
    /// Stable, snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::RepositoryNotFound { .. } => "repository_not_found",
            Self::RepositoryPrivate { .. } => "repository_private",
            Self::RepositoryUnreachable { .. } => "repository_unreachable",
            Self::HostKeyChanged { .. } => "repository_host_key_changed",
            Self::RepositoryRefused { .. } => "repository_refused",
            Self::RepositoryEmpty { .. } => "repository_empty",
            Self::RepositoryTooLarge { .. } => "repository_too_large",
            Self::ReferenceNotFound { .. } => "reference_not_found",
            Self::FetchFailed { .. } => "fetch_failed",
            Self::Submodule { error, .. } => error.code(),
            Self::ArchiveInvalid { .. } => "archive_invalid",
            Self::ArchiveFetch(_) => "archive_unavailable",
            Self::RootNotFound { .. } => "root_not_found",
            Self::DockerfileNotFound { .. } => "dockerfile_not_found",
            Self::DockerfileFailed { .. } => "dockerfile_failed",
            Self::Image(error) => error.code(),
            Self::WrongArchitecture { .. } => "wrong_architecture",
            Self::PushFailed { .. } => "push_failed",
            Self::PushRefused { .. } => "push_refused",
            Self::TimedOut { .. } => "build_timed_out",
            Self::Canceled => BUILD_CANCELED,
            Self::Interrupted { .. } => "build_interrupted",
            Self::SecretMissing { .. } => "build_secret_missing",
            Self::QueueFull { .. } => "build_queue_full",
            Self::Engine(_) | Self::EngineRefused(_) => "build_engine_failed",
            Self::EndedEarly { .. }
            | Self::RegistryCertificate(_)
            | Self::Unreachable { .. }
            | Self::Io { .. } => "build_node_failed",
        }
    }

    /// Whether a part of the platform was away, so that the same step may succeed later without anybody doing
    /// anything. The user's own errors never pass.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Engine(_) | Self::PushFailed { .. } => true,
            Self::ArchiveFetch(error) => error.is_passing(),
            Self::Image(error) => error.is_passing(),
            _ => false,
        }
    }

    /// What went wrong with the submodule at `path`.
    pub fn of_submodule(self, path: &str) -> Self {
        match self {
            within @ Self::Submodule { .. } => within,
            error => Self::Submodule {
                path: path.to_owned(),
                error: Box::new(error),
            },
        }
    }

    /// For the report.
    pub fn problem(&self) -> Problem {
        Problem {
            code: self.code().to_owned(),
            message: self.to_string(),
        }
    }

    /// Wraps an I/O error with what was tried on what.
    pub fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}
