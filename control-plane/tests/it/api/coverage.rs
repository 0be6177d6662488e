//! Every route, generated from the OpenAPI document: who gets in, and what others learn.

use api::role::Role;

use super::{
    objects::{Objects, send, unknown},
    operations::{self, Access},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_every_route_but_the_public_ones_answers_401() {
    let world = World::new().await;
    for operation in operations::all() {
        let ids = operation.parameters().into_iter();
        let path = ids.fold(operation.path.clone(), |path, name| {
            path.replace(&format!("{{{name}}}"), &unknown(name))
        });
        let answer = send(&world, &operation, &path, None, &world.acme).await;
        if operation.access() == Access::Public {
            assert_ne!(answer.code(), "unauthenticated", "{}", operation.id);
        } else {
            assert_eq!(answer.status, 401, "{}: {}", operation.id, answer.body);
            assert_eq!(answer.code(), "unauthenticated", "{}", operation.id);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_ids_answer_404_on_every_route_and_are_written_down() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    let mallory = &world.mallory.owner;
    for operation in operations::all() {
        let tenants =
            matches!(operation.access(), Access::Member(_)) || operation.id == "api_token.delete";
        if !tenants {
            continue;
        }
        let path = objects.fill(&operation.path);
        let answer = send(&world, &operation, &path, Some(mallory), &world.acme).await;
        assert_eq!(answer.status, 404, "{}: {}", operation.id, answer.body);
        assert_eq!(answer.code(), "not_found", "{}", operation.id);
        world.server.state.recorder.flush(true).await.unwrap();
        let (denied, organization): (i64, Option<uuid::Uuid>) = sqlx::query_as(
            "select sum(occurrences), (array_agg(organization_id))[1] from audit_event
             where action = $1 and outcome = 'denied' and error_code = 'not_found'",
        )
        .bind(&operation.id)
        .fetch_one(world.pool())
        .await
        .unwrap();
        assert_eq!(denied, 1, "{}", operation.id);
        assert_eq!(
            organization,
            Some(world.mallory.id.uuid()),
            "{}",
            operation.id
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_id_and_one_that_nobody_has_look_alike() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    let mallory = &world.mallory.owner;
    for operation in operations::all() {
        if !matches!(operation.access(), Access::Member(_)) || operation.id == "api_token.create" {
            continue;
        }
        let foreign = objects.fill(&operation.path);
        let ids = operation.parameters().into_iter();
        let nobodys = ids.fold(operation.path.clone(), |path, name| {
            path.replace(&format!("{{{name}}}"), &unknown(name))
        });
        let foreign = send(&world, &operation, &foreign, Some(mallory), &world.acme).await;
        let nobodys = send(&world, &operation, &nobodys, Some(mallory), &world.acme).await;
        assert_eq!(foreign.status, nobodys.status, "{}", operation.id);
        assert_eq!(foreign.code(), nobodys.code(), "{}", operation.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_below_the_one_of_the_row_is_refused() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    for operation in operations::all() {
        let Access::Member(least) = operation.access() else {
            continue;
        };
        for role in [Role::Viewer, Role::Developer, Role::Admin] {
            if role <= least {
                continue;
            }
            let path = objects.fill(&operation.path);
            let person = world.acme.person(role);
            let answer = send(&world, &operation, &path, Some(person), &world.acme).await;
            let what = format!("{} as {role}: {}", operation.id, answer.body);
            assert_eq!(answer.status, 403, "{what}");
            assert_eq!(answer.code(), "forbidden", "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_the_row_suffices() {
    let world = World::new().await;
    for operation in operations::all() {
        let Access::Member(least) = operation.access() else {
            continue;
        };
        // An endless answer is read in events.rs; an organization with projects stays (updates.rs).
        if operation.endless || operation.id == "organization.delete" {
            continue;
        }
        let tag = operation.id.replace(['.', '_'], "-");
        let objects = Objects::make(&world, &world.acme, &tag).await;
        let path = objects.fill(&operation.path);
        let person = world.acme.person(least);
        let answer = send(&world, &operation, &path, Some(person), &world.acme).await;
        let what = format!("{} as {least}: {}", operation.id, answer.body);
        assert!(answer.status.is_success(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_is_for_its_operators() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    for operation in operations::all() {
        if operation.access() != Access::Operator {
            continue;
        }
        let path = objects.fill(&operation.path);
        let owner = Some(&world.acme.owner);
        let answer = send(&world, &operation, &path, owner, &world.acme).await;
        assert_eq!(answer.status, 403, "{}: {}", operation.id, answer.body);
        let operator = Some(&world.operator);
        let answer = send(&world, &operation, &path, operator, &world.acme).await;
        assert!(
            answer.status.as_u16() < 400,
            "{}: {}",
            operation.id,
            answer.body
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_nobody_in_a_tenants_organization() {
    let world = World::new().await;
    let objects = Objects::make(&world, &world.acme, "shop").await;
    for operation in operations::all() {
        if matches!(operation.access(), Access::Member(_)) {
            let path = objects.fill(&operation.path);
            let operator = Some(&world.operator);
            let answer = send(&world, &operation, &path, operator, &world.acme).await;
            assert_eq!(answer.status, 404, "{}: {}", operation.id, answer.body);
        }
    }
}
