//! Where a target is: at one address, or at several.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::reader::Reader;
use super::targets::{KeySource, key, key_source};

/// More endpoints than this are no places for one machine to choose from: the largest clouds have some thirty regions, and each
/// endpoint is a target to be decided about.
const MOST: usize = 16;
/// What an endpoint may say.
const KEYS: [&str; 3] = ["base_url", "region", "key"];
const HINT: &str = "endpoints = [{ base_url = \"https://eu.example/v1\", region = \"eu\" }, …], each with a `key` of its own if it needs one";

/// One place of a target.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) base_url: String,
    pub(super) region: Option<String>,
    pub(super) key: Option<KeySource>,
    /// One of several, whose region is part of its name.
    pub(super) endpoint: bool,
}

/// Reads `endpoints`, or `base_url` and `region` where there is one place only.
pub(super) fn places(reader: &mut Reader<'_>) -> Vec<Place> {
    let key = reader.maybe("key", key).flatten();
    if reader.value("endpoints").is_none() {
        if !reader.has("base_url") {
            reader.wrong("base_url", "this target has no `base_url`".to_owned(), None);
        }
        let base_url = reader.maybe("base_url", Reader::web_address).unwrap_or_default();
        let region = reader.maybe("region", Reader::text);
        return vec![Place { base_url, region, key, endpoint: false }];
    }
    for alone in ["base_url", "region"] {
        if reader.has(alone) {
            let message = format!("`{alone}` is said by each of the `endpoints`, not beside them");
            reader.wrong(alone, message, None);
        }
    }
    let items = reader.items("endpoints");
    if items.is_empty() || items.len() > MOST {
        let message = format!("a target has 1 to {MOST} endpoints, not {}", items.len());
        reader.wrong("endpoints", message, Some(HINT));
    }
    let mut regions = BTreeSet::new();
    let mut places = Vec::new();
    for item in items.iter().take(MOST) {
        let Value::Table(table) = item else {
            reader.wrong("endpoints", "each endpoint is a table".to_owned(), Some(HINT));
            continue;
        };
        let place = endpoint(reader, table, key.as_ref());
        if let Some(region) = &place.region
            && !regions.insert(region.clone())
        {
            reader.wrong("endpoints", format!("there are two endpoints in the region `{region}`"), None);
        }
        places.push(place);
    }
    places
}

fn endpoint(reader: &mut Reader<'_>, table: &Table, shared: Option<&KeySource>) -> Place {
    if let Some(strange) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let shown: String = strange.chars().take(80).collect();
        reader.wrong("endpoints", format!("an endpoint has no `{shown}`"), Some(HINT));
    }
    let text = |key: &str| table.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (base_url, region) = (text("base_url"), text("region"));
    match base_url {
        Some(base_url) => reader.check_web_address("endpoints", base_url),
        None => reader.wrong("endpoints", "this endpoint has no `base_url`".to_owned(), Some(HINT)),
    }
    if region.is_none() {
        reader.wrong("endpoints", "this endpoint has no `region`, which is its name".to_owned(), Some(HINT));
    }
    let own = table.get("key").and_then(|value| key_source(reader, "endpoints", value));
    Place {
        base_url: base_url.unwrap_or_default().to_owned(),
        region: region.map(str::to_owned),
        key: own.or_else(|| shared.cloned()),
        endpoint: true,
    }
}
