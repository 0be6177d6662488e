//! HTTP/1.1 heads, checked before Pingora parses them: sizes and deadline, and every form that two
//! servers could read in two ways (RFC 9112 §11.2, request smuggling) is refused.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};

use crate::decide::Refusal;

/// Bytes of a head.
pub const MAX_BYTES: usize = 32 * 1024;
/// Fields of a head.
pub const MAX_FIELDS: usize = 100;
/// From a head's first byte to its last.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Why there is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The client went, or waited too long before the first byte.
    Closed,
    /// The client gets an answer, then the connection ends.
    Refused(Refusal),
}

/// Waits for the first bytes of a head, at most for `wait`. Nothing is lost when it is canceled.
///
/// # Errors
/// [`Error::Closed`].
pub async fn begin<R: AsyncRead + Unpin>(
    io: &mut R,
    buffer: &mut BytesMut,
    wait: Duration,
) -> Result<(), Error> {
    if !buffer.is_empty() {
        return Ok(());
    }
    match timeout_at(Instant::now() + wait, io.read_buf(buffer)).await {
        Ok(Ok(1..)) => Ok(()),
        _ => Err(Error::Closed),
    }
}

/// Reads until a whole head is in `buffer` (what follows it may be there too) and checks it.
///
/// # Errors
/// [`Error::Closed`] when the client went; [`Error::Refused`] for a bad, slow or large head.
pub async fn read<R: AsyncRead + Unpin>(io: &mut R, buffer: &mut BytesMut) -> Result<(), Error> {
    let deadline = Instant::now() + DEADLINE;
    let mut searched = 0;
    loop {
        if searched == 0 {
            skip_leading_line_ends(buffer);
        }
        let end = end_of(buffer, searched)?;
        // The empty line may have begun in what is here already.
        searched = buffer.len().saturating_sub(3);
        if let Some(end) = end {
            let head = buffer.get(..end).unwrap_or_default();
            return check(head).map_err(Error::Refused);
        }
        match timeout_at(deadline, io.read_buf(buffer)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return Err(Error::Closed),
            Err(_) => return Err(Error::Refused(Refusal::HeaderTimeout)),
        }
    }
}

/// RFC 9112 §2.2: a server ignores an empty line before the request line.
fn skip_leading_line_ends(buffer: &mut BytesMut) {
    while buffer.starts_with(b"\r\n") {
        let _ = buffer.split_to(2);
    }
}

/// Where the head ends, past its empty line, which is not in the first `searched` bytes. A bare LF is
/// refused as soon as it is seen.
fn end_of(buffer: &[u8], searched: usize) -> Result<Option<usize>, Error> {
    let new = buffer.get(searched..).unwrap_or_default();
    let end = find(new, b"\r\n\r\n").map(|at| searched + at + 4);
    let end_or_all = end.unwrap_or(buffer.len());
    if end_or_all > MAX_BYTES {
        return Err(Error::Refused(Refusal::HeaderTooLarge));
    }
    let from = searched.saturating_sub(1);
    if has_bare_line_feed(buffer.get(from..end_or_all).unwrap_or_default()) {
        return Err(Error::Refused(Refusal::BadRequest));
    }
    Ok(end)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

fn has_bare_line_feed(head: &[u8]) -> bool {
    head.windows(2)
        .any(|pair| matches!(pair, [before, b'\n'] if *before != b'\r'))
        || head == b"\n"
}

/// Checks a whole head, its empty line included.
///
/// # Errors
/// Why it is refused.
pub fn check(head: &[u8]) -> Result<(), Refusal> {
    if head.len() > MAX_BYTES {
        return Err(Refusal::HeaderTooLarge);
    }
    let text = head.strip_suffix(b"\r\n\r\n").ok_or(Refusal::BadRequest)?;
    if text.contains(&0) {
        return Err(Refusal::BadRequest);
    }
    let mut lines = split_lines(text);
    let version = request_line(lines.next().unwrap_or_default())?;
    let mut fields = Fields::default();
    for (count, line) in lines.enumerate() {
        if count >= MAX_FIELDS {
            return Err(Refusal::HeaderTooLarge);
        }
        fields.add(line)?;
    }
    fields.check(version)
}

/// Lines end with CRLF; a CR or LF that stays inside a line is found by the checks of the line.
fn split_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        match find(current, b"\r\n") {
            Some(at) => {
                rest = current.get(at + 2..);
                current.get(..at)
            }
            None => {
                rest = None;
                Some(current)
            }
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn request_line(line: &[u8]) -> Result<Version, Refusal> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::BadRequest);
    };
    let visible = |b: &u8| b.is_ascii_graphic() && *b != b'#';
    if !is_token(method) || !is_target(method, target) || !target.iter().all(visible) {
        return Err(Refusal::BadRequest);
    }
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        _ => Err(Refusal::BadRequest),
    }
}

