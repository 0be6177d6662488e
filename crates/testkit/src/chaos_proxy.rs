//! A TCP proxy that does to connections what networks do: slow them down, cut them, or swallow their
//! bytes without a word (half-open).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

const PIECE_BYTES: usize = 16 << 10;

/// What is done to connections, those open and those to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Each piece of bytes comes this much later, in both directions.
    Latency(Duration),
    /// Open connections are closed, new ones are closed at once.
    Cut,
    /// Connections stay open, but no byte passes.
    HalfOpen,
}

/// A running proxy; stops when dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    /// Where it listens.
    pub address: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    accepting: JoinHandle<()>,
}

impl ChaosProxy {
    /// A proxy on a free port of 127.0.0.1 before `upstream`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(upstream: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let accepting = tokio::spawn(accept(listener, upstream, fault.clone()));
        Ok(Self {
            address,
            fault,
            accepting,
        })
    }

    /// From now on this is done to connections.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.set(Fault::Cut);
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, fault: Arc<watch::Sender<Fault>>) {
    while let Ok((client, _)) = listener.accept().await {
        let fault = fault.subscribe();
        tokio::spawn(async move {
            if *fault.borrow() != Fault::Cut
                && let Ok(server) = TcpStream::connect(upstream).await
            {
                carry(client, server, fault).await;
            }
        });
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, mut fault: watch::Receiver<Fault>) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let (up, down) = (fault.clone(), fault.clone());
    tokio::select! {
        _ = async { tokio::try_join!(copy(from_client, to_server, up), copy(from_server, to_client, down)) } => {}
        _ = fault.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut fault: watch::Receiver<Fault>,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        let now = *fault.borrow_and_update();
        match now {
            Fault::Latency(latency) => sleep(latency).await,
            Fault::HalfOpen => {
                // The proxy is gone when this fails, and the connection with it.
                let _ = fault.wait_for(|fault| *fault != Fault::HalfOpen).await;
            }
            Fault::None | Fault::Cut => {}
        }
        to.write_all(piece.get(..length).unwrap_or_default())
            .await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::time::timeout;

    use super::*;

    /// A server that sends back what it gets, and a proxy before it.
    async fn echo() -> ChaosProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        ChaosProxy::start(address).await.unwrap()
    }

    async fn ping(stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"ping");
        Ok(())
    }

    #[tokio::test]
    async fn bytes_pass_and_latency_delays_them() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        ping(&mut stream).await.unwrap();
        proxy.set(Fault::Latency(Duration::from_millis(50)));
        let began = Instant::now();
        ping(&mut stream).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_cut_ends_open_connections_and_refuses_new_ones_until_it_is_over() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        ping(&mut stream).await.unwrap();
        proxy.set(Fault::Cut);
        assert!(ping(&mut stream).await.is_err());
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(ping(&mut stream).await.is_err());
        proxy.set(Fault::None);
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        ping(&mut stream).await.unwrap();
    }

    #[tokio::test]
    async fn half_open_is_silence_and_then_goes_on() {
        let proxy = echo().await;
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        ping(&mut stream).await.unwrap();
        proxy.set(Fault::HalfOpen);
        stream.write_all(b"late").await.unwrap();
        let mut answer = [0; 4];
        let silence = timeout(Duration::from_millis(200), stream.read_exact(&mut answer)).await;
        assert!(silence.is_err());
        proxy.set(Fault::None);
        timeout(Duration::from_secs(10), stream.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&answer, b"late");
    }
}
