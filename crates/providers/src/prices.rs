//! What well-known models cost, and what they can do: a table that ships with the program, dated and overridden by the config.
//!
//! A model is looked up by the host of its API, because the same model costs something else, or nothing, elsewhere.

use std::collections::HashMap;
use std::sync::OnceLock;

use inshore_domain::{Capabilities, Capability, Currency, Price};
use serde::Deserialize;

use crate::provider::ProviderKind;

const TABLE: &str = include_str!("../data/prices.toml");

/// A model of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// What it charges, and the day on which that was looked up.
    pub price: Price,
    /// Prompt and answer together fit in this many tokens, at this price.
    pub context_window: u32,
    /// Most tokens in one answer, where the provider says so.
    pub max_output: Option<u32>,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// The entry for a model at the API of this host (`api.openai.com`), if there is one.
pub fn lookup(kind: ProviderKind, host: &str, model: &str) -> Option<Listed> {
    let models = table().get(host).filter(|(listed, _)| *listed == kind).map(|(_, models)| models)?;
    models.get(model.strip_prefix("models/").unwrap_or(model)).copied()
}

/// All entries, with host and model, by host and then by model.
pub fn all() -> Vec<(&'static str, &'static str, Listed)> {
    let of_host =
        |(host, (_, models)): (&'static String, &'static (ProviderKind, HashMap<String, Listed>))| {
            models.iter().map(|(model, listed)| (host.as_str(), model.as_str(), *listed))
        };
    let mut all: Vec<_> = table().iter().flat_map(of_host).collect();
    all.sort_unstable_by_key(|(host, model, _)| (*host, *model));
    all
}

fn table() -> &'static Table {
    static READ: OnceLock<Table> = OnceLock::new();
    // A table that cannot be read lists nothing; a test holds that it can.
    READ.get_or_init(|| read(TABLE).unwrap_or_default())
}

/// By host, then by model.
type Table = HashMap<String, (ProviderKind, HashMap<String, Listed>)>;

