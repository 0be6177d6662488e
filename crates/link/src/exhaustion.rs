//! What this machine has run out of. An attempt that fails for that says nothing about whom it was meant for: neither that
//! nobody is there, nor that it is silent.

use std::{error::Error, io};

/// Of Linux: no descriptor in the process, none in the system, no buffers, no memory, no local port.
const EXHAUSTED: [i32; 5] = [24, 23, 105, 12, 99];

/// Whether an error, or one behind it, is that this machine has no descriptor, memory or local port left.
#[must_use]
pub fn is_exhaustion(error: &(dyn Error + 'static)) -> bool {
    let mut current = Some(error);
    while let Some(error) = current {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(is_own) {
            return true;
        }
        // An I/O error shows what is behind the error that it holds, and not that error itself.
        current = match io.and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    false
}

fn is_own(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| EXHAUSTED.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("connecting")]
    struct Connecting(#[source] io::Error);

    #[test]
    fn what_this_machine_lacks_is_found_behind_other_errors() {
        for code in EXHAUSTED {
            let error = io::Error::from_raw_os_error(code);
            assert!(is_exhaustion(&error), "{error}");
            let wrapped = io::Error::other(Connecting(error));
            assert!(is_exhaustion(&Connecting(wrapped)), "{code}");
        }
    }

    #[test]
    fn that_nobody_listens_is_no_exhaustion() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let refused = TcpStream::connect(address).unwrap_err();
        assert!(!is_exhaustion(&refused));
        assert!(!is_exhaustion(&Connecting(io::Error::other("refused"))));
    }
}
