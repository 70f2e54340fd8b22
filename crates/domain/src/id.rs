//! Identifiers. All are 128 random-looking bits that sort by the time they were made.

use std::fmt;
use std::str::FromStr;

use crate::time::Timestamp;

/// Crockford's base 32: no I, L, O or U, so that an id read aloud is not misheard.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 26 characters of 5 bits hold 128 bits, as in the ULID specification.
const ENCODED_LEN: usize = 26;

/// An id that is not 26 characters of Crockford's base 32 behind its prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {kind} id: expected `{prefix}` and 26 letters or digits")]
pub struct BadId {
    given: String,
    kind: &'static str,
    prefix: &'static str,
}

fn encode(bits: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write;
    for i in (0..ENCODED_LEN).rev() {
        let five = ((bits >> (i * 5)) & 31) as usize;
        f.write_char(ALPHABET.get(five).copied().unwrap_or(b'0') as char)?;
    }
    Ok(())
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != ENCODED_LEN {
        return None;
    }
    let mut bits: u128 = 0;
    for (i, byte) in text.bytes().enumerate() {
        let five = ALPHABET.iter().position(|&a| a == byte.to_ascii_lowercase())? as u128;
        // 26 characters carry 130 bits; the first may only use its lower three.
        if i == 0 && five > 7 {
            return None;
        }
        bits = (bits << 5) | five;
    }
    Some(bits)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Joins the time in milliseconds (48 bits) with 80 bits of the given randomness.
            pub fn new(now: Timestamp, random: u128) -> Self {
                let time = u128::from(now.unix_millis() & 0xffff_ffff_ffff);
                Self((time << 80) | (random & ((1 << 80) - 1)))
            }

            /// The id's 128 bits, for storage.
            pub fn to_bits(self) -> u128 {
                self.0
            }

            /// The inverse of [`Self::to_bits`].
            pub fn from_bits(bits: u128) -> Self {
                Self(bits)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                encode(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($prefix).and_then(decode).map(Self).ok_or_else(|| BadId {
                    given: text.chars().take(64).collect(),
                    kind: $kind,
                    prefix: $prefix,
                })
            }
        }
    };
}

id!(
    /// Names one request from admission to receipt.
    RequestId, "req_", "a request"
);
id!(
    /// Names one receipt; every answer carries it.
    ReceiptId, "rcpt_", "a receipt"
);
id!(
    /// Names what is set aside for one outbound call.
    ReservationId, "rsv_", "a reservation"
);

/// A W3C trace id (Trace Context, section 3.2.2.3): 16 bytes, never all zero, shown as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// Takes the given bits; all-zero bits, which the specification forbids, become 1.
    pub fn new(bits: u128) -> Self {
        Self(bits.max(1))
    }

    /// The id's bits, for storage.
    pub fn to_bits(self) -> u128 {
        self.0
    }

    /// Reads the trace id of a `traceparent` header (`00-<trace>-<parent>-<flags>`); `None` when malformed.
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let version = parts.next()?;
        let trace = parts.next()?;
        let well_formed = version.len() == 2
            && version != "ff"
            && trace.len() == 32
            && trace.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let bits = u128::from_str_radix(trace, 16).ok()?;
        (well_formed && bits != 0).then_some(Self(bits))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_survive_the_round_trip(bits: u128) {
            let id = ReceiptId::from_bits(bits);
            prop_assert_eq!(id.to_string().parse::<ReceiptId>().unwrap(), id);
        }

        #[test]
        fn any_text_is_an_id_or_an_error(text in ".{0,40}") {
            let _ = text.parse::<RequestId>();
            let _ = TraceId::from_traceparent(&text);
        }

        #[test]
        fn ids_sort_by_time(a in 0u64..1 << 47, b in 0u64..1 << 47, r: u128, s: u128) {
            let (x, y) = (RequestId::new(Timestamp::from_unix_millis(a), r), RequestId::new(Timestamp::from_unix_millis(b), s));
            if a < b { prop_assert!(x < y && x.to_string() < y.to_string()); }
        }
    }

    #[test]
    fn traceparent_is_read_strictly() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceId::from_traceparent(good).unwrap().to_string(), "0af7651916cd43dd8448eb211c80319c");
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceId::from_traceparent(bad), None, "{bad}");
        }
    }
}
