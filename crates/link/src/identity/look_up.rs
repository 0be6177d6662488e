//! What a join token is good for, asked before anything is done with it.

use protocol::{
    join::{JoinTokenRequest, JoinTokenStatus},
    join_token::JoinToken,
};
use reqwest::Url;

use crate::{
    client::{Client, Error},
    tls,
};

/// Asks the control plane, whose certificate is checked against the CA hash in the token. Asked once: whoever
/// wants to wait asks again.
///
/// # Errors
/// When it can't be reached, is not the token's, or knows no such token.
pub async fn look_up(control_plane: &Url, token: &JoinToken) -> Result<JoinTokenStatus, Error> {
    let tls = tls::join_config(token.ca_sha256).map_err(|reason| Error::ForeignCertificate {
        url: control_plane.to_string(),
        reason,
    })?;
    let client = Client::new(control_plane.clone(), tls)?;
    let request = JoinTokenRequest {
        token: token.to_string(),
    };
    client.post("/node/v1/join-token", &request).await
}
