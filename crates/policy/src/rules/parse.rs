//! From text to policies: parsed, and strictly validated against the schema.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use cedar_policy_core::ast;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::parser::parse_policyset;
use cedar_policy_core::validator::validation_errors::AttributeAccess;
use cedar_policy_core::validator::{ValidationError, ValidationMode, Validator, ValidatorSchema};
use miette::Diagnostic;

use super::error::{Place, PolicyError, PolicyErrors};
use super::policy::Policy;
use super::source;

/// What policies may ask about, commented.
pub const SCHEMA: &str = include_str!("inshore.cedarschema");
/// The policies that Inshore ships.
pub const SHIPPED: &str = include_str!("default.cedar");

/// Longest id and longest reason: both stand in receipts, each on a line.
const MAX_ID: usize = 80;
const MAX_REASON: usize = 300;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(validator);

#[expect(
    clippy::expect_used,
    reason = "the schema is a part of the program, and every test of policies reads it"
)]
fn validator() -> Validator {
    let read = ValidatorSchema::from_cedarschema_str(SCHEMA, Extensions::all_available());
    Validator::new(read.expect("the shipped schema is valid").0)
}

/// What policies are held to.
#[cfg(test)]
pub(super) fn schema() -> &'static ValidatorSchema {
    VALIDATOR.schema()
}

/// Policies in the order of their text, and what may be meant otherwise: a policy that can never apply, letters that look like others.
pub(super) type Parsed = (Vec<Policy>, Vec<PolicyError>);

/// Reads policies.
///
/// # Errors
/// Everything that is wrong with the text, as far as one pass can tell: syntax errors hide type errors.
pub(super) fn parse(text: &str) -> Result<Parsed, PolicyErrors> {
    let starts = source::statements(text)?;
    let set = parse_policyset(text).map_err(|errors| {
        let errors = errors.iter().map(|error| told(text, error, error.to_string())).collect();
        PolicyErrors::of(errors)
            .unwrap_or_else(|| PolicyError::without_place("the policies cannot be read").into())
    })?;
    if let Some(template) = set.templates().next() {
        let start = template.loc().map_or(0, cedar_policy_core::parser::Loc::start);
        let error = PolicyError::at(
            text,
            start,
            "this policy has a slot such as `?principal`, and slots are not filled here",
        );
        return Err(error.hint("name the user or the group").into());
    }
    let mut errors = Vec::new();
    let policies = in_order(text, &starts, &set, &mut errors);
    let result = VALIDATOR.validate(&set, ValidationMode::Strict);
    errors.extend(result.validation_errors().map(|error| refused(text, error)));
    if let Some(errors) = PolicyErrors::of(errors) {
        return Err(errors);
    }
    let warnings = result.validation_warnings().map(|warning| told(text, warning, warning.to_string()));
    Ok((policies, warnings.collect()))
}

/// Cedar numbers the policies of a text from `policy0` on, and keeps them in no order.
fn in_order(
    text: &str,
    starts: &[usize],
    set: &ast::PolicySet,
    errors: &mut Vec<PolicyError>,
) -> Vec<Policy> {
    let numbered = |policy: &ast::Policy| {
        let id: &str = policy.id().as_ref();
        id.strip_prefix("policy").and_then(|number| number.parse::<usize>().ok())
    };
    let by_number: BTreeMap<Option<usize>, &ast::Policy> =
        set.policies().map(|policy| (numbered(policy), policy)).collect();
    let mut policies: Vec<Policy> = Vec::with_capacity(by_number.len());
    for (position, policy) in by_number.into_values().enumerate() {
        let start = starts.get(position).copied().unwrap_or_default();
        match named(text, start, position, policy) {
            Ok(policy) if policies.iter().any(|other| other.id == policy.id) => {
                let message = format!("there are two policies with the id `{}`", policy.id);
                errors.push(PolicyError::at(text, start, message));
            }
            Ok(policy) => policies.push(policy),
            Err(error) => errors.push(error),
        }
    }
    policies
}

