//! The risk as a feature declares it.

use std::fmt;
use std::str::FromStr;

use super::risk::Risk;

/// At most this share of the answers that are kept may be worse than the next target's, with 95 % confidence; in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Declared(u16);

/// Below a tenth of a percent no installation has labels enough; above a half a coin does as well.
const RANGE: std::ops::RangeInclusive<u16> = 10..=5_000;

impl Declared {
    /// What [`Risk::USUAL`] is.
    pub const USUAL: Declared = Declared(200);

    /// The risk that it is.
    pub fn risk(self) -> Risk {
        Risk::new(f64::from(self.0) / 10_000.0, Risk::USUAL.confidence()).unwrap_or(Risk::USUAL)
    }
}

/// Why a text declares no risk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRisk(String);

impl fmt::Display for BadRisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no risk: write a percentage from 0.1 to 50, such as `2%`", self.0)
    }
}

impl std::error::Error for BadRisk {}

impl FromStr for Declared {
    type Err = BadRisk;

    /// `2%`, `0.5 %`.
    fn from_str(text: &str) -> Result<Self, BadRisk> {
        let bad = || BadRisk(text.chars().take(32).collect());
        let number = text.trim().strip_suffix('%').ok_or_else(bad)?.trim();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 2 || part.len() > 2 {
            return Err(bad());
        }
        let parsed =
            format!("{whole}{part:0<2}").parse().ok().filter(|hundredths| RANGE.contains(hundredths));
        parsed.map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn risks_are_percentages_and_come_back_as_they_were_written() {
        for text in ["2%", "0.5%", "0.25%", "1.05%", "50%", "0.1%"] {
            assert_eq!(text.parse::<Declared>().map(|risk| risk.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(" 2.0 % ".parse(), Ok(Declared::USUAL));
        assert_eq!(Declared::USUAL.risk(), Risk::USUAL);
        for bad in
            ["", "2", "%", "-1%", "0%", "0.05%", "50.01%", "99%", "1.%", ".5%", "1e1%", "100%", "0.001%"]
        {
            assert!(bad.parse::<Declared>().is_err(), "{bad}");
        }
    }
}
