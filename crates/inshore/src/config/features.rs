//! `[features.NAME]`, `[policy]` and `[cache]`: what each feature needs, which rules hold, which answers are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use inshore_domain::{Plain, Prefer, Profile, Sensitivity, Split, Strategy};
use inshore_policy::router::{BadRisk, Declared};
use inshore_policy::verify::{Check, MOST_CHECKS};
use inshore_policy::{Feature, Features, Misses, Objective};
use inshore_runtime::CacheSettings;

use super::layers::Origin;
use super::reader::Reader;

/// `[policy]`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy {
    /// `None`: the shipped policies alone.
    pub(crate) file: Option<PathBuf>,
    /// The file's policies are added to the shipped ones.
    pub(crate) with_shipped: bool,
    pub(crate) objective: Objective,
    pub(crate) features: Features,
}

pub(super) fn policy(reader: &mut Reader<'_>) -> Policy {
    let file = match reader.text("policy.file").as_str() {
        "built-in" => None,
        _ => Some(reader.path("policy.file")),
    };
    let misses = [("out", Misses::Out), ("last", Misses::Last)];
    let objective = Objective {
        prefer: reader.choice("policy.prefer", &prefers()),
        misses: reader.choice("policy.misses", &misses),
    };
    Policy { file, with_shipped: reader.flag("policy.with_shipped"), objective, features: features(reader).0 }
}

pub(super) fn cache(reader: &mut Reader<'_>) -> CacheSettings {
    CacheSettings {
        max_bytes: usize::try_from(reader.size("cache.max_bytes")).unwrap_or(usize::MAX),
        ttl: reader.duration("cache.ttl"),
        max_sensitivity: reader.choice("cache.max_sensitivity", &levels()),
        shared: reader.flag("cache.shared"),
        features: features(reader).1,
    }
}

fn prefers() -> Vec<(&'static str, Prefer)> {
    Prefer::ALL.into_iter().map(|prefer| (prefer.as_str(), prefer)).collect()
}

fn levels() -> Vec<(&'static str, Sensitivity)> {
    Sensitivity::ALL.into_iter().map(|level| (level.as_str(), level)).collect()
}

/// The presets with what the config says of each feature, and the features whose answers are kept.
fn features(reader: &mut Reader<'_>) -> (Features, BTreeSet<String>) {
    let settings = reader.settings;
    let mut all = Features::default();
    let mut cached = BTreeSet::new();
    for (name, entries) in settings.names("features") {
        let (feature, cache) =
            reader.within(&format!("features.{name}"), entries, Origin::BuiltIn, |reader| {
                // What is not said stays as the preset of this name has it.
                let preset = all.get(name).cloned().unwrap_or_default();
                (one(reader, preset), reader.flag("cache"))
            });
        all.set(name, feature);
        if cache {
            cached.insert(name.to_owned());
        }
    }
    (all, cached)
}

/// One feature: what is not said stays as the preset has it.
pub(super) fn one(reader: &mut Reader<'_>, preset: Feature) -> Feature {
    let strategies = Strategy::ALL.map(|strategy| (strategy.as_str(), strategy));
    let plains = Plain::ALL.map(|plain| (plain.as_str(), plain));
    let splits = Split::ALL.map(|split| (split.as_str(), split));
    let profiles: BTreeMap<&str, Profile> =
        Profile::ALL.into_iter().map(|profile| (profile.as_str(), profile)).collect();
    let profiles: Vec<(&str, Profile)> = profiles.into_iter().collect();
    let percent =
        |reader: &mut Reader<'_>, path: &str| u8::try_from(reader.whole(path, 0, 100)).unwrap_or(100);
    Feature {
        latency_budget: reader.maybe("latency", Reader::duration).or(preset.latency_budget),
        sensitivity: reader
            .maybe("sensitivity", |reader, path| reader.choice(path, &levels()))
            .or(preset.sensitivity),
        quality_floor: reader.maybe("quality", percent).or(preset.quality_floor),
        profile: reader
            .maybe("profile", |reader, path| reader.choice(path, &profiles))
            .unwrap_or(preset.profile),
        strategy: reader
            .maybe("strategy", |reader, path| one_of(reader, path, &strategies))
            .unwrap_or(preset.strategy),
        checks: reader.maybe("checks", checks).or(preset.checks),
        risk: reader.maybe("risk", risk).unwrap_or(preset.risk),
        patience: reader.maybe("patience", Reader::duration).or(preset.patience),
        plain: reader.maybe("plain", |reader, path| reader.choice(path, &plains)).or(preset.plain),
        split: reader.maybe("split", |reader, path| reader.choice(path, &splits)).or(preset.split),
        prefer: reader.maybe("prefer", |reader, path| reader.choice(path, &prefers())).or(preset.prefer),
        stays_here: reader.maybe("stays_here", Reader::flag).unwrap_or(preset.stays_here),
        mask: reader.maybe("mask", Reader::flag).unwrap_or(preset.mask),
        regions: reader.maybe("regions", Reader::texts).or(preset.regions),
        max_output_tokens: reader
            .maybe("max_output", |reader, path| reader.whole(path, 1, u32::MAX))
            .or(preset.max_output_tokens),
    }
}

/// A declared risk.
fn risk(reader: &mut Reader<'_>, path: &str) -> Option<Declared> {
    let parsed = reader.text(path).parse();
    parsed.map_err(|error: BadRisk| reader.wrong(path, error.to_string(), None)).ok()
}

/// The checks of a cascade, each by its name.
fn checks(reader: &mut Reader<'_>, path: &str) -> Vec<Check> {
    let texts = reader.texts(path);
    if texts.len() > MOST_CHECKS {
        let message = format!("has {} checks, and {MOST_CHECKS} are the most there can be", texts.len());
        reader.wrong(path, message, None);
        return Vec::new();
    }
    let mut checks = Vec::new();
    for text in texts {
        match text.parse::<Check>() {
            Ok(check) => checks.push(check),
            Err(error) => reader.wrong(path, error.to_string(), None),
        }
    }
    checks
}

/// A choice of something that has no default of its own.
fn one_of<T: Copy>(reader: &mut Reader<'_>, path: &str, choices: &[(&str, T)]) -> Option<T> {
    let places: Vec<(&str, Option<usize>)> =
        choices.iter().enumerate().map(|(place, (word, _))| (*word, Some(place))).collect();
    let place: Option<usize> = reader.choice(path, &places);
    place.and_then(|place| choices.get(place)).map(|(_, choice)| *choice)
}
