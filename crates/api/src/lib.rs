//! The public API of the control plane: request and response types with one file per resource,
//! problem codes, and a typed client. What is here is a promise to users: `openapi.json` beside
//! `src` is generated from it and compared in a test.

pub mod api_token;
pub mod archive;
pub mod audit_event;
pub mod client;
pub mod deletion;
pub mod deploy_key;
pub mod deployment;
pub mod domain;
pub mod environment;
pub mod event;
pub mod instance;
pub mod join_token;
pub mod log;
pub mod node;
pub mod organization;
pub mod orphan;
pub mod page;
pub mod platform;
pub mod problem;
pub mod project;
pub mod region;
pub mod release;
pub mod role;
pub mod rollout;
pub mod service;
pub mod session;
pub mod user;
pub mod variable;
pub mod version;

pub use page::{Page, PageQuery};
pub use problem::{Code, Problem};
pub use role::Role;
