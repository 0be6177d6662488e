//! Compresses answers for clients that take it: a module of Pingora's. The one that comes with Pingora compresses also for
//! clients that refuse it, what must not be changed, parts and gRPC; holds streams back until they end; and leaves
//! brotli without its last block (docs/adr/0068).

mod accept;
mod eligible;
mod encoder;

use std::{any::Any, io, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora::{
    Error, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::{HttpModule, HttpModuleBuilder, Module},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use accept::{Coding, accepted};
use eligible::{is_eligible, weakened};
use encoder::Encoder;

/// Bodies that are compressed at a time: each costs memory for as long as it lasts. More are sent as they are.
const AT_ONCE: usize = 256;

/// Makes one [`Compression`] for each request.
pub struct Builder(Arc<Semaphore>);

impl Default for Builder {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(Compression {
            places: Arc::clone(&self.0),
            is_wanted: false,
            is_http1: false,
            coding: None,
            running: None,
        })
    }
}

/// Of one request's answer.
pub struct Compression {
    places: Arc<Semaphore>,
    is_wanted: bool,
    is_http1: bool,
    /// Of the client.
    coding: Option<Coding>,
    running: Option<Running>,
}

struct Running {
    encoder: Encoder,
    /// The answer comes as its application makes it: nothing of it is held back.
    flushes: bool,
    _place: OwnedSemaphorePermit,
}

impl Compression {
    /// The service wants it.
    pub fn want(&mut self) {
        self.is_wanted = true;
    }

    fn start(&mut self, coding: Coding, response: &mut ResponseHeader) -> Result<()> {
        // When there are as many as may be, the client gets the body as it is.
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Ok(());
        };
        self.running = Some(Running {
            encoder: Encoder::new(coding).map_err(failed)?,
            flushes: !response.headers.contains_key(header::CONTENT_LENGTH),
            _place: place,
        });
        response.insert_header(header::CONTENT_ENCODING, coding.name())?;
        response.remove_header(&header::CONTENT_LENGTH);
        // Ranges would be of the body as it is.
        response.remove_header(&header::ACCEPT_RANGES);
        if self.is_http1 {
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        match response.headers.get(header::ETAG).map(weakened) {
            Some(Some(weak)) => response.insert_header(header::ETAG, weak),
            Some(None) => {
                response.remove_header(&header::ETAG);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The rest of the body, if it is compressed and has not ended.
    fn finish(&mut self, last: &[u8]) -> Result<Option<Bytes>> {
        let Some(mut running) = self.running.take() else {
            return Ok(None);
        };
        let mut rest = running
            .encoder
            .encode(last, false)
            .map_err(failed)?
            .to_vec();
        rest.extend(running.encoder.finish().map_err(failed)?);
        Ok(Some(rest.into()))
    }
}

#[async_trait]
impl HttpModule for Compression {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        self.is_http1 = request.version < Version::HTTP_2;
        // An older client knows no body without a length.
        let knows_how = request.version >= Version::HTTP_11 && request.method != Method::HEAD;
        self.coding = knows_how.then(|| accepted(&request.headers)).flatten();
        Ok(())
    }

    async fn response_header_filter(
        &mut self,
        response: &mut ResponseHeader,
        end_of_stream: bool,
    ) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            self.is_wanted = false;
        }
        if !self.is_wanted || response.status.is_informational() {
            return Ok(());
        }
        self.is_wanted = false;
        if !is_eligible(response.status, &response.headers) {
            return Ok(());
        }
        if !varies(&response.headers) {
            let by = HeaderValue::from_static("Accept-Encoding");
            response.append_header(header::VARY, by)?;
        }
        match self.coding {
            Some(coding) if !end_of_stream => self.start(coding, response),
            _ => Ok(()),
        }
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, end: bool) -> Result<()> {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let piece = body.take().unwrap_or_default();
        let encoded = match end {
            true => self.finish(&piece)?.unwrap_or_default(),
            false => {
                let flushes = running.flushes;
                running.encoder.encode(&piece, flushes).map_err(failed)?
            }
        };
        *body = (!encoded.is_empty()).then_some(encoded);
        Ok(())
    }

    /// The body ends by its trailers; they are lost, because Pingora writes these bytes in their place. An answer that
    /// names its trailers is not compressed.
    fn response_trailer_filter(
        &mut self,
        _trailers: &mut Option<Box<HeaderMap>>,
    ) -> Result<Option<Bytes>> {
        self.finish(&[])
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        self.finish(&[])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

fn varies(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(header::VARY).into_iter();
    let mut names = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','));
    names.any(|name| {
        let name = name.trim();
        name == "*" || name.eq_ignore_ascii_case("accept-encoding")
    })
}

fn failed(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::InternalError, "compressing an answer", error)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const TEXT: [(&str, &str); 2] = [("content-type", "text/plain"), ("content-length", "5000")];

    /// Of a request with these fields, to a service that wants it.
    async fn module(version: Version, accept: &str) -> Compression {
        let mut module = Compression {
            places: Arc::new(Semaphore::new(1)),
            is_wanted: true,
            is_http1: false,
            coding: None,
            running: None,
        };
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.set_version(version);
        request.insert_header("accept-encoding", accept).unwrap();
        module.request_header_filter(&mut request).await.unwrap();
        module
    }

    fn response(fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    fn all(response: &ResponseHeader) -> String {
        let fields = response.headers.iter();
        let mut all: Vec<_> = fields
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        all.sort();
        all.join("\n")
    }

    fn piece(module: &mut Compression, text: &'static str, end: bool) -> Bytes {
        let mut body = Some(Bytes::from_static(text.as_bytes()));
        module.response_body_filter(&mut body, end).unwrap();
        body.unwrap_or_default()
    }

    fn unzipped(body: &[u8]) -> String {
        let mut text = String::new();
        let mut reader = flate2::read::GzDecoder::new(body);
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn the_head_says_what_is_done_with_the_body() {
        let more = [
            ("etag", "\"1\""),
            ("accept-ranges", "bytes"),
            ("vary", "cookie"),
        ];
        for (version, transfer) in [
            (Version::HTTP_11, "transfer-encoding: chunked\n"),
            (Version::HTTP_2, ""),
        ] {
            let mut module = module(version, "gzip").await;
            let mut response = response(&[&TEXT[..], &more[..]].concat());
            module
                .response_header_filter(&mut response, false)
                .await
                .unwrap();
            let wanted = format!(
                "content-encoding: gzip\ncontent-type: text/plain\netag: W/\"1\"\n{transfer}vary: Accept-Encoding\nvary: cookie"
            );
            assert_eq!(all(&response), wanted);
            let mut body = piece(&mut module, "a first piece, ", false).to_vec();
            body.extend(piece(&mut module, "and the last", true));
            assert_eq!(unzipped(&body), "a first piece, and the last");
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_without_a_last_piece_is_whole() {
        let mut module = module(Version::HTTP_11, "gzip").await;
        let mut response = response(&TEXT);
        module
            .response_header_filter(&mut response, false)
            .await
            .unwrap();
        let mut body = piece(&mut module, "all of it", false).to_vec();
        body.extend(module.response_done_filter().unwrap().unwrap());
        assert_eq!(unzipped(&body), "all of it");
        assert!(
            module.response_done_filter().unwrap().is_none(),
            "it ended once"
        );
    }

    #[tokio::test]
    async fn who_refuses_gets_the_body_as_it_is_and_is_told_that_others_do_not() {
        for (version, accept) in [
            (Version::HTTP_11, "gzip;q=0"),
            (Version::HTTP_11, "identity"),
            (Version::HTTP_10, "gzip"),
        ] {
            let mut module = module(version, accept).await;
            let mut response = response(&TEXT);
            module
                .response_header_filter(&mut response, false)
                .await
                .unwrap();
            assert_eq!(
                all(&response),
                "content-length: 5000\ncontent-type: text/plain\nvary: Accept-Encoding"
            );
            assert_eq!(piece(&mut module, "as it is", false), "as it is");
        }
    }

    #[tokio::test]
    async fn nothing_is_done_where_the_service_does_not_want_it_or_there_is_no_place() {
        let mut unwanted = module(Version::HTTP_11, "gzip").await;
        unwanted.is_wanted = false;
        let mut unwanted_response = response(&TEXT);
        let before = all(&unwanted_response);
        unwanted
            .response_header_filter(&mut unwanted_response, false)
            .await
            .unwrap();
        assert_eq!(all(&unwanted_response), before);

        let mut module = module(Version::HTTP_11, "gzip").await;
        module.places.close();
        let mut response = response(&TEXT);
        module
            .response_header_filter(&mut response, false)
            .await
            .unwrap();
        assert!(response.headers.get("content-encoding").is_none());
        assert_eq!(piece(&mut module, "as it is", true), "as it is");
    }

    #[tokio::test]
    async fn early_hints_are_passed_by() {
        let mut module = module(Version::HTTP_11, "gzip").await;
        let mut hints = response(&[]);
        hints.set_status(103).unwrap();
        module
            .response_header_filter(&mut hints, false)
            .await
            .unwrap();
        let mut response = response(&TEXT);
        module
            .response_header_filter(&mut response, false)
            .await
            .unwrap();
        assert_eq!(response.headers["content-encoding"], "gzip");
    }
}
