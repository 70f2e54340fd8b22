//! The daemon's own endpoints, which the command line uses: status, receipts, shutdown, refreshing the models.
//!
//! JSON in and out; errors are RFC 9457 problem details with `code` and `hint`. The same bearer token as everywhere.

mod decision;
mod feedback;
mod generate;
mod pace;
mod receipt;
mod spend;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use inshore_domain::request::Dialect;
use inshore_domain::{Capability, Health, ReceiptId};
use inshore_runtime::{CacheCounts, Measured};
use serde::Serialize;

use crate::admit::{Shared, admit};
use crate::answer::plain;
use crate::body;
use crate::control::{Status, TargetStatus};
use crate::fault::{Fault, json};
use crate::gate::Caller;
use crate::openai::settled;

pub(crate) use feedback::{feedback, router};
pub(crate) use generate::{generate, resume};
use pace::WirePaces;
pub(crate) use spend::{doubts, reconcile, spend, what_if};

/// Receipts in one listing: more is what `inshore receipt` would never show, and what one answer should not hold.
const RECEIPTS: u32 = 1_000;
/// Receipts when the caller does not say.
const DEFAULT_RECEIPTS: u32 = 20;

#[derive(Serialize)]
struct WireStatus {
    version: String,
    pid: u32,
    uptime_ms: u64,
    resident_bytes: Option<u64>,
    targets: Vec<WireTarget>,
    /// Answers that were given before, since the start.
    cache: WireCache,
}

#[derive(Serialize)]
struct WireCache {
    hits: u64,
    misses: u64,
    answers: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct WireTarget {
    id: String,
    tier: &'static str,
    model: String,
    aliases: Vec<String>,
    destination: Option<String>,
    context_window: u32,
    capabilities: Vec<&'static str>,
    permitted_up_to: Option<&'static str>,
    health: &'static str,
    state: String,
    detail: Vec<Detail>,
    /// How fast its last answers were; `null` when there were none of late.
    pace: Option<WirePaces>,
}

#[derive(Serialize)]
struct Detail {
    name: String,
    value: String,
}

impl WireStatus {
    fn new(status: Status, cache: CacheCounts, measured: &[Measured]) -> Self {
        let CacheCounts { hits, misses, answers, bytes } = cache;
        Self {
            cache: WireCache { hits, misses, answers, bytes },
            version: status.version,
            pid: status.pid,
            uptime_ms: u64::try_from(status.uptime.as_millis()).unwrap_or(u64::MAX),
            resident_bytes: status.resident_bytes,
            targets: status.targets.into_iter().map(|target| WireTarget::new(target, measured)).collect(),
        }
    }
}

impl WireTarget {
    fn new(status: TargetStatus, measured: &[Measured]) -> Self {
        let target = status.target;
        let measured = measured.iter().find(|measured| measured.target == target.id);
        Self {
            id: target.id.0.clone(),
            tier: target.tier.as_str(),
            model: target.model.clone(),
            aliases: target.aliases.clone(),
            destination: target.destination.clone(),
            context_window: target.context_window,
            capabilities: target.capabilities.iter().map(Capability::as_str).collect(),
            permitted_up_to: target.permitted_up_to.map(|level| level.as_str()),
            health: match status.health {
                Health::Up => "up",
                Health::Down => "down",
            },
            state: status.state,
            detail: status.detail.into_iter().map(|(name, value)| Detail { name, value }).collect(),
            pace: measured.map(WirePaces::new),
        }
    }
}

/// `GET /inshore/v1/status`
pub(crate) async fn status(State(app): Shared) -> Response {
    let status = app.parts.control.status().await;
    let runtime = &app.parts.runtime;
    plain(json(&WireStatus::new(status, runtime.cache_counts(), &runtime.measured())))
}

pub(super) fn store_failed(error: &inshore_store::StoreError) -> Fault {
    tracing::error!(%error, "the store could not be read");
    Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "store_unavailable", "the store could not be read")
}

