//! `/v1/releases`: immutable pairs of image and configuration.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use domain::{
    id::{ReleaseId, ServiceId},
    name::VariableName,
    spec::ServiceSpec,
};

/// A release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// The release.
    pub id: ReleaseId,
    /// The service it is a version of.
    pub service_id: ServiceId,
    /// 1, 2, 3 … per service.
    pub number: i64,
    /// `host/repository@sha256:…`.
    pub image: String,
    /// The specification, frozen.
    pub spec: ServiceSpec,
    /// Names of the variables it froze.
    pub variables: Vec<VariableName>,
    /// The commit, when it was built from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// The image that was asked for, when it was not built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_image: Option<SourceImage>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A git commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Commit {
    /// Full id.
    pub sha: String,
    /// First line of the message.
    pub title: String,
    /// Name of the author.
    pub author: String,
    /// The branch that it was the tip of; absent when a tag or a commit was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// A ready image as it was asked for, and what that was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceImage {
    /// `registry.example.com/acme/api:1.4`.
    pub reference: String,
    /// `sha256:…` of it in its own registry, when the release was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}
