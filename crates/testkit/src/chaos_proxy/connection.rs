//! One connection of a client and the one to the target that belongs to it.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use tokio::{net::TcpStream, sync::watch};

use super::{Control, Strikes, direction};

/// How a connection ended.
enum End {
    /// Both sides had said all.
    Closed,
    Reset,
    HalfOpen,
}

/// Carries it to its end.
pub(super) async fn serve(client: TcpStream, target: SocketAddr, control: Arc<Control>) {
    let mut strikes = control.strikes.subscribe();
    let known = *strikes.borrow();
    if control.conditions.borrow().refuse {
        return reset(client);
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return reset(client);
    };
    control.accepted.fetch_add(1, Ordering::Relaxed);
    control.open.fetch_add(1, Ordering::Relaxed);
    carry_to_end(client, server, &control, (&mut strikes, known)).await;
    control.open.fetch_sub(1, Ordering::Relaxed);
}

async fn carry_to_end(
    mut client: TcpStream,
    mut server: TcpStream,
    control: &Control,
    (strikes, known): (&mut watch::Receiver<Strikes>, Strikes),
) {
    let end = tokio::select! {
        end = carry(&mut client, &mut server, control) => end,
        end = struck(strikes, known) => end,
    };
    match end {
        End::Closed => {}
        End::Reset => {
            reset(client);
            reset(server);
        }
        End::HalfOpen => {
            reset(server);
            // The sender lives in `Control`, which this connection holds.
            let _ = strikes.wait_for(|now| now.resets > known.resets).await;
            reset(client);
        }
    }
}

async fn carry(client: &mut TcpStream, server: &mut TcpStream, control: &Control) -> End {
    // Small writes must not wait for one another: the delay is ours to choose.
    if client
        .set_nodelay(true)
        .and(server.set_nodelay(true))
        .is_err()
    {
        return End::Reset;
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let up = direction::carry(
        from_client,
        to_server,
        control.conditions.subscribe(),
        |conditions| conditions.to_target,
        &control.bytes_to_target,
    );
    let down = direction::carry(
        from_server,
        to_client,
        control.conditions.subscribe(),
        |conditions| conditions.to_client,
        &control.bytes_to_client,
    );
    match tokio::try_join!(up, down) {
        Ok(_) => End::Closed,
        // What broke one side breaks the other.
        Err(_) => End::Reset,
    }
}

async fn struck(strikes: &mut watch::Receiver<Strikes>, known: Strikes) -> End {
    match strikes.wait_for(|now| *now != known).await {
        Ok(now) if now.resets == known.resets => End::HalfOpen,
        _ => End::Reset,
    }
}

/// Closes with RST in place of FIN.
fn reset(stream: TcpStream) {
    // It fails only on a connection that is gone already.
    let _ = stream.set_zero_linger();
}
