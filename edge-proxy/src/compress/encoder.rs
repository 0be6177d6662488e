//! The codings, one interface. Windows are small, so that what a connection costs while its answer lasts is about a
//! megabyte at most, and levels are those at which another percent begins to cost much more work.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::accept::Coding;

const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// Of windows, as powers of two in bytes.
const BROTLI_WINDOW: u32 = 18;
const ZSTD_WINDOW: u32 = 17;
/// Brotli's output goes through a buffer of this many bytes.
const BUFFER: usize = 4096;

/// Of one body.
pub enum Encoder {
    /// RFC 1952.
    Gzip(GzEncoder<Vec<u8>>),
    /// RFC 7932.
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    /// RFC 8878. The mutex is never locked: it makes the type `Sync`, which Pingora asks for.
    Zstd(Mutex<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    /// An empty body.
    ///
    /// # Errors
    /// When the library gives no context.
    pub fn new(coding: Coding) -> io::Result<Self> {
        let (out, quality) = (Vec::new(), BROTLI_QUALITY);
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(out, Compression::new(GZIP_LEVEL))),
            Coding::Brotli => Self::Brotli(Box::new(CompressorWriter::new(
                out,
                BUFFER,
                quality,
                BROTLI_WINDOW,
            ))),
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW)?;
                Self::Zstd(Mutex::new(encoder))
            }
        })
    }

    /// The next bytes of the coded body. With `flush` all that was given so far can be read from them.
    ///
    /// # Errors
    /// When the library fails.
    pub fn encode(&mut self, piece: &[u8], flush: bool) -> io::Result<Bytes> {
        let out = match self {
            Self::Gzip(encoder) => {
                write(encoder, piece, flush)?;
                encoder.get_mut()
            }
            Self::Brotli(encoder) => {
                write(encoder, piece, flush)?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                let encoder = encoder.get_mut().unwrap_or_else(PoisonError::into_inner);
                write(encoder, piece, flush)?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(out).into())
    }

    /// The last bytes of the coded body.
    ///
    /// # Errors
    /// When the library fails.
    pub fn finish(self) -> io::Result<Bytes> {
        let out = match self {
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Zstd(encoder) => {
                let encoder = encoder.into_inner().unwrap_or_else(PoisonError::into_inner);
                encoder.finish()?
            }
        };
        Ok(out.into())
    }
}

fn write(to: &mut impl Write, piece: &[u8], flush: bool) -> io::Result<()> {
    to.write_all(piece)?;
    if flush {
        to.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The decoder gives no more at once than fits there, and no more later when nothing more comes in.
    const DECODED: usize = 1 << 16;

    /// Reads as far as it goes.
    fn decoded(coding: Coding, body: &[u8]) -> Vec<u8> {
        fn read<W: Write>(mut decoder: W, body: &[u8], out: impl Fn(&W) -> Vec<u8>) -> Vec<u8> {
            decoder.write_all(body).unwrap();
            decoder.flush().unwrap();
            out(&decoder)
        }
        match coding {
            Coding::Gzip => {
                let decoder = flate2::write::GzDecoder::new(Vec::new());
                read(decoder, body, |d| d.get_ref().clone())
            }
            Coding::Brotli => {
                let decoder = brotli::DecompressorWriter::new(Vec::new(), DECODED);
                read(decoder, body, |d| d.get_ref().clone())
            }
            Coding::Zstd => {
                let decoder = zstd::stream::write::Decoder::new(Vec::new()).unwrap();
                read(decoder, body, |d| d.get_ref().clone())
            }
        }
    }

    #[test]
    fn what_repeats_becomes_small_and_what_was_flushed_can_be_read() {
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding).unwrap();
            let text = b"the same again, ".repeat(1000);
            let mut body = encoder.encode(&text, true).unwrap().to_vec();
            assert!(body.len() < text.len() / 20, "{coding:?}: {}", body.len());
            assert_eq!(decoded(coding, &body), text, "{coding:?}");
            body.extend(encoder.encode(b"more", false).unwrap());
            body.extend(encoder.finish().unwrap());
            assert_eq!(decoded(coding, &body), [&text[..], b"more"].concat());
        }
    }

    /// The end of a brotli stream is a block of its own; without it strict readers call the body cut.
    #[test]
    fn a_finished_body_is_whole() {
        for (coding, text) in Coding::ALL.map(|coding| (coding, b"short")) {
            let mut encoder = Encoder::new(coding).unwrap();
            let mut body = encoder.encode(text, false).unwrap().to_vec();
            body.extend(encoder.finish().unwrap());
            let mut whole = Vec::new();
            match coding {
                Coding::Gzip => {
                    let mut reader = flate2::read::GzDecoder::new(&body[..]);
                    io::copy(&mut reader, &mut whole).unwrap();
                }
                Coding::Brotli => {
                    let mut reader = brotli::Decompressor::new(&body[..], BUFFER);
                    io::copy(&mut reader, &mut whole).unwrap();
                }
                Coding::Zstd => whole = zstd::stream::decode_all(&body[..]).unwrap(),
            }
            assert_eq!(whole, text, "{coding:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_comes_out_as_it_went_in(
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..2_000), any::<bool>()), 0..8),
        ) {
            for coding in Coding::ALL {
                let mut encoder = Encoder::new(coding).unwrap();
                let (mut body, mut text) = (Vec::<u8>::new(), Vec::<u8>::new());
                for (piece, flush) in &pieces {
                    body.extend(encoder.encode(piece, *flush).unwrap());
                    text.extend(piece);
                }
                body.extend(encoder.finish().unwrap());
                prop_assert_eq!(decoded(coding, &body), text);
            }
        }
    }
}