/// `GET /inshore/v1/receipts/{id}`
pub(crate) async fn receipt(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Response {
    let found = async {
        let id: ReceiptId = id.parse().map_err(|error| Fault::value("id", format!("{error}")))?;
        let receipt = app.parts.store.receipt(id).await.map_err(|error| store_failed(&error))?;
        let receipt = receipt
            .ok_or_else(|| Fault::not_found("receipt_not_found", format!("there is no receipt `{id}`")))?;
        Ok(plain(json(&receipt::Wire::from(&receipt))))
    };
    settled(&caller, found.await)
}

#[derive(Serialize)]
struct Receipts<'a> {
    receipts: Vec<receipt::Wire<'a>>,
}

/// `GET /inshore/v1/receipts?limit=n`, newest first.
pub(crate) async fn receipts(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Response {
    let found = async {
        let limit = limit(query.as_deref().unwrap_or_default())?;
        let receipts = app.parts.store.receipts(limit).await.map_err(|error| store_failed(&error))?;
        Ok(plain(json(&Receipts { receipts: receipts.iter().map(receipt::Wire::from).collect() })))
    };
    settled(&caller, found.await)
}

/// The one parameter there is.
fn limit(query: &str) -> Result<u32, Fault> {
    let mut limit = DEFAULT_RECEIPTS;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "limit" {
            let name: String = name.chars().take(64).collect();
            let message = format!("`{name}` is not a parameter that is known here");
            return Err(Fault::field(name, "unknown_parameter", message).hint("known is limit"));
        }
        limit =
            value.parse().ok().filter(|limit| (1..=RECEIPTS).contains(limit)).ok_or_else(|| {
                Fault::value("limit", format!("`limit` must be a number from 1 to {RECEIPTS}"))
            })?;
    }
    Ok(limit)
}

/// `POST /inshore/v1/decide?api=chat`: where a request would run now, and why, without running it. The body is that of the
/// API named (`chat`, `completions`, `responses`, `embeddings`, `messages`); without a name it is told by its fields.
pub(crate) async fn decide(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let decided = async {
        let received = body::read(&app, &headers, body).await?;
        let asked = match decision::dialect(query.as_deref().unwrap_or_default(), &received.bytes)? {
            Dialect::AnthropicMessages => crate::anthropic::asked(&received.bytes),
            dialect => crate::openai::asked(dialect, &received.bytes),
        }?;
        let request = admit(&app, &caller, &headers, asked, received.bytes.clone())?;
        let (facts, decision) = app.parts.runtime.decide(&request);
        Ok(plain(json(&decision::Wire::new(&facts, &decision))))
    };
    settled(&caller, decided.await)
}

/// `POST /inshore/v1/shutdown`
pub(crate) async fn shutdown(State(app): Shared) -> Response {
    #[derive(Serialize)]
    struct Stopping {
        status: &'static str,
    }
    app.parts.control.request_shutdown();
    let mut response = plain(json(&Stopping { status: "stopping" }));
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// `POST /inshore/v1/models/refresh`
pub(crate) async fn refresh_models(State(app): Shared, Extension(caller): Extension<Caller>) -> Response {
    #[derive(Serialize)]
    struct WireRefreshed {
        added: Vec<String>,
        removed: Vec<String>,
    }
    let outcome = app.parts.control.refresh_models().await;
    let outcome = outcome
        .map(|done| plain(json(&WireRefreshed { added: done.added, removed: done.removed })))
        .map_err(|error| {
            let mut fault = Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "refresh_failed", error.message);
            fault.code = error.code.into();
            fault.hint = error.hint;
            fault
        });
    settled(&caller, outcome)
}

#[cfg(test)]
mod tests {
    use super::limit;

    #[test]
    fn the_limit_is_read_strictly() {
        assert_eq!(limit("").ok(), Some(20));
        assert_eq!(limit("limit=1").ok(), Some(1));
        for bad in ["limit=0", "limit=1001", "limit=x", "limit", "last=1", "limit=1&x=2"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
