//! What the agent asks of the control plane beside its feed and its reports. Any answer may be
//! missing for days; nothing here may keep a container from running.

use async_trait::async_trait;
use link::client::Client;
use protocol::{join::RegistryTokenRequest, log::LogBatch};

/// The control plane, as far as containers and their logs need it.
#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// A token that lets the engine pull from this repository of the platform's registry.
    async fn pull_token(&self, repository: &str) -> Result<String, Unavailable>;
    /// Hands over log lines.
    async fn ship_logs(&self, batch: &LogBatch) -> Result<(), ShipError>;
}

/// It did not answer, or not with what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the control plane gives no token for the registry: {0}")]
pub struct Unavailable(pub String);

/// Why log lines were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShipError {
    /// Try again.
    #[error("the log store does not answer: {0}")]
    Unavailable(String),
    /// The same lines will never be taken.
    #[error("the log store refuses the lines: {0}")]
    Refused(String),
}

#[async_trait]
impl ControlPlane for Client {
    async fn pull_token(&self, repository: &str) -> Result<String, Unavailable> {
        let request = RegistryTokenRequest {
            repository: repository.to_owned(),
            push: false,
            mount_from: Vec::new(),
        };
        let answer = self.registry_token(&request).await;
        answer
            .map(|token| token.token)
            .map_err(|error| Unavailable(error.to_string()))
    }

    async fn ship_logs(&self, batch: &LogBatch) -> Result<(), ShipError> {
        self.logs(std::slice::from_ref(batch))
            .await
            .map_err(|error| {
                if error.is_passing() {
                    ShipError::Unavailable(error.to_string())
                } else {
                    ShipError::Refused(error.to_string())
                }
            })
    }
}
