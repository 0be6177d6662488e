//! Nodes of other versions of the protocol: who is served, and what the others are told.

use protocol::{OLDEST, PROTOCOL, PROTOCOL_HEADER};
use reqwest::{RequestBuilder, StatusCode};

use super::{
    join::{Wire, joined, report},
    platform::Platform,
};

fn speaking(request: RequestBuilder, version: Option<&str>) -> RequestBuilder {
    match version {
        Some(version) => request.header(PROTOCOL_HEADER, version),
        None => request,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_spoken_is_refused_with_those_that_are() {
    let platform = Platform::new().await;
    let replica = platform.replica().await;
    let (identity, wire, key) = joined(&platform, &replica, "n1").await;
    let feed = format!("/node/v1/desired?feed=node/{}", identity.node_id);
    let feed = || wire.http.get(wire.url.join(&feed).unwrap());
    let report = |sequence| {
        let url = wire.url.join("/node/v1/report").unwrap();
        wire.http.post(url).json(&report("a", sequence))
    };

    for version in OLDEST..=PROTOCOL {
        let version = version.to_string();
        for request in [feed(), report(1)] {
            let (status, body) = Wire::answer(speaking(request, Some(&version))).await;
            assert_eq!(status, StatusCode::OK, "{version}: {body}");
        }
    }
    let (newer, older) = ((PROTOCOL + 1).to_string(), (OLDEST - 1).to_string());
    for version in [
        None,
        Some(newer.as_str()),
        Some(&older),
        Some("x"),
        Some("1.0"),
    ] {
        for request in [feed(), report(2)] {
            let (status, body) = Wire::answer(speaking(request, version)).await;
            assert_eq!(status, StatusCode::UPGRADE_REQUIRED, "{version:?}: {body}");
            assert_eq!(body["code"], "protocol_unsupported");
            let said = format!(
                "protocol version {} is not spoken here, but {OLDEST} to {PROTOCOL}: update",
                version.unwrap_or("none")
            );
            let detail = body["detail"].as_str().unwrap();
            assert!(detail.starts_with(&said), "{detail}");
        }
    }

    // However old it is, it keeps its identity until it has been updated.
    let request = rcgen::CertificateParams::default().serialize_request(&key);
    let csr = request.unwrap().pem().unwrap();
    let url = wire.url.join("/node/v1/renew").unwrap();
    let renewal = wire.http.post(url).json(&serde_json::json!({ "csr": csr }));
    let (status, body) = Wire::answer(speaking(renewal, Some(&older))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}
