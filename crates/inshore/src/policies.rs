//! The policies and what the config says beside them, as the rules that decisions are made by.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use inshore_domain::TargetId;
use inshore_policy::{PolicyErrors, Rules, Settings};

use crate::config::Config;

/// A policy file longer than this is not one; the policy crate says so too, but only once it is in memory.
const MAX_FILE: u64 = 1 << 20;

/// What the config says beside the policies.
fn settings(config: &Config) -> Settings {
    let mut groups: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for (group, users) in &config.groups {
        for user in users {
            groups.entry(user.clone()).or_default().push(group.clone());
        }
    }
    let tags =
        config.targets.iter().map(|target| (TargetId(target.id.clone()), target.tags.clone())).collect();
    Settings {
        default_device: Some(TargetId(format!("device/{}", config.models.default))),
        objective: config.policy.objective,
        features: config.policy.features.clone(),
        groups,
        tags,
        without_shipped: !config.policy.with_shipped,
    }
}

/// The rules of a config. Reads its policy file.
pub(crate) fn rules(config: &Config) -> Result<Rules> {
    let Some(path) = &config.policy.file else { return Ok(Rules::shipped(settings(config))) };
    let text = read(path)?;
    rules_of(&text, config).map_err(|errors| anyhow::anyhow!("`{}` is wrong\n{errors}", path.display()))
}

/// The rules of a config with this text in place of its policy file.
pub(crate) fn rules_of(text: &str, config: &Config) -> Result<Rules, PolicyErrors> {
    Rules::parse(text, settings(config))
}

/// Reads a file of policies or cases.
pub(crate) fn read(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read `{}`", path.display()))?.len();
    anyhow::ensure!(size <= MAX_FILE, "`{}` has {size} bytes, at most {MAX_FILE} are read", path.display());
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Tells one state of a file from another, by time and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(SystemTime, u64)>);

impl Stamp {
    /// That of the config's policy file now. Without one, or when it is not there, all stamps are equal.
    pub(crate) fn of(config: &Config) -> Self {
        let metadata = config.policy.file.as_ref().and_then(|path| std::fs::metadata(path).ok());
        Self(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }
}