/// A table that is not as it should be.
#[derive(Debug, PartialEq, thiserror::Error)]
enum BadTable {
    #[error("the table is not TOML of the right shape: {0}")]
    Shape(String),
    #[error("`{0}` is not a day")]
    Day(String),
    #[error("`{0}` is not a currency")]
    Currency(String),
    #[error("`{0}` is not a kind of provider")]
    Kind(String),
    #[error("`{0}` is not a capability")]
    Capability(String),
    #[error("`{0}` is listed twice")]
    Twice(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTable {
    as_of: String,
    currency: String,
    providers: Vec<WireProvider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireProvider {
    kind: String,
    host: String,
    models: Vec<WireModel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireModel {
    name: String,
    input: u64,
    cached_input: u64,
    cache_write: u64,
    output: u64,
    #[serde(default)]
    batch: Option<(u64, u64)>,
    context_window: u32,
    #[serde(default)]
    max_output: Option<u32>,
    capabilities: Vec<String>,
}

fn read(text: &str) -> Result<Table, BadTable> {
    let wire: WireTable = toml::from_str(text).map_err(|error| BadTable::Shape(error.to_string()))?;
    let as_of = day(&wire.as_of).ok_or(BadTable::Day(wire.as_of))?;
    let currency = Currency::new(&wire.currency).ok_or(BadTable::Currency(wire.currency))?;
    let mut table = Table::new();
    for provider in wire.providers {
        let kind = match provider.kind.as_str() {
            "openai" => ProviderKind::OpenAiCompatible,
            "anthropic" => ProviderKind::Anthropic,
            "gemini" => ProviderKind::Gemini,
            _ => return Err(BadTable::Kind(provider.kind)),
        };
        let mut models = HashMap::with_capacity(provider.models.len());
        for model in provider.models {
            let price = Price {
                currency,
                input: model.input,
                cached_input: model.cached_input,
                cache_write: model.cache_write,
                output: model.output,
                batch: model.batch,
                as_of: Some(as_of),
            };
            let listed = Listed {
                price,
                context_window: model.context_window,
                max_output: model.max_output,
                capabilities: capabilities(model.capabilities)?,
            };
            if models.insert(model.name.clone(), listed).is_some() {
                return Err(BadTable::Twice(model.name));
            }
        }
        if table.insert(provider.host.clone(), (kind, models)).is_some() {
            return Err(BadTable::Twice(provider.host));
        }
    }
    Ok(table)
}

/// A day as `2026-11-24`.
fn day(text: &str) -> Option<(u16, u8, u8)> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month, day) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    ((2020..=2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day))
        .then_some((year, month, day))
}

fn capabilities(words: Vec<String>) -> Result<Capabilities, BadTable> {
    words
        .into_iter()
        .map(|word| {
            let known = Capability::ALL.into_iter().find(|capability| capability.as_str() == word);
            known.ok_or(BadTable::Capability(word))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_plausible() {
        let table = read(TABLE).unwrap();
        assert_eq!(table.len(), 6, "OpenAI, Anthropic, Google, Mistral, DeepSeek, Groq");
        for (name, listed) in table.values().flat_map(|(_, models)| models) {
            let price = listed.price;
            let embeds = listed.capabilities.has(Capability::Embeddings);
            assert_ne!(embeds, listed.capabilities.has(Capability::Chat), "{name}");
            assert!(price.input > 0 && (embeds || price.input <= price.output), "{name}: {price:?}");
            assert!(
                price.cached_input <= price.input && price.input <= price.cache_write,
                "{name}: {price:?}"
            );
            for amount in [price.input, price.cached_input, price.cache_write, price.output] {
                assert!(amount < 1_000_000_000, "{name}: {price:?}");
            }
            if let Some((input, output)) = price.batch {
                assert!(input <= price.input && output <= price.output, "{name}: {price:?}");
            }
            assert!((1_000..=10_000_000).contains(&listed.context_window), "{name}");
            assert!(listed.max_output.is_none_or(|most| most < listed.context_window), "{name}");
            assert!(price.as_of.is_some() && price.currency == Currency::USD);
            assert!(name.trim() == name && !name.is_empty());
        }
    }

    #[test]
    fn a_model_is_found_at_its_providers_own_host_only() {
        let openai = lookup(ProviderKind::OpenAiCompatible, "api.openai.com", "gpt-5-mini").unwrap();
        assert_eq!(
            (openai.price.input, openai.price.cached_input, openai.price.output),
            (250_000, 25_000, 2_000_000)
        );
        assert_eq!(openai.price.batch, Some((125_000, 1_000_000)));
        assert_eq!((openai.context_window, openai.max_output), (272_000, Some(128_000)));
        let gemini = |model| lookup(ProviderKind::Gemini, "generativelanguage.googleapis.com", model);
        assert_eq!(gemini("models/gemini-2.5-pro"), gemini("gemini-2.5-pro"));
        assert_eq!(gemini("gemini-2.5-pro").unwrap().context_window, 200_000, "beyond, a token costs more");
        assert_eq!(lookup(ProviderKind::OpenAiCompatible, "localhost", "gpt-5-mini"), None);
        assert_eq!(lookup(ProviderKind::Inshore, "api.openai.com", "gpt-5-mini"), None);
        assert_eq!(lookup(ProviderKind::OpenAiCompatible, "api.openai.com", "gpt-nothing"), None);
    }

    #[test]
    fn all_entries_are_told_in_order() {
        let all = all();
        assert!(all.is_sorted_by_key(|(host, model, _)| (*host, *model)));
        let mini = all.iter().find(|(_, model, _)| *model == "gpt-5-mini").unwrap();
        assert_eq!(Some(mini.2), lookup(ProviderKind::OpenAiCompatible, mini.0, mini.1));
    }

    #[test]
    fn a_broken_table_is_told_apart() {
        let table = |model: &str| {
            format!(
                "as_of = \"2026-11-24\"\ncurrency = \"USD\"\n[[providers]]\nkind = \"openai\"\nhost = \"h\"\nmodels = [{model}]\n"
            )
        };
        let model = r#"{ name = "m", input = 1, cached_input = 1, cache_write = 1, output = 1, context_window = 1, capabilities = ["chat"] }"#;
        assert_eq!(read(&table(model)).unwrap().len(), 1);
        assert_eq!(read(&table(&format!("{model}, {model}"))).unwrap_err(), BadTable::Twice("m".into()));
        assert_eq!(
            read(&table(&model.replace("chat", "fly"))).unwrap_err(),
            BadTable::Capability("fly".into())
        );
        assert!(matches!(read(&table(&model.replace("output", "outptu"))), Err(BadTable::Shape(_))));
        for (from, to, expected) in [
            ("2026-11-24", "24.11.2026", BadTable::Day("24.11.2026".into())),
            ("USD", "dollars", BadTable::Currency("dollars".into())),
            ("\"openai\"", "\"mine\"", BadTable::Kind("mine".into())),
        ] {
            assert_eq!(read(&table(model).replace(from, to)).unwrap_err(), expected);
        }
    }
}
