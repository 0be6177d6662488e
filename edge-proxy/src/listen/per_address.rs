//! How many connections one client address may have open.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Counts open connections by address; IPv6 by /64, which is one customer.
#[derive(Debug)]
pub struct PerAddress {
    max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One open connection; dropping it frees its place.
#[derive(Debug)]
pub struct Place {
    of: Arc<PerAddress>,
    key: IpAddr,
}

impl PerAddress {
    /// At most `max` from one address.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max,
            open: Mutex::default(),
        }
    }

    /// A place for a connection, or none when the address has too many.
    #[must_use]
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let key = key_of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place {
            of: Arc::clone(self),
            key,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.of.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

fn key_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_freed_and_an_ipv6_network_shares_one_limit() {
        let limit = Arc::new(PerAddress::new(2));
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::2".parse().unwrap();
        let (first, _second) = (limit.enter(a).unwrap(), limit.enter(b).unwrap());
        assert!(limit.enter(a).is_none());
        assert!(limit.enter("192.0.2.1".parse().unwrap()).is_some());
        drop(first);
        assert!(limit.enter(a).is_some());
        assert_eq!(limit.open.lock().unwrap().len(), 1, "no entry stays behind");
    }
}
