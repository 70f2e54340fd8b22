//! The targets there are, with the backends that run them.

use std::collections::HashMap;
use std::sync::Arc;

use inshore_domain::{Backend, Embedder, Target, TargetId};
use inshore_policy::{Prepared, Rules};

/// A target and what runs it.
#[derive(Clone)]
pub struct Registered {
    /// Where work can run.
    pub target: Arc<Target>,
    /// Runs conversations and completions there.
    pub backend: Arc<dyn Backend>,
    /// Makes vectors there.
    pub embedder: Option<Arc<dyn Embedder>>,
}

/// All targets, in the order of the config: the order that ties are broken by. With the rules that decide about them.
#[derive(Default, Clone)]
pub struct Registry {
    targets: Vec<Arc<Target>>,
    by_id: HashMap<TargetId, Registered>,
    prepared: Prepared,
}

impl Registry {
    /// Of several entries with the same id the last one counts.
    pub fn new(entries: Vec<Registered>, rules: &Rules) -> Self {
        let mut registry = Self::default();
        for entry in entries {
            let id = entry.target.id.clone();
            registry.targets.retain(|target| target.id != id);
            registry.targets.push(entry.target.clone());
            registry.by_id.insert(id, entry);
        }
        registry.prepared = rules.prepare(&registry.targets);
        registry
    }

    /// The same targets under other rules.
    pub fn with_rules(&self, rules: &Rules) -> Self {
        Self { prepared: rules.prepare(&self.targets), ..self.clone() }
    }

    /// Targets and rules, ready to decide.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// All targets.
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The target with this id.
    pub fn get(&self, id: &TargetId) -> Option<&Registered> {
        self.by_id.get(id)
    }
}
