//! Tunnels between regions: as few as do.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use protocol::item::GlobalRouteItem;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    forward::two_regions,
    support::{client, until},
};

#[tokio::test]
async fn many_first_requests_at_once_make_one_tunnel() {
    let two = two_regions().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (door, far) = (listener.local_addr().unwrap(), two.far.forward);
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(far).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let mut routes = two.routes.clone().agent(&two.agents[0]);
    for item in &mut routes.global {
        if let GlobalRouteItem::Edge(edge) = item {
            edge.forward_address = door;
        }
    }
    two.near.publish(&routes.service(two.service, &[]));
    until("the near edge knows the door", async || {
        let table = two.near.running.state.routes.load();
        table
            .edges()
            .iter()
            .all(|edge| edge.forward_address == door)
    })
    .await;
    let client = client(&two.ca, two.near.https);
    let requests = (0..30).map(|_| client.get("https://app.test/").send());
    for answer in futures::future::join_all(requests).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(dialled.load(Ordering::Relaxed), 1);
}
