//! `strftime_now` of templates: the usual fields of C's `strftime`, in UTC.

use std::fmt::Write;

use inshore_domain::Timestamp;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

struct Civil {
    year: i64,
    month: usize,
    day: u64,
    weekday: usize,
    day_of_year: u64,
}

/// Days since 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant, `civil_from_days`).
fn civil(days: u64) -> Civil {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * from_march + 2) / 153;
    let day = from_march - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let leap = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let month = usize::try_from(month - 1).unwrap_or(0);
    let day_of_year = before.get(month).copied().unwrap_or(0) + u64::from(leap && month > 1) + day;
    // 1970-01-01 was a Thursday.
    let weekday = usize::try_from((days + 3) % 7).unwrap_or(0);
    Civil { year: i64::try_from(year).unwrap_or(i64::MAX), month, day, weekday, day_of_year }
}

/// Formats a moment. Fields it does not know stay as they are.
pub(super) fn format(now: Timestamp, format: &str) -> String {
    let seconds = now.unix_secs();
    let date = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (month, day) = (MONTHS.get(date.month).unwrap_or(&""), DAYS.get(date.weekday).unwrap_or(&""));
    let short = |name: &str| name.chars().take(3).collect::<String>();
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut field = letters.next();
        let plain = field == Some('-');
        if plain {
            field = letters.next();
        }
        let number = |out: &mut String, number: u64, width: usize| {
            let _ = if plain { write!(out, "{number}") } else { write!(out, "{number:0width$}") };
        };
        match field {
            Some('Y') => out.push_str(&date.year.to_string()),
            Some('y') => number(&mut out, u64::try_from(date.year % 100).unwrap_or(0), 2),
            Some('m') => number(&mut out, date.month as u64 + 1, 2),
            Some('d') => number(&mut out, date.day, 2),
            Some('e') => {
                let _ = write!(out, "{:2}", date.day);
            }
            Some('j') => number(&mut out, date.day_of_year, 3),
            Some('H') => number(&mut out, hour, 2),
            Some('I') => number(&mut out, (hour + 11) % 12 + 1, 2),
            Some('M') => number(&mut out, minute, 2),
            Some('S') => number(&mut out, second, 2),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('B') => out.push_str(month),
            Some('b' | 'h') => out.push_str(&short(month)),
            Some('A') => out.push_str(day),
            Some('a') => out.push_str(&short(day)),
            Some('F') => {
                let _ = write!(out, "{}-{:02}-{:02}", date.year, date.month + 1, date.day);
            }
            Some('T') => {
                let _ = write!(out, "{hour:02}:{minute:02}:{second:02}");
            }
            Some('Z') => out.push_str("UTC"),
            Some('%') => out.push('%'),
            Some(other) => {
                out.push('%');
                out.push(other);
            }
            None => out.push('%'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        let at = |seconds: u64, fields: &str| format(Timestamp::from_unix_millis(seconds * 1000), fields);
        assert_eq!(at(0, "%Y-%m-%d %H:%M:%S %A %j"), "1970-01-01 00:00:00 Thursday 001");
        assert_eq!(at(951_782_400, "%d %B %Y %a"), "29 February 2000 Tue");
        assert_eq!(at(1_735_689_599, "%F %T %b %-d %I%p %y"), "2024-12-31 23:59:59 Dec 31 11PM 24");
        assert_eq!(at(1_735_603_200, "%j"), "366");
        assert_eq!(at(0, "100%% %q %"), "100% %q %");
    }
}
