//! `logout`: ends the session at the platform, and forgets it here even when the platform can't be
//! reached.

use ::api::{Code, client};

use crate::{context::Context, error::Result};

pub async fn run(context: &Context) -> Result {
    let address = context.address()?;
    let token = context
        .credentials
        .of(&address)
        .and_then(|entry| entry.token.clone());
    let Some(token) = token else {
        return context.output.note(&format!("not signed in to {address}"));
    };
    let client = context.client_with(&address, Some(token))?;
    let ended = client.delete("/v1/sessions/current").await;
    let mut credentials = context.credentials.clone();
    credentials.sign_out(&address);
    credentials.save()?;
    match ended {
        Err(error) if is_token_without_session(&error) => context.output.done(&format!(
            "forgot the API token for {address}; it stays good until it is revoked: railhead token revoke"
        )),
        Err(error) if error.status().map(|status| status.as_u16()) != Some(401) => {
            context.output.note(&format!(
                "forgotten here, but the platform could not be told ({error}): the token stays good until it expires"
            ))
        }
        _ => context.output.done(&format!("signed out of {address}")),
    }
}

/// What was kept is an API token (`login --with-token`): there is no session to end.
fn is_token_without_session(error: &client::Error) -> bool {
    matches!(error, client::Error::Refused { problem, .. } if problem.is(Code::Conflict))
}
