use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use telemetry::metrics;

async fn get(url: String) -> (u16, String) {
    let response = reqwest::get(url).await.unwrap();
    let status = response.status().as_u16();
    (status, response.text().await.unwrap())
}

#[tokio::test]
async fn metrics_health_and_readiness() {
    telemetry::init_crypto();
    let ready = Arc::new(AtomicBool::new(false));
    let seen = ready.clone();
    let address = metrics::serve("127.0.0.1:0".parse().unwrap(), move || {
        match seen.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("no route table yet".to_owned()),
        }
    })
    .await
    .unwrap();

    let (status, text) = get(format!("http://{address}/metrics")).await;
    assert_eq!(status, 200);
    assert!(text.contains("railhead_build_info{"), "{text}");
    assert!(text.contains("process_resident_memory_bytes"), "{text}");
    assert_eq!(get(format!("http://{address}/healthz")).await.0, 200);
    let readyz = format!("http://{address}/readyz");
    assert_eq!(
        get(readyz.clone()).await,
        (503, "no route table yet\n".to_owned())
    );
    ready.store(true, Ordering::Relaxed);
    assert_eq!(get(readyz).await.0, 200);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = metrics::serve(address, || Ok(())).await.unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
