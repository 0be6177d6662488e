//! Bodies are read whole before their requests take places at work, so that who sends slowly keeps nobody
//! else from an answer. What is read and held at once is bounded, for one client's network and for all.

use std::{net::IpAddr, num::TryFromIntError, time::Duration};

use axum::{
    body::{Body, BodyDataStream, Bytes, HttpBody as _},
    extract::Request,
};
use bytes::BytesMut;
use futures::{Stream, StreamExt as _};
use tokio::time::timeout;

use api::problem::Code;
use domain::quantity;

use crate::slots::{Full, Slot, Slots};

use super::{Failure, gate, limit};

/// A body must have come by then.
const READ_WITHIN: Duration = Duration::from_secs(20);
/// Bodies of the largest size that one network may send at once,
const EACH: usize = 16;
/// and all together, to one replica.
const ALL: usize = 128;
/// A small body counts as this part of the largest, so that they are bounded in number too.
const SMALLEST_PART: usize = 16;
/// Who is still sending when the connection ends does not see the answer. So of a body that is too large
/// the rest is taken too, if all of it is at most so many times what is allowed,
const DISCARDED: usize = 128;
/// and comes by then.
const DISCARD_WITHIN: Duration = Duration::from_secs(20);

/// The body that a request came with, or why it could not be read.
#[derive(Debug, Clone)]
pub struct Received(pub Result<Bytes, Failure>);

/// The network of an address; none where it is not known.
type Client = Option<IpAddr>;

/// Reads the bodies of requests.
#[derive(Debug)]
pub struct Bodies {
    limit: quantity::Bytes,
    largest: usize,
    /// In bytes.
    room: Slots<Client>,
}

impl Bodies {
    /// None larger than `limit`.
    ///
    /// # Errors
    /// When no machine like this one could hold such a body.
    pub fn new(limit: quantity::Bytes) -> Result<Self, TryFromIntError> {
        let largest = usize::try_from(limit.0)?;
        let room = Slots::new(largest.saturating_mul(EACH), largest.saturating_mul(ALL));
        Ok(Self {
            limit,
            largest,
            room,
        })
    }

    /// Puts what came as [`Received`] in the place of a request's body. It has its room for as long as what
    /// is returned.
    ///
    /// # Errors
    /// When there is no room for it.
    pub async fn receive(&self, request: &mut Request) -> Result<Option<Slot<Client>>, Failure> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        let needed = self.needed(request.body());
        let room = self.room.take_many(limit::network(request), needed);
        let room = room.map_err(no_room)?;
        let body = std::mem::take(request.body_mut());
        let received = Received(self.read(body).await);
        request.extensions_mut().insert(received);
        Ok(Some(room))
    }

    fn needed(&self, body: &Body) -> usize {
        let announced = body.size_hint().upper();
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        let smallest = self.largest / SMALLEST_PART;
        announced
            .unwrap_or(self.largest)
            .clamp(smallest, self.largest)
    }

    async fn read(&self, body: Body) -> Result<Bytes, Failure> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut parts = body.into_data_stream();
        if announced <= self.largest {
            match timeout(READ_WITHIN, self.whole(&mut parts)).await {
                Ok(Ok(Some(whole))) => return Ok(whole),
                Ok(Ok(None)) => {}
                Ok(Err(ended)) => return Err(ended),
                Err(_) => return Err(late()),
            }
        }
        let most = self.largest.saturating_mul(DISCARDED);
        if announced <= most {
            discard(parts, most).await;
        }
        Err(self.too_large())
    }

    /// None when it is too large.
    async fn whole(&self, parts: &mut BodyDataStream) -> Result<Option<Bytes>, Failure> {
        let mut whole = BytesMut::new();
        while let Some(part) = parts.next().await {
            let ended = |_| Failure::new(Code::MalformedBody, "the body ended too early");
            let part = part.map_err(ended)?;
            if part.len() > self.largest.saturating_sub(whole.len()) {
                return Ok(None);
            }
            whole.extend_from_slice(&part);
        }
        Ok(Some(whole.freeze()))
    }

    fn too_large(&self) -> Failure {
        let limit = self.limit;
        let detail = format!("the body is larger than {limit}, which is the limit of this route");
        Failure::new(Code::BodyTooLarge, detail)
    }
}

