//! Rules: which targets a request may use, as Cedar policies, and what the installation prefers.
//!
//! Layout: `source` looks at a text before it is parsed, `parse` parses and validates it, `error` says what is wrong with it;
//! `policy` asks the policies, `words` puts the domain's words into Cedar's, `uses` finds which of them are asked for.
//!
//! Only this folder knows Cedar.

mod error;
mod parse;
mod policy;
mod source;
mod uses;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use inshore_domain::{Facts, Target, TargetId};

use crate::decide::{Objective, Prepared};
use crate::feature::Features;

pub use error::{Place, PolicyError, PolicyErrors};
pub use parse::{SCHEMA, SHIPPED};
pub(crate) use policy::Resource;
pub use source::MAX_POLICIES;
pub(crate) use words::is_loopback;

use policy::Policy;
use uses::Uses;
use words::Asking;

/// What the config says beside the policies.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The target that `auto` and `device` prefer on the device, where several can do the work: the default model.
    pub default_device: Option<TargetId>,
    /// What is preferred where the feature says nothing.
    pub objective: Objective,
    /// What each feature needs.
    pub features: Features,
    /// The groups of each user.
    pub groups: BTreeMap<String, Vec<String>>,
    /// The tags of each target, for policies to ask about.
    pub tags: BTreeMap<TargetId, Vec<String>>,
    /// The policies given are the whole set: without this, they are added to the shipped ones.
    pub without_shipped: bool,
}

/// What holds for the whole installation, beside what each target's own entry in the config says. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rules {
    settings: Arc<Settings>,
    policies: Arc<[Arc<Policy>]>,
    uses: Arc<Uses>,
    warnings: Arc<[PolicyError]>,
}

impl Default for Rules {
    fn default() -> Self {
        static DEFAULT: LazyLock<Rules> = LazyLock::new(|| Rules::shipped(Settings::default()));
        DEFAULT.clone()
    }
}

static SHIPPED_POLICIES: LazyLock<Arc<[Arc<Policy>]>> = LazyLock::new(shipped);

#[expect(clippy::expect_used, reason = "they are a part of the program, and every test of rules reads them")]
fn shipped() -> Arc<[Arc<Policy>]> {
    let (policies, _) = parse::parse(SHIPPED).expect("the shipped policies are valid");
    policies.into_iter().map(Arc::new).collect()
}

impl Rules {
    /// The shipped policies alone. The first time they are read, which takes 6 ms.
    pub fn shipped(settings: Settings) -> Self {
        Self::new(settings, SHIPPED_POLICIES.clone(), Vec::new())
    }

    fn new(settings: Settings, policies: Arc<[Arc<Policy>]>, warnings: Vec<PolicyError>) -> Self {
        let uses = Uses::of(policies.iter().map(|policy| &policy.condition));
        Self { settings: Arc::new(settings), policies, uses: Arc::new(uses), warnings: warnings.into() }
    }

    /// Reads policies, and adds them to the shipped ones unless the settings say otherwise.
    ///
    /// # Errors
    /// When the text is no Cedar, asks about what the schema does not have, or is larger than is read.
    pub fn parse(text: &str, settings: Settings) -> Result<Self, PolicyErrors> {
        let (own, warnings) = parse::parse(text)?;
        let mut policies = if settings.without_shipped { Vec::new() } else { SHIPPED_POLICIES.to_vec() };
        let taken = own.iter().find(|policy| policies.iter().any(|other| other.id == policy.id));
        if let Some(policy) = taken {
            let message = format!("the id `{}` is that of a shipped policy", policy.id);
            return Err(PolicyError::on_line(text, policy.line, message).hint("choose another `@id`").into());
        }
        policies.extend(own.into_iter().map(Arc::new));
        if policies.len() > MAX_POLICIES {
            let message =
                format!("there are {} policies, and {MAX_POLICIES} at most are asked", policies.len());
            return Err(PolicyError::without_place(message).into());
        }
        Ok(Self::new(settings, policies.into(), warnings))
    }

    /// What the config says beside the policies.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ids of all policies, the shipped ones first, each text in its order.
    pub fn policies(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().map(|policy| policy.id.as_str())
    }

    /// What is no error in the text that was read and still may not be meant: a policy that can never apply, say.
    pub fn warnings(&self) -> &[PolicyError] {
        &self.warnings
    }

    /// Adds to the facts of a request what the settings know: the user's groups, what its feature needs, what is preferred.
    pub fn complete(&self, facts: &mut Facts) {
        if let Some(groups) = facts.principal.user.as_ref().and_then(|user| self.settings.groups.get(user)) {
            facts.groups.extend(groups.iter().cloned());
        }
        if let Some(feature) = facts.feature.as_deref().and_then(|name| self.settings.features.get(name)) {
            feature.apply(facts);
        }
        facts.prefer.get_or_insert(self.settings.objective.prefer);
    }

    /// Joins rules and targets, ready to decide. With twenty policies it takes 12 µs a target: it is
    /// done when one of them changes, not for each request.
    pub fn prepare(&self, targets: &[Arc<Target>]) -> Prepared {
        Prepared::new(self.clone(), targets)
    }

    /// The same rules, with tags of more targets.
    pub(crate) fn with_tags(&self, tags: impl IntoIterator<Item = (TargetId, Vec<String>)>) -> Self {
        let mut settings = (*self.settings).clone();
        settings.tags.extend(tags);
        Self { settings: Arc::new(settings), ..self.clone() }
    }

    pub(crate) fn asking(&self, facts: &Facts) -> Asking {
        Asking::new(facts, &self.uses)
    }

    pub(crate) fn resource(&self, target: &Target) -> Resource {
        let tags = self.settings.tags.get(&target.id).map_or(&[][..], Vec::as_slice);
        Resource::new(target, tags, &self.policies)
    }
}

#[cfg(test)]
mod tests;
