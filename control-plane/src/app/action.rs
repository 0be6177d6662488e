//! Everything that can be asked of the platform, by the name that OpenAPI, policies and the audit
//! log use for it.

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// Something that can be asked of the platform.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[$doc])* $variant,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// `service.create`: the operation's id in OpenAPI, the action's in policies and audit log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The action with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|action| action.as_str() == name)
            }
        }
    };
}

actions! {
    /// Signs in.
    SessionCreate = "session.create";
    /// Signs out.
    SessionDelete = "session.delete";
    /// Who one is.
    MeGet = "me.get";
    /// Lists one's organizations.
    OrganizationList = "organization.list";
    /// Makes an organization.
    OrganizationCreate = "organization.create";
    /// Shows an organization.
    OrganizationGet = "organization.get";
    /// Renames an organization.
    OrganizationUpdate = "organization.update";
    /// Deletes an organization.
    OrganizationDelete = "organization.delete";
    /// Lists members.
    UserList = "user.list";
    /// Adds a member.
    UserCreate = "user.create";
    /// Changes a member's role.
    UserUpdate = "user.update";
    /// Removes a member.
    UserDelete = "user.delete";
    /// Hands out the role of an owner.
    RoleOwner = "role.owner";
    /// Hands out the role of an administrator.
    RoleAdmin = "role.admin";
    /// Hands out the role of a developer.
    RoleDeveloper = "role.developer";
    /// Hands out the role of a viewer.
    RoleViewer = "role.viewer";
    /// Lists projects.
    ProjectList = "project.list";
    /// Makes a project.
    ProjectCreate = "project.create";
    /// Shows a project.
    ProjectGet = "project.get";
    /// Renames a project.
    ProjectUpdate = "project.update";
    /// Deletes a project and all in it.
    ProjectDelete = "project.delete";
    /// Lists environments.
    EnvironmentList = "environment.list";
    /// Makes an environment.
    EnvironmentCreate = "environment.create";
    /// Shows an environment.
    EnvironmentGet = "environment.get";
    /// Renames an environment.
    EnvironmentUpdate = "environment.update";
    /// Deletes an environment and all in it.
    EnvironmentDelete = "environment.delete";
    /// Lists what is being deleted.
    DeletionList = "deletion.list";
    /// Lists deploy keys.
    DeployKeyList = "deploy_key.list";
    /// Makes a deploy key.
    DeployKeyCreate = "deploy_key.create";
    /// Deletes a deploy key.
    DeployKeyDelete = "deploy_key.delete";
    /// Lists services.
    ServiceList = "service.list";
    /// Makes a service.
    ServiceCreate = "service.create";
    /// Shows a service.
    ServiceGet = "service.get";
    /// Changes a service's specification.
    ServiceUpdate = "service.update";
    /// Deletes a service and all that runs of it.
    ServiceDelete = "service.delete";
    /// Changes how many instances run.
    ServiceScale = "service.scale";
    /// Stops a service until its next deployment.
    ServiceDown = "service.down";
    /// Reads variables, with values that aren't sealed.
    VariableList = "variable.list";
    /// Sets a variable.
    VariableSet = "variable.set";
    /// Deletes a variable.
    VariableDelete = "variable.delete";
    /// Reads an environment's shared variables, with values that aren't sealed.
    SharedVariableList = "shared_variable.list";
    /// Sets a shared variable.
    SharedVariableSet = "shared_variable.set";
    /// Deletes a shared variable.
    SharedVariableDelete = "shared_variable.delete";
    /// Uploads a working tree.
    ArchiveCreate = "archive.create";
    /// Lists deployments.
    DeploymentList = "deployment.list";
    /// Deploys.
    DeploymentCreate = "deployment.create";
    /// Shows a deployment.
    DeploymentGet = "deployment.get";
    /// Cancels a deployment.
    DeploymentCancel = "deployment.cancel";
    /// Reads a build's log.
    DeploymentLogs = "deployment.logs";
    /// Lists releases.
    ReleaseList = "release.list";
    /// Shows a release.
    ReleaseGet = "release.get";
    /// Lists instances.
    InstanceList = "instance.list";
    /// Reads a service's log.
    ServiceLogs = "service.logs";
    /// Lists hostnames.
    DomainList = "domain.list";
    /// Adds a hostname.
    DomainCreate = "domain.create";
    /// Removes a hostname.
    DomainDelete = "domain.delete";
    /// Serves a hostname with a certificate of one's own.
    DomainCertificateSet = "domain_certificate.set";
    /// Goes back to a certificate that comes by itself.
    DomainCertificateDelete = "domain_certificate.delete";
    /// Lists regions.
    RegionList = "region.list";
    /// Makes a region.
    RegionCreate = "region.create";
    /// Changes a region.
    RegionUpdate = "region.update";
    /// Lists nodes.
    NodeList = "node.list";
    /// Shows a node.
    NodeGet = "node.get";
    /// Cordons or drains a node.
    NodeUpdate = "node.update";
    /// Expels a node.
    NodeDelete = "node.delete";
    /// Declares a node dead.
    NodeFence = "node.fence";
    /// Lets go the drops that a node's brake holds.
    NodeOverride = "node.override";
    /// Lists instances that run without a plan.
    OrphanList = "orphan.list";
    /// Lets one go.
    OrphanDelete = "orphan.delete";
    /// Shows how the platform itself fares.
    PlatformStatus = "platform.status";
    /// Shows how far a change of the platform has come.
    RolloutGet = "rollout.get";
    /// Stops it.
    RolloutStop = "rollout.stop";
    /// Begins a stopped one again.
    RolloutResume = "rollout.resume";
    /// Lists join tokens.
    JoinTokenList = "join_token.list";
    /// Makes a join token.
    JoinTokenCreate = "join_token.create";
    /// Deletes a join token.
    JoinTokenDelete = "join_token.delete";
    /// Lists one's API tokens.
    ApiTokenList = "api_token.list";
    /// Makes an API token.
    ApiTokenCreate = "api_token.create";
    /// Revokes one's API token.
    ApiTokenDelete = "api_token.delete";
    /// Makes an API token that may run the platform.
    ApiTokenCreatePlatform = "api_token.create_platform";
    /// Gets a token for the image registry.
    RegistryToken = "registry.token";
    /// Follows what happens.
    EventStream = "event.stream";
    /// Reads the audit log.
    AuditEventList = "audit_event.list";
}