/// Takes at most so many bytes, and not for long.
pub async fn discard<E>(mut parts: impl Stream<Item = Result<Bytes, E>> + Unpin, mut most: usize) {
    let taking = async {
        while let Some(Ok(part)) = parts.next().await {
            let Some(rest) = most.checked_sub(part.len()) else {
                return;
            };
            most = rest;
        }
    };
    // Whether all of it came or not, the answer is the same.
    let _ = timeout(DISCARD_WITHIN, taking).await;
}

/// A body that trickles is the client's fault.
fn late() -> Failure {
    let seconds = READ_WITHIN.as_secs();
    let detail = format!("the body was not whole after {seconds} s");
    Failure::new(Code::MalformedBody, detail)
}

fn no_room(full: Full) -> Failure {
    match full {
        Full::Share(_) => Failure::new(
            Code::RateLimited,
            "too many bodies are on their way from this address; wait until some have come whole",
        ),
        Full::All => {
            gate::count_shed();
            super::overloaded()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures::{future::BoxFuture, poll, stream};

    use super::*;
    use crate::listen::Peer;

    const LIMIT: usize = 64;

    fn bodies() -> Bodies {
        Bodies::new(quantity::Bytes(64)).unwrap()
    }

    fn request(address: &str, body: Body) -> Request {
        let mut request = Request::new(body);
        request.extensions_mut().insert(Peer {
            address: format!("{address}:4711").parse().unwrap(),
            certificates: [].into(),
        });
        request
    }

    async fn received(body: Body) -> Result<Bytes, Code> {
        let mut request = request("203.0.113.7", body);
        bodies().receive(&mut request).await.unwrap();
        let Received(received) = request.extensions_mut().remove().unwrap();
        received.map_err(|failure| failure.code)
    }

    fn never() -> Body {
        Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
    }

    /// The code of the refusal, if there is one.
    fn receive<'a>(bodies: &'a Bodies, address: &'a str, body: Body) -> BoxFuture<'a, Code> {
        Box::pin(async move {
            let mut request = request(address, body);
            bodies.receive(&mut request).await.unwrap_err().code
        })
    }

    #[tokio::test]
    async fn a_body_is_handed_on_whole_and_none_takes_no_room() {
        assert_eq!(received(Body::from("{}")).await.unwrap(), "{}");
        assert_eq!(
            received(Body::from("x".repeat(LIMIT))).await.unwrap().len(),
            LIMIT
        );
        let mut none = request("203.0.113.7", Body::empty());
        assert!(bodies().receive(&mut none).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_whole_is_the_clients_fault() {
        assert_eq!(received(never()).await, Err(Code::MalformedBody));
    }

    #[tokio::test]
    async fn of_a_body_that_is_too_large_the_rest_is_taken_within_bounds() {
        for (sent, expected) in [(3, 3), (DISCARDED * 2, DISCARDED + 3)] {
            let taken = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&taken);
            let parts = stream::iter(0..sent).map(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
                Ok::<_, Infallible>(Bytes::from_static(&[b'x'; LIMIT]))
            });
            let answer = received(Body::from_stream(parts)).await;
            assert_eq!(answer, Err(Code::BodyTooLarge));
            assert_eq!(taken.load(Ordering::Relaxed), expected, "of {sent}");
        }
        let announced = "x".repeat(LIMIT * (DISCARDED + 1));
        assert_eq!(received(announced.into()).await, Err(Code::BodyTooLarge));
    }

    #[tokio::test]
    async fn one_network_has_a_share_of_the_room_and_all_together_have_it_all() {
        let bodies = bodies();
        let addresses: Vec<_> = (0..=ALL / EACH).map(|n| format!("203.0.113.{n}")).collect();
        let (last, first) = addresses.split_last().unwrap();
        let mut slow = Vec::new();
        for address in first {
            for _ in 0..EACH {
                let mut one = receive(&bodies, address, never());
                assert!(poll!(&mut one).is_pending(), "{address}");
                slow.push(one);
            }
            let refused = receive(&bodies, address, Body::from("{}")).await;
            assert_eq!(refused, Code::RateLimited);
        }
        assert_eq!(
            receive(&bodies, last, Body::from("{}")).await,
            Code::Unavailable
        );
        slow.clear();
        let mut again = request(last, Body::from("{}"));
        assert!(bodies.receive(&mut again).await.unwrap().is_some());
    }
}
