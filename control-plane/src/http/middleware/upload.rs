//! What a handler leaves of an upload is taken, within bounds, before the answer is sent: who is still sending when
//! the connection ends does not see it. That goes for every refusal, also those before the handler.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
};
use futures::{
    Stream, StreamExt as _,
    stream::{self, Fuse},
};
use http::header;

use super::body;

/// A body that was lent to a handler.
#[derive(Debug)]
pub struct Upload {
    body: Arc<Mutex<Lent>>,
    /// Its client sends nothing before somebody wants to read it.
    waits: bool,
}

#[derive(Debug)]
struct Lent {
    parts: Fuse<BodyDataStream>,
    is_read: bool,
}

impl Upload {
    /// Lends a request's body to its handler.
    pub fn lend(request: &mut Request) -> Self {
        let waits = request.headers().contains_key(header::EXPECT);
        let parts = std::mem::take(request.body_mut()).into_data_stream().fuse();
        let is_read = false;
        let body = Arc::new(Mutex::new(Lent { parts, is_read }));
        let upload = Self { body, waits };
        *request.body_mut() = Body::from_stream(upload.parts());
        upload
    }

    /// Takes what is left, at most so many bytes of it.
    pub async fn discard_rest(self, most: usize) {
        if !self.waits || self.is_read() {
            body::discard(self.parts(), most).await;
        }
    }

    fn is_read(&self) -> bool {
        let lent = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        lent.is_read
    }

    fn parts(&self) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin + 'static {
        let body = Arc::clone(&self.body);
        stream::poll_fn(move |context| {
            let mut lent = body.lock().unwrap_or_else(PoisonError::into_inner);
            lent.is_read = true;
            lent.parts.poll_next_unpin(context)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// How many of ten parts of ten bytes are taken when the handler takes so many.
    async fn taken(by_the_handler: usize, most: usize, expect: bool) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let parts = stream::iter(0..10).map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 10]))
        });
        let mut request = Request::new(Body::from_stream(parts));
        if expect {
            let value = http::HeaderValue::from_static("100-continue");
            request.headers_mut().insert(header::EXPECT, value);
        }
        let upload = Upload::lend(&mut request);
        let read = request.into_body().into_data_stream().take(by_the_handler);
        assert_eq!(read.count().await, by_the_handler.min(10));
        upload.discard_rest(most).await;
        count.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn the_rest_is_taken_within_bounds_but_not_asked_for() {
        assert_eq!(taken(0, 1_000, false).await, 10);
        assert_eq!(taken(3, 1_000, false).await, 10);
        assert_eq!(taken(11, 1_000, false).await, 10);
        assert_eq!(taken(3, 20, false).await, 6, "one too many");
        assert_eq!(taken(0, 1_000, true).await, 0, "it was not sent");
        assert_eq!(taken(1, 1_000, true).await, 10);
    }
}
