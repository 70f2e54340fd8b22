//! `GET /v1/models` and `GET /v1/models/{id}`, in OpenAI's shape and, for Anthropic's client, in its.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use inshore_domain::{Target, Tier};
use serde::Serialize;

use super::settled;
use crate::admit::Shared;
use crate::answer::plain;
use crate::fault::{Fault, Shape, json};
use crate::gate::{App, Caller};

/// A name that a request may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    id: String,
    owner: String,
}

/// All names, each once: the aliases that stand for the best target, then each target by its id, model and aliases.
fn names(targets: &[Arc<Target>]) -> Vec<Name> {
    let mut seen = HashSet::new();
    let mut names = Vec::new();
    let mut add = |id: &str, owner: &str| {
        if seen.insert(id.to_owned()) {
            names.push(Name { id: id.to_owned(), owner: owner.to_owned() });
        }
    };
    for target in targets {
        let own = [&target.configured_as().0, &target.id.0, &target.model];
        for id in own.into_iter().chain(&target.aliases) {
            add(id, target.tier.as_str());
        }
    }
    if !targets.is_empty() {
        add("auto", "inshore");
    }
    for tier in [Tier::Device, Tier::Edge, Tier::Cloud] {
        if targets.iter().any(|target| target.tier == tier) {
            add(tier.as_str(), "inshore");
        }
    }
    names
}

#[derive(Serialize)]
struct List<T> {
    object: &'static str,
    data: Vec<T>,
}

#[derive(Serialize)]
struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
}

/// Anthropic API reference, "List models".
#[derive(Serialize)]
struct AnthropicList {
    data: Vec<AnthropicModel>,
    first_id: Option<String>,
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Serialize)]
struct AnthropicModel {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    display_name: String,
    created_at: &'static str,
}

/// The epoch, by which Anthropic's API says that a model's date is not known.
const UNKNOWN_DATE: &str = "1970-01-01T00:00:00Z";

fn openai(app: &App, name: Name) -> Model {
    Model { id: name.id, object: "model", created: app.started.unix_secs(), owned_by: name.owner }
}

fn anthropic(name: Name) -> AnthropicModel {
    AnthropicModel { kind: "model", display_name: name.id.clone(), id: name.id, created_at: UNKNOWN_DATE }
}

/// `GET /v1/models`
pub(crate) async fn models(State(app): Shared, Extension(caller): Extension<Caller>) -> Response {
    let names = names(&app.parts.runtime.targets());
    if caller.shape == Shape::Anthropic {
        let data: Vec<AnthropicModel> = names.into_iter().map(anthropic).collect();
        let id = |model: Option<&AnthropicModel>| model.map(|model| model.id.clone());
        let (first_id, last_id) = (id(data.first()), id(data.last()));
        return plain(json(&AnthropicList { data, first_id, has_more: false, last_id }));
    }
    let data: Vec<Model> = names.into_iter().map(|name| openai(&app, name)).collect();
    plain(json(&List { object: "list", data }))
}

/// `GET /v1/models/{id}`
pub(crate) async fn model(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let found = names(&app.parts.runtime.targets()).into_iter().find(|name| name.id == id);
    let outcome = match found {
        Some(name) if caller.shape == Shape::Anthropic => Ok(plain(json(&anthropic(name)))),
        Some(name) => Ok(plain(json(&openai(&app, name)))),
        None => {
            let id: String = id.chars().take(128).collect();
            let mut fault = Fault::not_found("model_not_found", format!("there is no model `{id}` here"));
            fault.param = Some("model".to_owned());
            Err(fault)
        }
    };
    settled(&caller, outcome)
}
