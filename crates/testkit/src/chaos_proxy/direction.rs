//! One way of a connection: bytes wait in a line, bounded, until they are due.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::conditions::{Conditions, Direction};

const PIECE_BYTES: usize = 16 << 10;
/// 1 MiB under way; a sender that is faster waits.
const PIECES_MAX: usize = 64;

struct Piece {
    due: Instant,
    /// None: the sender has said all.
    bytes: Vec<u8>,
}

/// Carries bytes under the conditions of its way, until the sender has said all.
pub(super) async fn carry(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
    conditions: watch::Receiver<Conditions>,
    way: fn(&Conditions) -> Direction,
    arrived: &AtomicU64,
) -> io::Result<()> {
    let (line, pieces) = mpsc::channel(PIECES_MAX);
    tokio::try_join!(
        take(from, line, conditions.clone(), way),
        give(pieces, to, conditions, way, arrived)
    )?;
    Ok(())
}

async fn take(
    mut from: impl AsyncRead + Unpin,
    line: mpsc::Sender<Piece>,
    conditions: watch::Receiver<Conditions>,
    way: fn(&Conditions) -> Direction,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut due = Instant::now();
    loop {
        let length = from.read(&mut buffer).await?;
        let delay = way(&conditions.borrow()).delay();
        due = due.max(Instant::now() + delay);
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        if line.send(Piece { due, bytes }).await.is_err() || length == 0 {
            return Ok(());
        }
    }
}

async fn give(
    mut pieces: mpsc::Receiver<Piece>,
    mut to: impl AsyncWrite + Unpin,
    mut conditions: watch::Receiver<Conditions>,
    way: fn(&Conditions) -> Direction,
    arrived: &AtomicU64,
) -> io::Result<()> {
    let mut free = Instant::now();
    while let Some(piece) = pieces.recv().await {
        sleep_until(piece.due.max(free)).await;
        let Ok(now) = conditions
            .wait_for(|now| !way(now).stalled)
            .await
            .map(|now| *now)
        else {
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        if piece.bytes.is_empty() {
            return to.shutdown().await;
        }
        free = Instant::now() + way(&now).busy(piece.bytes.len());
        to.write_all(&piece.bytes).await?;
        arrived.fetch_add(piece.bytes.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}
