//! What was deleted and is not wholly gone yet: said beside other things, as nobody asks for it.

use ::api::{client::Client, deletion::Deletion};
use chrono::{DateTime, Utc};

use crate::{context::Context, error::Result, output::age, target::Target};

/// Says of each deletion of the organization how far it is and what it waits for.
pub async fn mention_all(context: &Context, client: &Client, target: &Target<'_>) -> Result {
    let organization = target.organization().await?;
    let path = format!("/v1/organizations/{}/deletions", organization.id);
    let deletions: Vec<Deletion> = client.list(&path).await?;
    for deletion in &deletions {
        context.output.note(&text(deletion, Utc::now()))?;
    }
    Ok(())
}

fn text(deletion: &Deletion, now: DateTime<Utc>) -> String {
    let kind = match deletion.subject.split_once('_') {
        Some(("prj", _)) => "project",
        Some(("env", _)) => "environment",
        _ => "service",
    };
    let since = age(deletion.step_since, now);
    let mut text = format!(
        "{kind} {} is being deleted: {} for {since}",
        deletion.name,
        deletion.step.describe()
    );
    if let Some(why) = deletion.error.as_ref().or(deletion.waits_on.as_ref()) {
        text += &format!("; {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_says_what_it_waits_for() {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let deletion: Deletion = serde_json::from_value(serde_json::json!({
            "id": "wfl_0192f3c8000070008000000000000001",
            "subject": "prj_0192f3c8000070008000000000000002", "name": "shop",
            "step": "clear_nodes", "step_since": "2026-01-01T11:58:00Z",
            "waits_on": "node us-east-1 still runs 2 of web", "created_at": "2026-01-01T11:57:00Z",
        }))
        .unwrap();
        assert_eq!(
            text(&deletion, now),
            "project shop is being deleted: clearing nodes for 2 min; node us-east-1 still runs 2 of web"
        );
    }
}
