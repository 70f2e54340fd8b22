//! The real clock, handed to everything below the binary.

use std::cell::RefCell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use inshore_domain::{Clock, Timestamp};

/// Time and randomness of the operating system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the wall clock is read")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_unix_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn random(&self) -> u128 {
        POOL.with_borrow_mut(Pool::next)
    }
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOLED], used: POOLED }) };
}

/// Bytes asked for at once: a request takes three ids, and each call of the system costs about as much as everything else that is
/// done for an id.
const POOLED: usize = 1024;

/// Random bytes that have been asked for and not been used.
struct Pool {
    bytes: [u8; POOLED],
    used: usize,
}

impl Pool {
    fn next(&mut self) -> u128 {
        if self.used >= POOLED {
            self.bytes = random_bytes();
            self.used = 0;
        }
        let (fresh, _) =
            self.bytes.get(self.used..).and_then(<[u8]>::split_first_chunk).unwrap_or((&[0; 16], &[]));
        let number = u128::from_le_bytes(*fresh);
        self.used += size_of::<u128>();
        number
    }
}

/// Bytes from the operating system's generator.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Ids would repeat and keys could be guessed: nothing that follows would keep its promises.
        crate::output::note(&format!("error: the operating system gives no random numbers: {error}"));
        std::process::abort();
    }
    bytes
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemClock.now().unix_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_numbers_are_the_same() {
        let numbers: std::collections::HashSet<u128> = (0..1000).map(|_| SystemClock.random()).collect();
        assert_eq!(numbers.len(), 1000);
        assert!(!numbers.contains(&0));
    }
}
