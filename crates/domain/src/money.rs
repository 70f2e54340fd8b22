//! Money: integer micro-units of a named currency. No float touches an amount.

use std::fmt;

/// A currency by its ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// United States dollar, the currency of most price lists.
    pub const USD: Currency = Currency(*b"USD");

    /// Takes three upper-case ASCII letters; `None` for anything else.
    pub fn new(code: &str) -> Option<Self> {
        let bytes: [u8; 3] = code.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_uppercase).then_some(Self(bytes))
    }

    /// The three letters.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount in millionths of one unit of its currency: `Money { micros: 1_500_000, currency: USD }` is 1.50 dollars.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Millionths of the unit; negative amounts are credits.
    pub micros: i64,
    /// What the unit is.
    pub currency: Currency,
}

impl Money {
    /// Nothing, in dollars.
    pub const ZERO: Money = Money { micros: 0, currency: Currency::USD };

    /// The sum; `None` when the currencies differ or the sum leaves 64 bits.
    pub fn checked_add(self, other: Money) -> Option<Money> {
        (self.currency == other.currency)
            .then(|| self.micros.checked_add(other.micros))
            .flatten()
            .map(|micros| Money { micros, currency: self.currency })
    }
}

impl fmt::Display for Money {
    /// Shows cents at least and micro-units where they matter: `0.00 USD`, `1.50 USD`, `0.000012 USD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
        if part % 10_000 == 0 {
            write!(f, "{sign}{whole}.{:02} {}", part / 10_000, self.currency.code())
        } else {
            write!(f, "{sign}{whole}.{part:06} {}", self.currency.code())
        }
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        let show = |micros| Money { micros, currency: Currency::USD }.to_string();
        assert_eq!(show(0), "0.00 USD");
        assert_eq!(show(1_500_000), "1.50 USD");
        assert_eq!(show(12), "0.000012 USD");
        assert_eq!(show(-2_000_000), "-2.00 USD");
        assert_eq!(show(i64::MIN), "-9223372036854.775808 USD");
    }

    #[test]
    fn currencies_do_not_mix() {
        let euro = Money { micros: 1, currency: Currency::new("EUR").unwrap() };
        assert_eq!(Money::ZERO.checked_add(euro), None);
        assert_eq!(Currency::new("usd"), None);
        assert_eq!(Currency::new("USDT"), None);
    }
}
