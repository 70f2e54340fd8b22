//! Sizes, durations and prices as people write them.

use std::time::Duration;

/// Reads `512 MiB`, `2GB`, `1000` (bytes).
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Reads `250ms`, `30s`, `5m`, `2h`, `1d`, `0`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let factor = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "" if number == 0 => 1,
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_secs)
}

/// Writes a duration so that [`duration`] reads the same again, to the millisecond.
pub(crate) fn written(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = |(length, _): &(u128, &str)| millis >= *length && millis.is_multiple_of(*length);
    match units.into_iter().find(whole) {
        Some((length, unit)) => format!("{}{unit}", millis / length),
        None => format!("{millis}ms"),
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// Reads an amount of money such as `0.25` into millionths, exactly.
pub(crate) fn micros(text: &str) -> Option<u64> {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() > 6 || whole.is_empty() || !digits(whole) || !digits(part) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_sizes_durations_and_prices() {
        assert_eq!(size("512 MiB"), Some(512 << 20));
        assert_eq!(size("2GB"), Some(2_000_000_000));
        assert_eq!(size("17"), Some(17));
        assert_eq!(size("1 parsec"), None);
        assert_eq!(size("99999999999 TiB"), None);
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!(duration("5"), None);
        assert_eq!(micros("0.25"), Some(250_000));
        assert_eq!(micros("15"), Some(15_000_000));
        assert_eq!(micros("0.0000001"), None);
        assert_eq!(micros("-1"), None);
        assert_eq!(micros(".5"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_value_or_not(text in ".{0,24}") {
            let _ = (size(&text), duration(&text), micros(&text));
        }

        #[test]
        fn durations_are_written_as_they_are_read(millis in 0u64..1 << 50, of: bool) {
            let time = Duration::from_millis(if of { millis / 60_000 * 60_000 } else { millis });
            prop_assert_eq!(duration(&written(time)), Some(time));
        }

        #[test]
        fn amounts_are_exact(amount in 0u64..1 << 60) {
            let text = format!("{}.{:06}", amount / 1_000_000, amount % 1_000_000);
            prop_assert_eq!(micros(&text), Some(amount));
        }
    }
}
