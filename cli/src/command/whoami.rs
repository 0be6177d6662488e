//! `whoami`: who one is, where, and what one may do there.

use ::api::session::{Me, Membership};

use crate::{
    address::Address,
    context::Context,
    error::Result,
    output::{Cell, Table},
};

pub async fn run(context: &Context) -> Result {
    let client = context.client()?;
    let me: Me = client.get("/v1/me").await?;
    let address = context.address()?;
    context.output.show(&me, || text(context, &address, &me))
}

fn text(context: &Context, address: &Address, me: &Me) -> String {
    let admin = if me.user.is_platform_admin {
        ", administrator of the platform"
    } else {
        ""
    };
    let head = format!("{} at {address}{admin}", me.user.email);
    if me.organizations.is_empty() {
        return format!("{head}\nmember of no organization");
    }
    let table = Table::of(&["ORGANIZATION", "ROLE", "ID"], &me.organizations, row);
    format!("{head}\n\n{}", context.output.render(table))
}

fn row(membership: &Membership) -> [Cell; 3] {
    [
        membership.organization.as_str().into(),
        membership.role.as_str().into(),
        Cell::dim(membership.organization_id.to_string()),
    ]
}
