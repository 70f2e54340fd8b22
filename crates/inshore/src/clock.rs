//! The real clock, handed to everything below the binary.

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
        u128::from_le_bytes(random_bytes())
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
