//! One policy, and what Cedar says of it.
//!
//! Cedar's own authorizer builds the whole condition of each policy anew for each question. Here it is built once: what
//! depends on the target and the action alone is answered when targets or rules change ([`Resource::new`]), what is left is an
//! expression that Cedar's evaluator takes as it is. A property test holds both to the same answers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use cedar_policy_core::ast::{
    self, Effect, EntityUID, Expr, Literal, PrincipalOrResourceConstraint, ValueKind,
};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use inshore_domain::Target;

use super::words::{self, Action, Asking};

/// A policy that is ready to be asked.
#[derive(Clone)]
pub(crate) struct Policy {
    /// Its `@id`, or its place in the text.
    pub(super) id: String,
    /// Its `@reason`.
    pub(super) reason: Option<String>,
    /// Where it stands in its text, from 1.
    pub(super) line: usize,
    pub(super) source: ast::Policy,
    /// What is left to ask once action and resource are known to fit.
    pub(super) condition: Expr,
}

impl Policy {
    pub(super) fn new(id: String, reason: Option<String>, line: usize, source: ast::Policy) -> Self {
        let condition = source.non_scope_constraints().cloned().unwrap_or_else(|| Expr::val(true));
        let principal = source.principal_constraint();
        let condition = match principal.as_inner() {
            PrincipalOrResourceConstraint::Any => condition,
            _ => Expr::and(principal.as_expr(), condition),
        };
        Self { id, reason, line, source, condition }
    }

    /// Whether action and resource fit. What cannot be told counts as a forbid that fits and a permit that does not.
    fn fits(&self, action: Action, resource: &Arc<EntityUID>, entities: &Entities) -> bool {
        let scope =
            Expr::and(self.source.action_constraint().as_expr(), self.source.resource_constraint().as_expr());
        let request = words::request(words::nobody(), action, resource, ast::Context::empty());
        let evaluator = Evaluator::new(request, entities, Extensions::all_available());
        answer(&evaluator, &scope, &self.source).unwrap_or(self.source.effect() == Effect::Forbid)
    }
}

fn answer(evaluator: &Evaluator<'_>, expression: &Expr, policy: &ast::Policy) -> Result<bool, String> {
    let value = evaluator.interpret(expression, policy.env()).map_err(|error| error.to_string())?;
    match value.value_kind() {
        ValueKind::Lit(Literal::Bool(answer)) => Ok(*answer),
        _ => Err("its condition is neither true nor false".into()),
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {})", self.id, self.line)
    }
}

/// A target as Cedar sees it, with the policies that can apply to it.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    uid: Arc<EntityUID>,
    entities: Entities,
    infer: Vec<Arc<Policy>>,
    embed: Vec<Arc<Policy>>,
}

impl Resource {
    pub(super) fn new(target: &Target, tags: &[String], policies: &[Arc<Policy>]) -> Self {
        let entity = words::target(target, tags);
        let uid = Arc::new(entity.uid().clone());
        // One entity has no hierarchy to be wrong about.
        let entities = with_entity(Entities::new(), Arc::new(entity)).unwrap_or_else(|_| Entities::new());
        // A policy's head may also name one endpoint.
        let endpoint = words::endpoint(target).map(Arc::new);
        let of = |action| {
            let fits = |policy: &&Arc<Policy>| {
                let mut names = [Some(&uid), endpoint.as_ref()].into_iter().flatten();
                names.any(|name| policy.fits(action, name, &entities))
            };
            // Forbids first: where one applies, no permit needs to be asked.
            let mut fitting: Vec<Arc<Policy>> = policies.iter().filter(fits).cloned().collect();
            fitting.sort_by_key(|policy| policy.source.effect() == Effect::Permit);
            fitting
        };
        let (infer, embed) = (of(Action::Infer), of(Action::Embed));
        Self { uid, entities, infer, embed }
    }

    /// Puts the question to every policy that can apply.
    pub(crate) fn judge(&self, asking: &Asking) -> Judgement {
        let entities = match &asking.user {
            None => Ok(Cow::Borrowed(&self.entities)),
            Some(user) => with_entity(self.entities.clone(), user.clone()).map(Cow::Owned),
        };
        let Ok(entities) = entities else {
            let outcome = Err(vec!["the policies could not be asked".into()]);
            return Judgement { outcome, policies: Vec::new() };
        };
        let request =
            words::request(asking.principal.clone(), asking.action, &self.uid, asking.context.clone());
        let evaluator = Evaluator::new(request, &entities, Extensions::all_available());
        let policies = match asking.action {
            Action::Infer => &self.infer,
            Action::Embed => &self.embed,
        };
        let mut found = Found::default();
        for policy in policies {
            if policy.source.effect() == Effect::Permit && !found.forbids.is_empty() {
                break;
            }
            found.note(policy, answer(&evaluator, &policy.condition, &policy.source));
        }
        found.judgement()
    }
}

fn with_entity(entities: Entities, entity: Arc<ast::Entity>) -> Result<Entities, ()> {
    let none = None::<&NoEntitiesSchema>;
    // An entity names all of its ancestors itself.
    let how = TCComputation::AssumeAlreadyComputed;
    entities.add_entities([entity], none, how, Extensions::all_available()).map_err(drop)
}

/// What the policies say of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// `Err`: not permitted, with the reasons; none where no policy says anything.
    pub(crate) outcome: Result<(), Vec<String>>,
    /// Ids of the policies that say so.
    pub(crate) policies: Vec<String>,
}

#[derive(Default)]
struct Found<'a> {
    /// With the error, where it could not be evaluated: then it forbids all the same.
    forbids: Vec<(&'a Policy, Option<String>)>,
    permits: Vec<&'a Policy>,
    failed_permits: Vec<(&'a Policy, String)>,
}

impl<'a> Found<'a> {
    fn note(&mut self, policy: &'a Policy, answer: Result<bool, String>) {
        match (policy.source.effect(), answer) {
            (_, Ok(false)) => {}
            (Effect::Forbid, Ok(true)) => self.forbids.push((policy, None)),
            (Effect::Forbid, Err(error)) => self.forbids.push((policy, Some(error))),
            (Effect::Permit, Ok(true)) => self.permits.push(policy),
            (Effect::Permit, Err(error)) => self.failed_permits.push((policy, error)),
        }
    }

    fn judgement(self) -> Judgement {
        let failed =
            |policy: &Policy, error: &str| format!("`{}` could not be evaluated: {error}", policy.id);
        if !self.forbids.is_empty() {
            let reason = |(policy, error): &(&Policy, Option<String>)| match (error, &policy.reason) {
                (Some(error), _) => failed(policy, error),
                (None, Some(reason)) => format!("{reason} (`{}`)", policy.id),
                (None, None) => format!("`{}`", policy.id),
            };
            let policies = self.forbids.iter().map(|(policy, _)| policy.id.clone()).collect();
            return Judgement { outcome: Err(self.forbids.iter().map(reason).collect()), policies };
        }
        if self.permits.is_empty() {
            let reasons = self.failed_permits.iter().map(|(policy, error)| failed(policy, error)).collect();
            let policies = self.failed_permits.iter().map(|(policy, _)| policy.id.clone()).collect();
            return Judgement { outcome: Err(reasons), policies };
        }
        Judgement { outcome: Ok(()), policies: self.permits.iter().map(|policy| policy.id.clone()).collect() }
    }
}
