//! How the platform itself fares, for its operators.

mod diagnosis;

use api::platform::PlatformStatus;

use crate::store::{epoch, placement, platform_status};

use self::diagnosis::View;

use super::{Action, Context, Error, authorize_platform};

/// What is wrong, what to do, and what that was read from.
///
/// # Errors
/// When not allowed, or the database can't be reached.
pub async fn status(context: &Context) -> Result<PlatformStatus, Error> {
    let grant = authorize_platform(context, Action::PlatformStatus)?;
    let mut tx = grant.read(context).await?;
    let (at, epoch) = platform_status::now(&mut tx).await?;
    let regions = platform_status::regions(&mut tx).await?;
    let mut status = PlatformStatus {
        at,
        epoch,
        findings: Vec::new(),
        reconcilers: platform_status::reconcilers(&mut tx).await?,
        feeds: platform_status::feeds(&mut tx).await?,
        nodes: platform_status::nodes(&mut tx).await?,
        backlog: platform_status::backlog(&mut tx).await?,
        registry: platform_status::registry(&mut tx).await?,
    };
    status.findings = diagnosis::findings(&View {
        status: &status,
        regions: &regions,
        shown: epoch::shown(&mut tx).await?,
        agents: &placement::nodes(&mut tx).await?,
        lacks_redis: context.state.limits.lacks_redis(),
    });
    Ok(status)
}
