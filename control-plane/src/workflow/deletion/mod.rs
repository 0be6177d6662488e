//! Deletes a project, an environment or a service, so that nothing is left: nothing runs, no edge
//! routes, no node keeps a container, network or image, the registry no manifest, the database no row.
//! There is no way back: what was deleted is gone for its owner from the first moment.

mod steps;

use std::str::FromStr;

use domain::id::{EnvironmentId, ProjectId, ServiceId};
use uuid::Uuid;

use super::{Step, Workflow};

/// The steps, in their order.
pub static WORKFLOW: Workflow = Workflow {
    kind: "deletion",
    steps: &[
        Step {
            name: "stop_instances",
            run: |attempt| Box::pin(steps::stop_instances(attempt)),
            undo: None,
        },
        Step {
            name: "remove_routes",
            run: |attempt| Box::pin(steps::remove_routes(attempt)),
            undo: None,
        },
        Step {
            name: "clear_nodes",
            run: |attempt| Box::pin(steps::clear_nodes(attempt)),
            undo: None,
        },
        Step {
            name: "delete_images",
            run: |attempt| Box::pin(steps::delete_images(attempt)),
            undo: None,
        },
        Step {
            name: "delete_rows",
            run: |attempt| Box::pin(steps::delete_rows(attempt)),
            undo: None,
        },
    ],
};

/// What is deleted, with all in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Project(ProjectId),
    Environment(EnvironmentId),
    Service(ServiceId),
}

/// A text that names nothing that can be deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no project, environment or service")]
pub struct UnknownSubject(String);

impl Subject {
    /// The row's id.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        match self {
            Self::Project(id) => id.uuid(),
            Self::Environment(id) => id.uuid(),
            Self::Service(id) => id.uuid(),
        }
    }
}

impl FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(text: &str) -> Result<Self, UnknownSubject> {
        None.or_else(|| text.parse().map(Self::Project).ok())
            .or_else(|| text.parse().map(Self::Environment).ok())
            .or_else(|| text.parse().map(Self::Service).ok())
            .ok_or_else(|| UnknownSubject(text.chars().take(100).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_known_by_its_id() {
        let (project, service) = (ProjectId::new(), ServiceId::new());
        assert_eq!(project.to_string().parse(), Ok(Subject::Project(project)));
        assert_eq!(service.to_string().parse(), Ok(Subject::Service(service)));
        assert!(
            "dep_0192f3c8000070008000000000000001"
                .parse::<Subject>()
                .is_err()
        );
    }
}
