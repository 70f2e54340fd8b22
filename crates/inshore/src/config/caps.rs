//! `[[caps]]`, `[money]` and `[groups.NAME]`: what may be used elsewhere, and by whom.

use std::collections::{BTreeMap, BTreeSet};

use inshore_domain::{Cap, Covers, Currency, Measure, Price, Window};

use super::layers::Origin;
use super::problem::Problems;
use super::reader::Reader;
use super::{Config, RemoteTarget, values};

/// What `limit` may be, for errors.
const LIMIT_HINT: &str = "write `\"20.00 USD\"`, `\"500000 tokens\"`, `\"1000 calls\"` or, for bytes that leave the device, `\"200 MB\"`";

/// From this share of a cap on users are warned, where it does not say otherwise: early enough to do something about it.
const WARN_PERCENT: u8 = 80;

/// The currency of all caps and prices.
pub(super) fn currency(reader: &mut Reader<'_>) -> Currency {
    let code = reader.text("money.currency");
    Currency::new(&code).unwrap_or_else(|| {
        let message = format!("`{code}` is not a currency");
        reader.wrong("money.currency", message, Some("write its ISO 4217 code, such as `\"EUR\"`"));
        Currency::USD
    })
}

/// All caps.
pub(super) fn caps(reader: &mut Reader<'_>) -> Vec<Cap> {
    let settings = reader.settings;
    let currency = settings.plain.get("money.currency").and_then(|setting| setting.value.as_str());
    let currency = currency.and_then(Currency::new).unwrap_or(Currency::USD);
    let mut seen = BTreeSet::new();
    let mut caps = Vec::new();
    for entry in settings.list("caps") {
        let cap = reader.within("caps", &entry.entries, entry.origin.clone(), |reader| {
            let cap = one(reader, currency);
            if !seen.insert(cap.id.clone()) {
                reader.wrong("id", format!("there are two caps with the id `{}`", cap.id), None);
            }
            cap
        });
        caps.push(cap);
    }
    caps
}

fn one(reader: &mut Reader<'_>, currency: Currency) -> Cap {
    for key in ["id", "limit", "per"] {
        if !reader.has(key) {
            reader.wrong(key, format!("this cap has no `{key}`"), None);
        }
    }
    let (measure, limit) = limit(reader, currency);
    let window = reader.maybe("per", window).unwrap_or(Window::Month);
    let warn = reader.maybe("warn_percent", |reader, path| reader.whole(path, 1, 100));
    Cap {
        id: reader.text("id"),
        measure,
        window,
        limit,
        warn_percent: Some(warn.and_then(|percent| u8::try_from(percent).ok()).unwrap_or(WARN_PERCENT)),
        app: covers(reader, "app"),
        user: covers(reader, "user"),
        organisation: covers(reader, "organisation"),
        feature: covers(reader, "feature"),
        target: covers(reader, "target"),
    }
}

fn window(reader: &mut Reader<'_>, path: &str) -> Window {
    let text = reader.text(path);
    Window::ALL.into_iter().find(|window| window.as_str() == text).unwrap_or_else(|| {
        let message = format!("`{text}` is not a time that a cap can be for");
        reader.wrong(path, message, Some("write `\"request\"`, `\"hour\"`, `\"day\"` or `\"month\"`"));
        Window::Month
    })
}

fn covers(reader: &mut Reader<'_>, key: &str) -> Covers {
    match reader.maybe(key, Reader::text) {
        None => Covers::All,
        Some(word) if word == "each" => Covers::Each,
        Some(name) => Covers::Only(name),
    }
}

fn limit(reader: &mut Reader<'_>, currency: Currency) -> (Measure, u64) {
    let text = reader.maybe("limit", Reader::text).unwrap_or_default();
    match parse_limit(&text, currency) {
        Ok(limit) => limit,
        Err(message) => {
            reader.wrong("limit", message, Some(LIMIT_HINT));
            (Measure::Calls, 0)
        }
    }
}

fn parse_limit(text: &str, currency: Currency) -> Result<(Measure, u64), String> {
    let not_one = || format!("`{text}` is not a limit");
    let (amount, unit) = text.trim().split_once(' ').ok_or_else(not_one)?;
    let unit = unit.trim();
    let whole = || amount.parse::<u64>().map_err(|_| not_one());
    match unit {
        "tokens" => Ok((Measure::Tokens, whole()?)),
        "calls" => Ok((Measure::Calls, whole()?)),
        _ => match Currency::new(unit) {
            Some(given) if given == currency => {
                values::micros(amount).map(|micros| (Measure::Money, micros)).ok_or_else(not_one)
            }
            Some(given) => {
                Err(format!("`{text}` is in {}, and `money.currency` is {}", given.code(), currency.code()))
            }
            None => values::size(text).map(|bytes| (Measure::BytesOut, bytes)).ok_or_else(not_one),
        },
    }
}

/// Amounts are not converted, so all of them must be in one currency.
pub(super) fn same_currency(config: &Config, problems: &mut Problems) {
    let currency = config.money.currency;
    let strange = |target: &&RemoteTarget| {
        target.price.is_some_and(|price| {
            price.currency != currency && price != (Price { currency: price.currency, ..Price::FREE })
        })
    };
    for target in config.targets.iter().filter(strange) {
        let theirs = target.price.map_or(currency, |price| price.currency);
        let message = format!(
            "the price of the target `{}` is in {}, and `money.currency` is {}",
            target.id,
            theirs.code(),
            currency.code()
        );
        problems.add(
            "targets",
            message,
            Some("write all prices in one currency, and name it in `money.currency`".into()),
        );
    }
}

/// Users by group.
pub(super) fn groups(reader: &mut Reader<'_>) -> BTreeMap<String, Vec<String>> {
    let settings = reader.settings;
    let mut all = BTreeMap::new();
    for (name, entries) in settings.names("groups") {
        let users = reader
            .within(&format!("groups.{name}"), entries, Origin::BuiltIn, |reader| reader.texts("users"));
        all.insert(name.to_owned(), users);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_unit() {
        let read = |text: &str| parse_limit(text, Currency::USD);
        assert_eq!(read("20.00 USD"), Ok((Measure::Money, 20_000_000)));
        assert_eq!(read("500000 tokens"), Ok((Measure::Tokens, 500_000)));
        assert_eq!(read("7 calls"), Ok((Measure::Calls, 7)));
        assert_eq!(read("200 MB"), Ok((Measure::BytesOut, 200_000_000)));
        assert_eq!(read("1 EUR"), Err("`1 EUR` is in EUR, and `money.currency` is USD".into()));
        for wrong in ["", "20", "-1 USD", "1.5 calls", "many tokens", "1 parsec", "0.0000001 USD"] {
            assert_eq!(read(wrong), Err(format!("`{wrong}` is not a limit")));
        }
    }
}
