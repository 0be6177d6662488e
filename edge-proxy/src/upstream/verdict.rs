//! What agents, probes and requests say about an endpoint.

/// What the node's agent said about "this instance holds that address".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Confirmed {
    /// Not asked, or nobody answered yet.
    Unknown,
    /// Yes.
    Yes,
    /// Yes, but nothing has listened there since: it must be said again.
    Doubted,
    /// No.
    No,
}

/// What our own probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// The last probe passed, or fewer than three in a row failed since.
    Up,
    /// Three in a row failed, or nothing listens.
    Down,
}

/// How an attempt to use an endpoint failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: nothing listens there now.
    Connect,
    /// The connection broke, or no answer came in time.
    Answer,
}

impl Confirmed {
    /// From its number.
    pub(super) const fn of(number: u8) -> Self {
        match number {
            yes if yes == Self::Yes as u8 => Self::Yes,
            doubted if doubted == Self::Doubted as u8 => Self::Doubted,
            no if no == Self::No as u8 => Self::No,
            _ => Self::Unknown,
        }
    }
}

impl Health {
    /// From its number.
    pub(super) const fn of(number: u8) -> Self {
        match number {
            up if up == Self::Up as u8 => Self::Up,
            down if down == Self::Down as u8 => Self::Down,
            _ => Self::Unknown,
        }
    }
}
