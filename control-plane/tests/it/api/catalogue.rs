//! What the database's own catalogue must say: no table with tenants' rows without row-level security,
//! no view that goes around it, no grant that is too much.

use domain::id::OrganizationId;
use sqlx::PgPool;

use super::world::World;
use crate::orchestration::platform::Platform;

#[tokio::test(flavor = "multi_thread")]
async fn every_table_with_tenants_rows_has_forced_row_level_security_a_policy_and_an_index() {
    let platform = Platform::new().await;
    let bad: Vec<(String, String)> = sqlx::query_as(
        "select c.relname::text,
             concat_ws(', ',
                 case when not c.relrowsecurity then 'row-level security is off' end,
                 case when not c.relforcerowsecurity then 'it is not forced' end,
                 case when not exists (select 1 from pg_policy p where p.polrelid = c.oid)
                      then 'no policy' end,
                 case when not exists (
                     select 1 from pg_index i
                     join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
                     where i.indrelid = c.oid and a.attname = 'organization_id')
                      then 'no index leads with organization_id' end) as faults
         from pg_class c
         where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
           and exists (select 1 from pg_attribute a
                       where a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped)",
    )
    .fetch_all(&platform.pool)
    .await
    .unwrap();
    assert!(bad.len() > 15, "the query finds too few tables: {bad:?}");
    let bad: Vec<_> = bad
        .into_iter()
        .filter(|(_, faults)| !faults.is_empty())
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_view_goes_around_row_level_security() {
    let platform = Platform::new().await;
    let bad: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relkind in ('v', 'm') and relnamespace = 'public'::regnamespace
           and not coalesce('security_invoker=true' = any(reloptions), false)",
    )
    .fetch_all(&platform.pool)
    .await
    .unwrap();
    assert!(bad.is_empty(), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_role_owns_nothing_and_passes_no_policy() {
    let platform = Platform::new().await;
    let (bypass, superuser, owned): (bool, bool, i64) = sqlx::query_as(
        "select r.rolbypassrls, r.rolsuper,
             (select count(*) from pg_class c where c.relowner = r.oid)
         from pg_roles r where r.rolname = 'railhead_app'",
    )
    .fetch_one(&platform.pool)
    .await
    .unwrap();
    assert_eq!((bypass, superuser, owned), (false, false, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_role_sees_one_organization_and_none_without_a_setting() {
    let world = World::new().await;
    let app = PgPool::connect(&world.platform.database.url_as("railhead_app"))
        .await
        .unwrap();
    let seen = async |organization: Option<OrganizationId>| -> Vec<uuid::Uuid> {
        let mut tx = app.begin().await.unwrap();
        if let Some(id) = organization {
            sqlx::query("select set_config('app.organization_id', $1, true)")
                .bind(id.uuid().to_string())
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        sqlx::query_scalar("select distinct organization_id from membership")
            .fetch_all(&mut *tx)
            .await
            .unwrap()
    };
    assert!(seen(None).await.is_empty());
    assert_eq!(seen(Some(world.acme.id)).await, [world.acme.id.uuid()]);
    assert!(
        seen(None).await.is_empty(),
        "the setting outlived its transaction"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_role_can_write_no_other_organizations_row() {
    let world = World::new().await;
    let app = PgPool::connect(&world.platform.database.url_as("railhead_app"))
        .await
        .unwrap();
    let mut tx = app.begin().await.unwrap();
    sqlx::query("select set_config('app.organization_id', $1, true)")
        .bind(world.acme.id.uuid().to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    let refused =
        sqlx::query("insert into project (id, organization_id, name) values ($1, $2, 'x')")
            .bind(uuid::Uuid::now_v7())
            .bind(world.mallory.id.uuid())
            .execute(&mut *tx)
            .await
            .unwrap_err();
    assert!(
        refused.to_string().contains("row-level security"),
        "{refused}"
    );
}
