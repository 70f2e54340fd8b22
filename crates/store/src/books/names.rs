//! Names packed into bytes: the keys of the maps of accounts and counters. A map is asked with a buffer that is used again,
//! where a key of several texts would be made anew for each question.

use inshore_domain::{Claim, Currency, Measure, Principal, Timestamp, Window};

/// Most bytes of one name in a key. Apps, users and features are words, subjects a few of them; what is longer is cut, and
/// names that begin with the same 128 bytes share a counter or an account, which never lets more be spent.
const MAX_NAME: usize = 128;
/// Stands where a length would, for a name that is not there.
const NONE: u8 = u8::MAX;

/// Cuts a name to what a key holds.
pub(crate) fn short(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or(name)
}

fn pack(into: &mut Vec<u8>, name: Option<&str>) {
    let Some(name) = name.map(short) else { return into.push(NONE) };
    into.push(u8::try_from(name.len()).unwrap_or(NONE - 1));
    into.extend_from_slice(name.as_bytes());
}

fn unpack<'k>(from: &mut &'k [u8]) -> Option<&'k str> {
    let (length, rest) = from.split_first()?;
    if *length == NONE {
        *from = rest;
        return None;
    }
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    *from = rest;
    std::str::from_utf8(name).ok()
}

/// Whose account it is and where: an account but for its currency, which is the installation's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AccountName(Box<[u8]>);

/// The parts of an [`AccountName`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AccountParts<'k> {
    pub(crate) target: &'k str,
    pub(crate) app: &'k str,
    pub(crate) user: Option<&'k str>,
    pub(crate) organisation: Option<&'k str>,
    pub(crate) feature: Option<&'k str>,
}

impl AccountName {
    pub(crate) fn new(parts: &AccountParts<'_>) -> Self {
        let mut bytes = Vec::with_capacity(64);
        pack(&mut bytes, Some(parts.target));
        pack(&mut bytes, Some(parts.app));
        for name in [parts.user, parts.organisation, parts.feature] {
            pack(&mut bytes, name);
        }
        Self(bytes.into())
    }

    /// Of a request for a target; an empty target is none.
    pub(crate) fn of(target: &str, principal: &Principal, feature: Option<&str>) -> Self {
        Self::new(&AccountParts {
            target,
            app: &principal.app,
            user: principal.user.as_deref(),
            organisation: principal.organisation.as_deref(),
            feature,
        })
    }

    pub(crate) fn parts(&self) -> AccountParts<'_> {
        let mut rest = &*self.0;
        AccountParts {
            target: unpack(&mut rest).unwrap_or_default(),
            app: unpack(&mut rest).unwrap_or_default(),
            user: unpack(&mut rest),
            organisation: unpack(&mut rest),
            feature: unpack(&mut rest),
        }
    }
}

/// What names a counter: a [`Claim`] without its limits. Money is counted in a currency; after the installation has changed
/// to another, its counters begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CounterParts<'k> {
    pub(crate) cap: &'k str,
    pub(crate) subject: &'k str,
    pub(crate) measure: Measure,
    pub(crate) window: Window,
    pub(crate) since: u64,
    pub(crate) currency: Option<Currency>,
}

impl<'k> CounterParts<'k> {
    pub(crate) fn of(claim: &'k Claim, currency: Currency) -> Self {
        Self {
            cap: short(&claim.cap),
            subject: short(&claim.subject),
            measure: claim.measure,
            window: claim.window,
            // As a column holds it; later starts are 292 million years away. Requests are told apart by their receipts.
            since: if claim.window == Window::Request {
                0
            } else {
                claim.since.unix_millis().min(i64::MAX as u64)
            },
            currency: (claim.measure == Measure::Money).then_some(currency),
        }
    }

    /// What [`Self::pack_into`] wrote.
    pub(crate) fn unpack(mut key: &'k [u8]) -> Option<Self> {
        let cap = unpack(&mut key)?;
        let subject = unpack(&mut key)?;
        let currency = unpack(&mut key);
        let (measure, rest) = key.split_first()?;
        let (window, rest) = rest.split_first()?;
        Some(Self {
            cap,
            subject,
            measure: Measure::ALL.into_iter().find(|known| *known as u8 == *measure)?,
            window: Window::ALL.into_iter().find(|known| *known as u8 == *window)?,
            since: u64::from_be_bytes(rest.try_into().ok()?),
            currency: currency.and_then(Currency::new),
        })
    }

    /// When its window is over at the latest. Months are taken for the longest there are: this follows from the key alone,
    /// whatever a claim says about its end.
    pub(crate) fn ends(&self) -> Timestamp {
        const HOUR: u64 = 3_600_000;
        let length = match self.window {
            Window::Request => 0,
            Window::Hour => HOUR,
            Window::Day => 24 * HOUR,
            Window::Month => 31 * 24 * HOUR,
        };
        Timestamp::from_unix_millis(self.since.saturating_add(length).min(i64::MAX as u64))
    }

    /// Writes the key into a buffer, over what was in it.
    pub(crate) fn pack_into(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        pack(buffer, Some(self.cap));
        pack(buffer, Some(self.subject));
        pack(buffer, self.currency.as_ref().map(Currency::code));
        buffer.push(self.measure as u8);
        buffer.push(self.window as u8);
        buffer.extend_from_slice(&self.since.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(cap: &str, subject: &str) -> Vec<u8> {
        let mut buffer = vec![1, 2, 3];
        CounterParts {
            cap,
            subject,
            measure: Measure::Money,
            window: Window::Day,
            since: 5,
            currency: Some(Currency::USD),
        }
        .pack_into(&mut buffer);
        buffer
    }

    proptest! {
        #[test]
        fn accounts_come_back_as_they_were(
            target in ".{0,40}", app in ".{0,40}", user: Option<String>, organisation: Option<String>, feature: Option<String>,
        ) {
            let of = |name: &Option<String>| name.as_deref().map(short).map(str::to_owned);
            let (user, organisation, feature) = (of(&user), of(&organisation), of(&feature));
            let (target, app) = (short(&target), short(&app));
            let parts = AccountParts {
                target, app, user: user.as_deref(), organisation: organisation.as_deref(), feature: feature.as_deref(),
            };
            let name = AccountName::new(&parts);
            prop_assert_eq!(name.parts(), parts);
        }

        #[test]
        fn counters_come_back_as_they_were(
            cap in ".{0,40}", subject in ".{0,40}", since: u64, money: bool,
            measure in prop::sample::select(&Measure::ALL[..]), window in prop::sample::select(&Window::ALL[..]),
        ) {
            let currency = money.then_some(Currency::USD);
            let parts =
                CounterParts { cap: short(&cap), subject: short(&subject), measure, window, since, currency };
            let mut key = Vec::new();
            parts.pack_into(&mut key);
            prop_assert_eq!(CounterParts::unpack(&key), Some(parts));
        }

        #[test]
        fn different_names_have_different_keys(a in ".{0,8}", b in ".{0,8}", c in ".{0,8}", d in ".{0,8}") {
            prop_assert_eq!(packed(&a, &b) == packed(&c, &d), (a, b) == (c, d));
        }
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        assert_eq!(short(&"ü".repeat(100)), "ü".repeat(64));
        assert_eq!(packed(&"x".repeat(500), ""), packed(&"x".repeat(128), ""));
    }
}
