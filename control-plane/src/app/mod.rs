//! What people and programs may ask of the platform, one file per resource, without HTTP. Each
//! function authorizes first, and a change commits together with its audit event.

pub mod access;
pub mod action;
pub mod api_token;
pub mod archive;
pub mod audit_event;
mod context;
pub mod deletion;
pub mod deploy_key;
pub mod deployment;
pub mod domain;
pub mod domain_certificate;
mod edge_rule;
pub mod environment;
mod error;
pub mod event;
pub mod idempotency;
pub mod instance;
pub mod join_token;
pub mod log;
pub mod node;
pub mod organization;
pub mod orphan;
pub mod platform;
pub mod policy;
pub mod project;
pub mod region;
pub mod registry;
pub mod release;
pub mod rollout;
pub mod service;
pub mod session;
pub mod user;
pub mod variable;
pub mod version;

pub use access::{Grant, PlatformGrant, Resource, authorize, authorize_platform};
pub use action::Action;
pub use context::Context;
pub use error::{Error, OnConstraint};
