//! Which counters of which caps a call claims from.

use std::fmt::Write as _;

use inshore_domain::{Cap, Claim, Covers, Principal, ReceiptId, Target, Timestamp, Window};

/// The claims of one outbound call, one for each cap that covers it, in the order of the caps.
///
/// `at` is the moment of the call, `began` and `receipt` are those of the request: they are the window and the counter of
/// caps on a single request. A cap on a target covers all of its endpoints together. Hours, days and months are those of UTC.
pub fn claims(
    caps: &[Cap],
    principal: &Principal,
    feature: Option<&str>,
    target: &Target,
    at: Timestamp,
    (receipt, began): (ReceiptId, Timestamp),
) -> Vec<Claim> {
    let claim = |cap: &Cap| {
        let mut subject = Subject::default();
        subject.add("app", &cap.app, Some(&principal.app))?;
        subject.add("user", &cap.user, principal.user.as_deref())?;
        subject.add("organisation", &cap.organisation, principal.organisation.as_deref())?;
        subject.add("feature", &cap.feature, feature)?;
        // A target's endpoints share its counter, except where a cap names one of them.
        let endpoint = matches!(&cap.target, Covers::Only(only) if *only == target.id.0);
        let name = if endpoint { &target.id } else { target.configured_as() };
        subject.add("target", &cap.target, Some(&name.0))?;
        if cap.window == Window::Request {
            subject.name("request", Some(&receipt.to_string()));
        }
        let (since, renews) = window(cap.window, at, began);
        Some(Claim {
            cap: cap.id.clone(),
            subject: subject.0,
            measure: cap.measure,
            window: cap.window,
            since,
            renews,
            limit: cap.limit,
            warn_at: cap.warn_percent.map(|percent| warn_at(cap.limit, percent)),
        })
    };
    caps.iter().filter_map(claim).collect()
}

/// The names that a counter is kept for: `app="mail" user="anna"`. A name is quoted, with quotes and backslashes in it escaped, so that no
/// two lists of names look the same; no name at all is `none`, without quotes.
#[derive(Default)]
struct Subject(String);

impl Subject {
    /// `None`: the cap does not cover this name.
    fn add(&mut self, what: &str, covers: &Covers, name: Option<&str>) -> Option<()> {
        match covers {
            Covers::All => Some(()),
            Covers::Only(only) => (name == Some(only)).then_some(()),
            Covers::Each => {
                self.name(what, name);
                Some(())
            }
        }
    }

    fn name(&mut self, what: &str, name: Option<&str>) {
        let space = if self.0.is_empty() { "" } else { " " };
        let quoted = name.map_or_else(
            || "none".into(),
            |name| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
        );
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{space}{what}={quoted}");
    }
}

/// That share of the limit, rounded up, so that nobody is warned too early.
fn warn_at(limit: u64, percent: u8) -> u64 {
    let share = (u128::from(limit) * u128::from(percent)).div_ceil(100);
    u64::try_from(share).unwrap_or(u64::MAX)
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// The window that a moment lies in: its first millisecond, and the first one behind it.
pub fn window(window: Window, at: Timestamp, began: Timestamp) -> (Timestamp, Option<Timestamp>) {
    let millis = at.unix_millis();
    let (since, renews) = match window {
        Window::Request => return (began, None),
        Window::Hour => (millis - millis % HOUR, (millis - millis % HOUR).checked_add(HOUR)),
        Window::Day => (millis - millis % DAY, (millis - millis % DAY).checked_add(DAY)),
        Window::Month => month(millis / DAY),
    };
    (Timestamp::from_unix_millis(since), renews.map(Timestamp::from_unix_millis))
}

/// The month that a day lies in. `None`: the next one begins after the last moment there is.
fn month(day: u64) -> (u64, Option<u64>) {
    let (year, month, of_month) = civil_from_days(day);
    let first = day - u64::from(of_month - 1);
    let length = u64::from(days_in_month(year, month));
    (first * DAY, (first + length).checked_mul(DAY))
}

/// Year, month and day of a day since 1970-01-01: `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms" (<https://howardhinnant.github.io/date_algorithms.html>), for days that are not negative.
fn civil_from_days(day: u64) -> (u64, u8, u8) {
    // Counts from 0000-03-01, so that the leap day is the last of its year; an era is 400 years.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month as u8, of_month as u8)
}

fn days_in_month(year: u64, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests;
