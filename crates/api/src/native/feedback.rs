//! `POST /inshore/v1/feedback`: what an app says of an answer that it got; and `GET /inshore/v1/router`: what was learned.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use inshore_domain::ReceiptId;
use inshore_runtime::{Feedback, Heard, Learned};
use serde::{Deserialize, Serialize};

use super::receipt::Cost;
use super::store_failed;
use crate::admit::Shared;
use crate::answer::plain;
use crate::body;
use crate::fault::{Fault, json};
use crate::gate::Caller;
use crate::openai::settled;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    receipt: String,
    #[serde(default)]
    rating: Option<Rating>,
    #[serde(default)]
    retried: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Rating {
    Good,
    Bad,
}

#[derive(Serialize)]
struct Taken {
    status: &'static str,
    detail: &'static str,
}

impl Wire {
    fn said(&self) -> Result<Feedback, Fault> {
        match (&self.rating, self.retried) {
            (Some(Rating::Good), false) => Ok(Feedback::Good),
            (Some(Rating::Bad), false) => Ok(Feedback::Bad),
            (None, true) => Ok(Feedback::Retried),
            (Some(_), true) => Err(Fault::value("retried", "`rating` and `retried` cannot both be said")),
            (None, false) => Err(Fault::value("rating", "neither `rating` nor `retried` is said")
                .hint("say `\"rating\": \"good\"`, `\"rating\": \"bad\"` or `\"retried\": true`")),
        }
    }
}

/// `POST /inshore/v1/feedback`. Only the app that got the answer may rate it; to others its receipt is unknown.
pub(crate) async fn feedback(
    State(app): Shared,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let taken = async {
        let received = body::read(&app, &headers, body).await?;
        let wire: Wire = crate::json::parse(&received.bytes)?;
        let said = wire.said()?;
        let id: ReceiptId =
            wire.receipt.parse().map_err(|error| Fault::value("receipt", format!("{error}")))?;
        let heard = app.parts.runtime.feedback(&caller.app, id, said).await;
        let taken = match heard.map_err(|error| store_failed(&error))? {
            Heard::Unknown => {
                let message = format!("this app has no receipt `{id}`");
                return Err(Fault::not_found("receipt_not_found", message));
            }
            Heard::Learned => Taken { status: "learned", detail: "the router learns from it" },
            Heard::Noted => Taken {
                status: "nothing_to_learn",
                detail: "the router cannot learn from it: no smaller model's answer was kept under a declared risk, or that was \
                    more than a week ago",
            },
        };
        let mut response = plain(json(&taken));
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    };
    settled(&caller, taken.await)
}

#[derive(Serialize)]
struct Report {
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    risk: String,
    family: &'static str,
    device: String,
    cloud: String,
    labels: u32,
    /// Labels from which answers can be kept at all.
    needed: u32,
    tested: Tested,
    /// `null` while none was trained.
    model: Option<String>,
    /// Up to which score answers are kept; `null`: none are.
    keeps_up_to: Option<f64>,
    kept: Share,
    errors: Share,
    as_good: Share,
    calibration: Vec<Bin>,
    spared: Option<Cost>,
}

#[derive(Serialize)]
struct Tested {
    compared: u32,
    rated: u32,
    retried: u32,
}

#[derive(Serialize)]
struct Share {
    hits: u32,
    of: u32,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct Bin {
    expected: f64,
    observed: f64,
    errors: Share,
}

/// A share with its interval, from whatever has these fields.
macro_rules! share {
    ($share:expr) => {
        Share { hits: $share.hits, of: $share.of, low: $share.low, high: $share.high }
    };
}

impl From<Learned> for Cell {
    fn from(learned: Learned) -> Self {
        let (keeps_up_to, needed) = (learned.keeps_up_to(), learned.needed());
        let Learned { risk, family, pair, report } = learned;
        let bins = report.curve.iter();
        Self {
            risk: risk.to_string(),
            family: family.as_str(),
            device: pair.device.0,
            cloud: pair.cloud.0,
            labels: report.labels,
            needed,
            tested: Tested {
                compared: report.tested.compared,
                rated: report.tested.rated,
                retried: report.tested.retried,
            },
            model: report.model.map(|model| model.to_string()),
            keeps_up_to,
            kept: share!(report.kept),
            errors: share!(report.errors),
            as_good: share!(report.as_good),
            calibration: bins
                .map(|bin| Bin { expected: bin.expected, observed: bin.observed, errors: share!(bin.errors) })
                .collect(),
            spared: report.spared.map(Cost::from),
        }
    }
}

/// `GET /inshore/v1/router`: for each risk, family and pair of targets what was learned. Figures are of the labels that tested the
/// threshold; intervals are at 95 %.
pub(crate) async fn router(State(app): Shared) -> Response {
    plain(json(&Report { cells: app.parts.runtime.learned().into_iter().map(Cell::from).collect() }))
}
