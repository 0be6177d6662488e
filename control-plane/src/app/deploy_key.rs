//! SSH keys that builds fetch private repositories with. The private half is sealed at once and goes
//! to build nodes only.

use api::{
    deploy_key::{CreateDeployKey, DeployKey},
    page::Page,
    problem::Code,
};
use chrono::Utc;
use domain::id::{DeployKeyId, ProjectId};
use serde_json::json;
use ssh_key::{
    LineEnding, PrivateKey,
    private::{Ed25519Keypair, KeypairData},
};
use zeroize::Zeroizing;

use crate::{
    secrets::Label,
    store::{self, event::NewEvent, page::Paging},
};

use super::{
    Action, Context, Error, OnConstraint as _, Resource, authorize,
    idempotency::{self, Begun},
};

/// The deploy keys of a project.
///
/// # Errors
/// When there is no such project for the actor.
pub async fn list(
    context: &Context,
    project: ProjectId,
    paging: Paging,
) -> Result<Page<DeployKey>, Error> {
    let grant = authorize(context, Action::DeployKeyList, Resource::Project(project)).await?;
    let mut tx = grant.read(context).await?;
    Ok(store::deploy_key::list(&mut tx, project, paging).await?)
}

/// Makes a deploy key. Builds use the newest one of a project.
///
/// # Errors
/// When not allowed, or the name is taken.
pub async fn create(
    context: &Context,
    project: ProjectId,
    request: CreateDeployKey,
) -> Result<DeployKey, Error> {
    let grant = authorize(context, Action::DeployKeyCreate, Resource::Project(project)).await?;
    let mut tx = match idempotency::begin(context, grant.mutate(context).await?).await? {
        Begun::Fresh(tx) => tx,
        Begun::Repeated(answer) => return Ok(answer),
    };
    let (public_key, private_key) = generate(&format!("railhead {}", request.name))
        .map_err(|e| Error::Internal(format!("can't make an SSH key: {e}")))?;
    let label = Label::deploy_key(grant.organization, project, &request.name);
    let sealed = context
        .state
        .secrets
        .seal(&label, private_key.as_bytes())
        .await?;
    let key = DeployKey {
        id: DeployKeyId::new(),
        project_id: project,
        name: request.name,
        public_key,
        created_at: Utc::now(),
    };
    store::deploy_key::insert(&mut tx, grant.organization, &key, &sealed)
        .await
        .on_constraint("deploy_key_name", || {
            Error::refused(
                Code::NameTaken,
                format!("the project has a deploy key called {} already", key.name),
            )
        })?;
    tx.event(NewEvent::new("deploy_key.created", key.id));
    let entry = context.did_with(grant.action, key.id, json!({ "name": key.name }));
    tx.commit(entry, key).await
}

/// Deletes a deploy key; builds that have begun finish with it.
///
/// # Errors
/// When not allowed.
pub async fn delete(context: &Context, id: DeployKeyId) -> Result<(), Error> {
    let resource = Resource::DeployKey(id);
    let grant = authorize(context, Action::DeployKeyDelete, resource).await?;
    let mut tx = grant.mutate(context).await?;
    store::deploy_key::delete(&mut tx, id).await?;
    tx.event(NewEvent::new("deploy_key.deleted", id));
    context.commit(tx, context.did(grant.action, id), &[]).await
}

/// Public and private half, as OpenSSH writes them.
fn generate(comment: &str) -> Result<(String, Zeroizing<String>), ssh_key::Error> {
    let seed = Zeroizing::new(rand::random::<[u8; 32]>());
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, comment)?;
    Ok((
        key.public_key().to_openssh()?,
        key.to_openssh(LineEnding::LF)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_pair_is_written_as_openssh_reads_it() {
        let (public, private) = generate("railhead ci").unwrap();
        assert!(public.starts_with("ssh-ed25519 ") && public.ends_with(" railhead ci"));
        let read = PrivateKey::from_openssh(private.as_bytes()).unwrap();
        assert_eq!(read.public_key().to_openssh().unwrap(), public);
    }
}
