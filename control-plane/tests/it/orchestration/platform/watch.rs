//! What is to be seen of deployments and services, and waiting for it.

use domain::id::{DeploymentId, ServiceId};
use testkit::wait::{until, until_some};

use super::{DEADLINE, Platform};

/// Instances of a service ($1) that have not gone.
pub const INSTANCES: &str = "select count(*) from instance where service_id = $1 and purpose = 'serve' and stopped_at is null";

impl Platform {
    pub async fn state_of(&self, deployment: DeploymentId) -> String {
        sqlx::query_scalar("select state from deployment where id = $1")
            .bind(deployment.uuid())
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Waits until the deployment is in this state, and fails when it ends in another.
    pub async fn reaches(&self, deployment: DeploymentId, state: &str) {
        let seen = until_some(DEADLINE, async || {
            let now = self.state_of(deployment).await;
            let over = ["live", "failed", "canceled", "superseded"].contains(&now.as_str());
            (now == state || over).then_some(now)
        })
        .await;
        assert_eq!(seen, state, "{:?}", self.problem_of(deployment).await);
    }

    pub async fn problem_of(&self, deployment: DeploymentId) -> Option<(String, String)> {
        let row: (Option<String>, Option<String>) =
            sqlx::query_as("select error_code, error_message from deployment where id = $1")
                .bind(deployment.uuid())
                .fetch_one(&self.pool)
                .await
                .unwrap();
        row.0.zip(row.1)
    }

    /// Waits until a count is this.
    pub async fn counts(&self, sql: &'static str, service: ServiceId, wanted: i64) {
        let mut last = -1;
        let reached = tokio::time::timeout(
            DEADLINE,
            until(DEADLINE * 2, async || {
                last = self.count(sql, service).await;
                last == wanted
            }),
        );
        let reached = reached.await.is_ok();
        assert!(reached, "{sql}: {last} instead of {wanted}");
    }

    pub async fn count(&self, sql: &'static str, service: ServiceId) -> i64 {
        sqlx::query_scalar(sql)
            .bind(service.uuid())
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }
}