/// The forms of RFC 9112 §3.2. What is none of them has no path for routes and rules, and goes on as it came: an instance
/// may find one in it (`foo:/admin`).
fn is_target(method: &[u8], target: &[u8]) -> bool {
    let begins = |scheme: &[u8]| {
        let begin = target.get(..scheme.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    let is_absolute = begins(b"http://") || begins(b"https://");
    target.starts_with(b"/") || target == b"*" || is_absolute || method == b"CONNECT"
}

fn is_token(text: &[u8]) -> bool {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !text.is_empty() && text.iter().all(legal)
}

/// The fields that frame and route a request.
#[derive(Default)]
struct Fields {
    hosts: usize,
    lengths: usize,
    encodings: usize,
}

impl Fields {
    fn add(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let colon = find(line, b":").ok_or(Refusal::BadRequest)?;
        let name = line.get(..colon).unwrap_or_default();
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        let control = |b: &u8| b.is_ascii_control() && *b != b'\t';
        if !is_token(name) || value.iter().any(control) {
            return Err(Refusal::BadRequest);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            if !is_length(value) {
                return Err(Refusal::BadRequest);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encodings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::BadRequest);
            }
        }
        Ok(())
    }

    fn check(&self, version: Version) -> Result<(), Refusal> {
        let one_host = match version {
            Version::Http11 => self.hosts == 1,
            Version::Http10 => self.hosts <= 1,
        };
        let one_framing = self.lengths + self.encodings <= 1;
        let chunks_are_known = self.encodings == 0 || version == Version::Http11;
        if one_host && one_framing && chunks_are_known {
            Ok(())
        } else {
            Err(Refusal::BadRequest)
        }
    }
}

/// Digits only, within what a 64-bit number holds.
fn is_length(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(head: &str) -> Result<(), Refusal> {
        check(head.as_bytes())
    }

    #[test]
    fn ordinary_requests_pass() {
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /x?y=1 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nhost:a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
        ] {
            assert_eq!(verdict(head), Ok(()), "{head:?}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let with = |line: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        let mut heads: Vec<String> = [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Content-Length: 3\r\nContent-Length: 3",
            "Content-Length: 3, 3",
            "Content-Length: +3",
            "Content-Length: 0x3",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding : chunked",
            " Transfer-Encoding: chunked",
            "X: a\r\n b",
            "X: a\rb",
            "X: a\0b",
            "Bad Name: x",
            ": x",
            "no colon",
            "Host: b",
        ]
        .iter()
        .map(|line| with(line))
        .collect();
        heads.extend(
            [
                "GET / HTTP/1.1\r\n\r\n",
                "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET foo:/admin HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
                "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
                "GET /\r\nHost: a\r\n\r\n",
                "G{T / HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n",
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            ]
            .map(str::to_owned),
        );
        for head in heads {
            assert_eq!(verdict(&head), Err(Refusal::BadRequest), "{head:?}");
        }
    }

    #[test]
    fn limits_of_size() {
        let fields = |count: usize| {
            let more = "X: y\r\n".repeat(count - 1);
            format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n")
        };
        assert_eq!(verdict(&fields(MAX_FIELDS)), Ok(()));
        assert_eq!(
            verdict(&fields(MAX_FIELDS + 1)),
            Err(Refusal::HeaderTooLarge)
        );
        let long = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "y".repeat(MAX_BYTES)
        );
        assert_eq!(verdict(&long), Err(Refusal::HeaderTooLarge));
    }

    async fn read_from(parts: &'static [u8]) -> (Result<(), Error>, BytesMut) {
        let mut buffer = BytesMut::new();
        let result = read(&mut &*parts, &mut buffer).await;
        (result, buffer)
    }

    #[tokio::test]
    async fn what_follows_the_head_stays_in_the_buffer() {
        let (result, buffer) = read_from(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nbody").await;
        assert_eq!(result, Ok(()));
        assert!(buffer.starts_with(b"GET") && buffer.ends_with(b"body"));
    }

    #[tokio::test]
    async fn bare_line_feeds_and_early_ends() {
        let refused = Err(Error::Refused(Refusal::BadRequest));
        assert_eq!(read_from(b"GET / HTTP/1.1\nHost: a\n\n").await.0, refused);
        assert_eq!(
            read_from(b"GET / HTTP/1.1\r\nHost").await.0,
            Err(Error::Closed)
        );
        assert_eq!(read_from(b"").await.0, Err(Error::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_is_timed_out() {
        let (mut client, mut server) = tokio::io::duplex(64);
        let trickle = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            while client.write_all(b"G").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        });
        let begun = Instant::now();
        let result = read(&mut server, &mut BytesMut::new()).await;
        assert_eq!(result, Err(Error::Refused(Refusal::HeaderTimeout)));
        assert!(begun.elapsed() <= DEADLINE + Duration::from_secs(2));
        trickle.abort();
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_whatever_passes_is_framed_once(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = check(&bytes);
        }

        #[test]
        fn mutated_heads_never_smuggle(at in 0_usize..80, byte: u8) {
            let mut head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n".to_vec();
            let at = at % head.len();
            head[at] = byte;
            if check(&head).is_ok() {
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let both = text.contains("\r\ncontent-length:") && text.contains("\r\ntransfer-encoding:");
                prop_assert!(!both, "{}", text);
            }
        }
    }
}
