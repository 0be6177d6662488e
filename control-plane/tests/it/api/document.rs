//! The OpenAPI document that is checked in is the one that is served.

use control_plane::http;
use reqwest::Method;

use super::world::{World, read};

const CHECKED_IN: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../crates/api/openapi.json"
));

#[test]
fn the_checked_in_document_is_up_to_date() {
    assert!(
        http::document().unwrap() == CHECKED_IN,
        "crates/api/openapi.json is stale: control-plane openapi > crates/api/openapi.json"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_served_and_every_reference_in_it_leads_somewhere() {
    let world = World::new().await;
    let request = world.server.request(Method::GET, "/v1/openapi.json", None);
    let document = read(request).await.expect(200).body;
    assert_eq!(document["openapi"], "3.1.0");
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name} is referred to and not there"
        );
    }
}