fn named(text: &str, start: usize, position: usize, policy: &ast::Policy) -> Result<Policy, PolicyError> {
    let line = Place::of(text, start).line;
    let annotation = |name: &str, limit: usize| {
        let found =
            policy.annotations().find(|(key, _)| key.as_ref() == name).map(|(_, value)| value.val.as_str());
        match found {
            Some(value)
                if value.is_empty()
                    || value.chars().count() > limit
                    || value.chars().any(char::is_control) =>
            {
                let message = format!("`@{name}` must be one line of 1 to {limit} characters");
                Err(PolicyError::at(text, start, message))
            }
            found => Ok(found.map(str::to_owned)),
        }
    };
    let id = annotation("id", MAX_ID)?.unwrap_or_else(|| format!("policy-{}-line-{line}", position + 1));
    Ok(Policy::new(id, annotation("reason", MAX_REASON)?, line, policy.clone()))
}

/// A type error, in our words where Cedar's would repeat themselves for each action.
fn refused(text: &str, error: &ValidationError) -> PolicyError {
    match error {
        ValidationError::UnsafeAttributeAccess(access) => {
            let (owner, attribute) = accessed(&access.attribute_access);
            let mut error = told(text, error, format!("unknown attribute `{attribute}` of {owner}"));
            error.hint = access.suggestion.as_ref().map(|suggestion| format!("did you mean `{suggestion}`?"));
            error
        }
        ValidationError::UnsafeOptionalAttributeAccess(access) => {
            let (owner, attribute) = accessed(&access.attribute_access);
            told(text, error, format!("the attribute `{attribute}` of {owner} may be absent"))
                .hint(format!("ask `has {attribute}` first, as in `context has metered && context.metered`"))
        }
        ValidationError::InvalidEnumEntity(word) => {
            let known: Vec<String> =
                word.err.choices.iter().map(|word| format!("`{}`", word.escaped())).collect();
            told(text, error, format!("there is no `{}`", word.err.uid))
                .hint(format!("known are {}", known.join(", ")))
        }
        ValidationError::IncompatibleTypes(types) => {
            let types: Vec<String> = types.types.iter().map(ToString::to_string).collect();
            let example = EXAMPLES.iter().find(|(name, _)| types.iter().any(|kind| kind == name));
            let hint = example.map_or_else(
                || "both sides must be of one type".to_owned(),
                |(name, example)| format!("write a `{name}` as in `{example}`"),
            );
            told(text, error, error.to_string()).hint(hint)
        }
        _ => told(text, error, error.to_string()),
    }
}

/// How a value of a type is written, for those that are easily taken for texts.
const EXAMPLES: [(&str, &str); 4] = [
    ("Tier", r#"Tier::"cloud""#),
    ("Sensitivity", r#"Sensitivity::"public""#),
    ("Profile", r#"Profile::"batch""#),
    ("Capability", r#"Capability::"tools""#),
];

fn accessed(access: &AttributeAccess) -> (String, &str) {
    let (owner, attributes) = match access {
        AttributeAccess::EntityLUB(types, attributes) => {
            let owner =
                types.get_single_entity().map_or_else(|| "several types".into(), |one| format!("`{one}`"));
            (owner, attributes)
        }
        AttributeAccess::Context(_, attributes) => ("`context`".to_owned(), attributes),
        AttributeAccess::Other(attributes) => ("a record".to_owned(), attributes),
    };
    (owner, attributes.first().map_or("", |attribute| attribute.as_str()))
}

/// Cedar's diagnostic, with its first label as the place.
fn told(text: &str, error: &dyn Diagnostic, message: String) -> PolicyError {
    // "for policy `policy3`, ...": the place says more, and the number is not the policy's name.
    let message = match message.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
        Some((_, message)) => message.to_owned(),
        None => message,
    };
    let label = error.labels().and_then(|mut labels| labels.next());
    let told = match &label {
        Some(label) => PolicyError::at(text, label.offset(), message),
        None => PolicyError::without_place(message),
    };
    let hint = error.help().map(|help| help.to_string()).or_else(|| Some(label?.label()?.to_owned()));
    PolicyError { hint, ..told }
}
