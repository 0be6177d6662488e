//! The intents that the API would write.

use control_plane::{
    audit,
    secrets::Label,
    store::{
        self, evaluation,
        tx::{Mutation, SystemTx},
    },
    waker::Topic,
    workflow::deletion,
};
use domain::{
    deployment::{Reason, Source},
    id::{DeploymentId, ProjectId, ReleaseId, ServiceId, VariableId},
    spec::ServiceSpec,
};
use sqlx::types::Json;

use super::{Platform, Replica};

impl Platform {
    /// A web service with its default hostname.
    pub async fn service(&self, name: &str, spec: &str) -> ServiceId {
        let id = ServiceId::new();
        let spec: ServiceSpec = serde_json::from_str(spec).unwrap();
        sqlx::query(
            "insert into service (id, organization_id, environment_id, name, spec) values ($1, $2, $3, $4, $5)",
        )
        .bind(id.uuid())
        .bind(self.organization.uuid())
        .bind(self.environment.uuid())
        .bind(name)
        .bind(Json(spec))
        .execute(&self.pool)
        .await
        .unwrap();
        sqlx::query(
            "insert into domain (id, organization_id, service_id, hostname, kind) values ($1, $2, $3, $4, 'default')",
        )
        .bind(domain::id::DomainId::new().uuid())
        .bind(self.organization.uuid())
        .bind(id.uuid())
        .bind(format!("{name}-shop.railhead.test"))
        .execute(&self.pool)
        .await
        .unwrap();
        id
    }

    pub async fn variable(&self, service: ServiceId, name: &str, value: &str) {
        let label = Label::variable(self.organization, service, name, 1);
        let sealed = self.sealer.seal(&label, value.as_bytes()).await.unwrap();
        sqlx::query(
            "insert into variable (id, organization_id, environment_id, service_id, name, ciphertext, wrapped_key)
             values ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(VariableId::new().uuid())
        .bind(self.organization.uuid())
        .bind(self.environment.uuid())
        .bind(service.uuid())
        .bind(name)
        .bind(sealed.ciphertext)
        .bind(sealed.wrapped_key)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Asks for a deployment from a git repository.
    pub async fn deploy(&self, replica: &Replica, service: ServiceId) -> DeploymentId {
        let source = Source::Git {
            repo: "https://git.example.com/acme/shop.git".into(),
            reference: None,
            root: "/".into(),
            deploy_key: None,
        };
        self.deployment(replica, service, source, Reason::Deploy)
            .await
    }

    pub async fn rollback(
        &self,
        replica: &Replica,
        service: ServiceId,
        release: ReleaseId,
    ) -> DeploymentId {
        let source = Source::Release { id: release };
        self.deployment(replica, service, source, Reason::Rollback)
            .await
    }

    pub async fn deployment(
        &self,
        replica: &Replica,
        service: ServiceId,
        source: Source,
        reason: Reason,
    ) -> DeploymentId {
        let id = DeploymentId::new();
        sqlx::query(
            "insert into deployment (id, organization_id, service_id, number, source, spec, reason, state)
             select $1, $2, $3, (select coalesce(max(number), 0) + 1 from deployment where service_id = $3),
                $4, spec, $5, 'queued' from service where id = $3",
        )
        .bind(id.uuid())
        .bind(self.organization.uuid())
        .bind(service.uuid())
        .bind(Json(source))
        .bind(reason.as_str())
        .execute(&self.pool)
        .await
        .unwrap();
        replica.state.waker.wake(Topic::Deployments);
        id
    }

    /// Changes the service's specification without a deployment.
    pub async fn respec(&self, replica: &Replica, service: ServiceId, spec: &str) {
        let spec: ServiceSpec = serde_json::from_str(spec).unwrap();
        sqlx::query("update service set spec = $2 where id = $1")
            .bind(service.uuid())
            .bind(Json(spec))
            .execute(&self.pool)
            .await
            .unwrap();
        let mut tx = SystemTx::begin(&replica.state.pools).await.unwrap();
        evaluation::request(&mut tx, self.organization, service, "scale")
            .await
            .unwrap();
        tx.commit().await.unwrap();
        replica.state.waker.wake(Topic::Evaluations);
    }

    /// Deletes the project with all in it, as the API does.
    pub async fn delete_project(&self) {
        self.delete(self.project).await;
    }

    /// Likewise another one.
    pub async fn delete(&self, project: ProjectId) {
        let mut tx = Mutation::tenant(&self.pools().await, self.organization)
            .await
            .unwrap();
        assert!(
            store::project::delete(&mut tx, project, None)
                .await
                .unwrap()
        );
        deletion::WORKFLOW
            .begin(&mut tx, Some(self.organization), &project, "shop")
            .await
            .unwrap();
        let source = audit::Source {
            actor: audit::ActorId::System,
            address: None,
            request_id: "test".into(),
        };
        let entry = audit::Entry::success(source, "project.delete", project);
        tx.commit(entry).await.unwrap();
    }
}
