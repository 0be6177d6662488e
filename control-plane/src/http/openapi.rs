//! The OpenAPI document: what `routes!` collected, plus what all operations have in common.

use http::Method;
use utoipa::openapi::{
    ContentBuilder, HttpMethod, InfoBuilder, OpenApi, Ref, ResponseBuilder, SecurityRequirement,
    path::Operation,
    security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa::{PartialSchema as _, ToSchema as _};

use api::problem::{Code, FieldError, Problem};

/// Operations that need no token.
const PUBLIC: [&str; 4] = [
    "session.create",
    "version.get",
    "openapi.get",
    "registry.token",
];

/// Adds title, security and the problem answer of every operation.
pub fn complete(document: &mut OpenApi) {
    document.info = InfoBuilder::new()
        .title("Railhead")
        .version("v1")
        .description(Some(
            "From a git repository to live HTTPS in several regions. Errors are RFC 9457 problem \
             documents with a stable code; lists are pages with a cursor; updates need If-Match; \
             creates take Idempotency-Key.",
        ))
        .license(Some(utoipa::openapi::License::new("Apache-2.0")))
        .build();
    document.servers = None;
    let components = document.components.get_or_insert_default();
    let schemas = [
        ("Problem".to_owned(), Problem::schema()),
        ("FieldError".to_owned(), FieldError::schema()),
        (Code::name().into_owned(), Code::schema()),
    ];
    components.schemas.extend(schemas);
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    for item in document.paths.paths.values_mut() {
        for operation in [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ]
        .into_iter()
        .flatten()
        {
            complete_operation(operation);
        }
    }
}

fn complete_operation(operation: &mut Operation) {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let problem = ResponseBuilder::new()
        .description("Why it was not done.")
        .content("application/problem+json", content)
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), problem.into());
    let id = operation.operation_id.as_deref().unwrap_or_default();
    if !PUBLIC.contains(&id) {
        let bearer = SecurityRequirement::new("bearer", Vec::<String>::new());
        operation.security = Some(vec![bearer]);
    }
}

/// Method, path and operation id of every operation.
pub fn operations(document: &OpenApi) -> impl Iterator<Item = (Method, String, String)> + '_ {
    document.paths.paths.iter().flat_map(|(path, item)| {
        [
            (HttpMethod::Get, &item.get),
            (HttpMethod::Post, &item.post),
            (HttpMethod::Put, &item.put),
            (HttpMethod::Patch, &item.patch),
            (HttpMethod::Delete, &item.delete),
        ]
        .into_iter()
        .filter_map(|(method, operation)| {
            let id = operation.as_ref()?.operation_id.clone()?;
            Some((axum_method(&method), path.clone(), id))
        })
    })
}

fn axum_method(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
        _ => Method::GET,
    }
}
