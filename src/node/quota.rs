//! How many connections each user and each address has, and may have.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use crate::sync::Mutex;

/// What is counted for each of many holders.
#[derive(Debug)]
pub struct Quota<K> {
    /// For each of them.
    max: usize,
    /// Taken alone, when a connection begins and ends. Who holds nothing is not in it.
    held: Mutex<HashMap<K, usize>>,
}

/// One of a holder's, until dropped.
pub struct Share<K: Eq + Hash> {
    quota: Arc<Quota<K>>,
    holder: K,
}

impl<K: Eq + Hash + Clone> Quota<K> {
    /// Of `max` for each, or of as many as anybody likes.
    pub(super) fn new(max: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            max: max.unwrap_or(usize::MAX),
            held: Mutex::default(),
        })
    }

    /// How many each may hold.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// One more for `holder`; none when he holds as many as he may.
    #[must_use]
    pub fn take(self: &Arc<Self>, holder: K) -> Option<Share<K>> {
        {
            let mut all = self.held.lock();
            let held = all.get(&holder).copied().unwrap_or_default();
            if held >= self.max {
                return None;
            }
            all.insert(holder.clone(), held + 1);
        }
        Some(Share {
            quota: self.clone(),
            holder,
        })
    }

    /// How many hold something.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.held.lock().len()
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut all = self.quota.held.lock();
        let Some(held) = all.get_mut(&self.holder) else {
            return;
        };
        *held -= 1;
        if *held == 0 {
            all.remove(&self.holder);
            // A crowd that has gone is not paid for for ever.
            if all.capacity() > 4 * (all.len() + 16) {
                all.shrink_to_fit();
            }
        }
    }
}

impl<K: Eq + Hash> fmt::Debug for Share<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(…)")
    }
}

/// Whom a peer at `address` is counted with. Who has one IPv6 address has a network of 2⁶⁴ of them
/// (RFC 6177), so that is counted.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_more_than_he_may_and_what_is_dropped_is_free_again() {
        let quota = Quota::new(Some(2));
        let first = quota.take("ada").unwrap();
        let _second = quota.take("ada").unwrap();
        assert!(quota.take("ada").is_none());
        let other = quota.take("bob").unwrap();
        drop(first);
        assert!(quota.take("ada").is_some());
        drop(other);
        assert_eq!(quota.holders(), 1);
    }

    #[test]
    fn a_refusal_leaves_nothing_behind() {
        let quota = Quota::new(Some(0));
        assert!(quota.take("ada").is_none());
        assert_eq!(quota.holders(), 0);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one() {
        let network = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
