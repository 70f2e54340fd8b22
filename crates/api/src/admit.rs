//! One [`Request`] out of what each API parsed, with hints, principal and ids.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use inshore_domain::request::{Dialect, Original};
use inshore_domain::{Hints, Principal, Profile, Request, Sensitivity, Strategy, Task, TraceId};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::gate::{App, Caller};
use crate::json;

/// Longest name of a feature: it becomes a key of reports.
const FEATURE_CHARS: usize = 64;
/// Longest name of a user, as long as providers allow in total.
const USER_CHARS: usize = 512;
/// Longest name of a region; those in use have a dozen letters. How many there can be follows from the longest head.
const REGION_CHARS: usize = 64;
/// An hour: whoever can wait longer has no latency budget.
const LATENCY_MS: u64 = 3_600_000;
/// Longest model name. The longest known are paths of model files on hubs.
const MODEL_CHARS: usize = 256;

/// What an API found in a body.
pub(crate) struct Asked<'a> {
    pub(crate) model: String,
    pub(crate) task: Task,
    pub(crate) stream: bool,
    pub(crate) dialect: Dialect,
    /// The body's `metadata`, where hints may be.
    pub(crate) metadata: Option<&'a RawValue>,
    /// The end user, by the API's own field.
    pub(crate) user: Option<String>,
}

/// The request as the runtime takes it.
pub(crate) fn admit(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    asked: Asked<'_>,
    body: Bytes,
) -> Result<Request, Fault> {
    if asked.model.is_empty() || asked.model.chars().count() > MODEL_CHARS {
        return Err(Fault::value("model", format!("`model` must have 1 to {MODEL_CHARS} characters")));
    }
    let mut said = Said::default();
    if let Some(metadata) = asked.metadata {
        said.read_metadata(metadata)?;
    }
    said.read_headers(headers)?;
    let user = said.user.or(asked.user.map(|user| name("user", &user, USER_CHARS)).transpose()?);
    let trace =
        headers.get("traceparent").and_then(|header| TraceId::from_traceparent(header.to_str().ok()?));
    Ok(Request {
        id: caller.id,
        trace: trace.unwrap_or_else(|| TraceId::new(app.parts.clock.random())),
        received_at: caller.at,
        admitted: caller.admitted,
        principal: Principal { app: caller.app.to_string(), user, organisation: None },
        hints: said.hints,
        model: asked.model,
        task: asked.task,
        stream: asked.stream,
        original: Some(Original { dialect: asked.dialect, body }),
    })
}

/// What the caller said beside the request itself. A header counts more than metadata, except that the worse of two
/// sensitivities counts.
#[derive(Default)]
struct Said {
    hints: Hints,
    user: Option<String>,
}

impl Said {
    fn read_headers(&mut self, headers: &HeaderMap) -> Result<(), Fault> {
        for (header, value) in headers {
            if let Some(hint) = hint_name(header) {
                let text = value_text(header, value)?;
                self.take(hint, header.as_str(), text)?;
            }
        }
        Ok(())
    }

    fn read_metadata(&mut self, metadata: &RawValue) -> Result<(), Fault> {
        let mut outcome = Ok(());
        let read = json::each_key(metadata, |key, value| {
            if let (Some(hint), Ok(())) = (key.strip_prefix("inshore_"), &outcome) {
                let field = format!("metadata.{key}");
                outcome = hint_text(&field, value)
                    .and_then(|text| self.take(&hint.replace('_', "-"), &field, &text));
            }
        });
        if read.is_err() {
            return Err(Fault::field("metadata", "invalid_type", "`metadata` is wrong: expected an object"));
        }
        outcome
    }

    fn take(&mut self, hint: &str, field: &str, text: &str) -> Result<(), Fault> {
        match hint {
            "feature" => self.hints.feature = Some(name(field, text, FEATURE_CHARS)?),
            "user" => self.user = Some(name(field, text, USER_CHARS)?),
            "profile" => self.hints.profile = profile(field, text)?,
            "sensitivity" => {
                let said: Sensitivity = text
                    .parse()
                    .map_err(|error| Fault::value(field, format!("`{field}` is wrong: {error}")))?;
                self.hints.sensitivity = self.hints.sensitivity.max(Some(said));
            }
            "latency-ms" => {
                let millis = text.parse().ok().filter(|millis| (1..=LATENCY_MS).contains(millis));
                let Some(millis) = millis else {
                    let message = format!("`{field}` is wrong: expected milliseconds from 1 to {LATENCY_MS}");
                    return Err(Fault::value(field, message));
                };
                self.hints.latency_budget = Some(Duration::from_millis(millis));
            }
            "regions" => {
                let regions = text.split(',').map(|region| name(field, region.trim(), REGION_CHARS));
                self.hints.regions = Some(regions.collect::<Result<_, _>>()?);
            }
            "strategy" => self.hints.strategy = Some(strategy(field, text)?),
            // Read where the answer is written ([`takes_revisions`]).
            "revisions" if matches!(text, "true" | "false") => {}
            "revisions" => {
                return Err(Fault::value(field, format!("`{field}` is wrong: expected true or false")));
            }
            // A mistyped hint must not be lost in silence: it may be the one that keeps a text on the device.
            _ => {
                let message = format!("`{field}` is not a hint that is known here");
                return Err(Fault::field(field, "unknown_hint", message)
                    .hint("known are feature, profile, sensitivity, latency-ms, regions, strategy, revisions and user"));
            }
        }
        Ok(())
    }
}

fn hint_name(header: &HeaderName) -> Option<&str> {
    header.as_str().strip_prefix("x-inshore-")
}

fn value_text<'a>(header: &HeaderName, value: &'a HeaderValue) -> Result<&'a str, Fault> {
    std::str::from_utf8(value.as_bytes())
        .map_err(|_| Fault::value(header.as_str(), format!("`{header}` is not valid UTF-8")))
}

fn hint_text(field: &str, value: &RawValue) -> Result<String, Fault> {
    if value.get().starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(value.get().to_owned());
    }
    serde_json::from_str(value.get())
        .map_err(|_| Fault::field(field, "invalid_type", format!("`{field}` is wrong: expected a string")))
}

fn name(field: &str, text: &str, most: usize) -> Result<String, Fault> {
    let fine = !text.is_empty() && text.chars().count() <= most && !text.chars().any(char::is_control);
    if fine {
        return Ok(text.to_owned());
    }
    Err(Fault::value(field, format!("`{field}` is wrong: expected 1 to {most} printable characters")))
}

/// Whether the caller says that it takes an answer that is revised while it is made.
pub(crate) fn takes_revisions(headers: &HeaderMap) -> bool {
    headers.get("x-inshore-revisions").is_some_and(|value| value == "true")
}

fn strategy(field: &str, text: &str) -> Result<Strategy, Fault> {
    Strategy::ALL.into_iter().find(|strategy| strategy.as_str() == text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        let message = format!("`{field}` is `{shown}`: expected direct, fallback, draft, cascade or split");
        Fault::value(field, message)
    })
}

fn profile(field: &str, text: &str) -> Result<Profile, Fault> {
    match text {
        "realtime" => Ok(Profile::Realtime),
        "async" => Ok(Profile::Async),
        "batch" => Ok(Profile::Batch),
        _ => {
            let shown: String = text.chars().take(64).collect();
            let message = format!("`{field}` is `{shown}`: expected realtime, async or batch");
            Err(Fault::value(field, message))
        }
    }
}

/// Shared by the handlers: the state of the server behind a cheap handle.
pub(crate) type Shared = axum::extract::State<Arc<App>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(headers: &[(&'static str, &str)], metadata: &str) -> Result<Said, Fault> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a header value"));
        }
        let mut said = Said::default();
        said.read_metadata(serde_json::from_str(metadata).expect("JSON"))?;
        said.read_headers(&map)?;
        Ok(said)
    }

    #[test]
    fn hints_come_from_headers_and_metadata() {
        let metadata = r#"{"inshore_feature":"subject-line","inshore_latency_ms":250,"inshore_user":"ann","ticket":{"x":1}}"#;
        let found =
            said(&[("x-inshore-profile", "batch"), ("x-inshore-user", "bob")], metadata).expect("good hints");
        assert_eq!(found.hints.feature.as_deref(), Some("subject-line"));
        assert_eq!(found.hints.latency_budget, Some(Duration::from_millis(250)));
        assert_eq!((found.hints.profile, found.user.as_deref()), (Profile::Batch, Some("bob")));
    }

    #[test]
    fn regions_are_a_list_of_names() {
        let found = said(&[("x-inshore-regions", "eu, ch")], "{}").expect("good hints");
        assert_eq!(found.hints.regions, Some(vec!["eu".to_owned(), "ch".to_owned()]));
        assert!(said(&[("x-inshore-regions", "eu,")], "{}").is_err());
    }

    #[test]
    fn the_worse_sensitivity_counts() {
        for (header, metadata) in [("restricted", "public"), ("public", "restricted")] {
            let metadata = format!(r#"{{"inshore_sensitivity":"{metadata}"}}"#);
            let found = said(&[("x-inshore-sensitivity", header)], &metadata).expect("good hints");
            assert_eq!(found.hints.sensitivity, Some(Sensitivity::Restricted));
        }
    }

    #[test]
    fn bad_hints_are_refused_by_name() {
        for (header, value) in [
            ("x-inshore-sensitivity", "secret"),
            ("x-inshore-sensitivty", "restricted"),
            ("x-inshore-latency-ms", "0"),
            ("x-inshore-latency-ms", "soon"),
            ("x-inshore-profile", "now"),
            ("x-inshore-feature", ""),
        ] {
            let fault = said(&[(header, value)], "{}").err().expect("refused");
            assert_eq!(fault.param.as_deref(), Some(header), "{value}");
        }
        for metadata in
            [r#"{"inshore_profile":"now"}"#, r#"{"inshore_user":[]}"#, r#"{"inshore_x":"y"}"#, "[]", "\"x\""]
        {
            let fault = said(&[], metadata).err().expect("refused");
            assert!(fault.param.as_deref().is_some_and(|param| param.starts_with("metadata")), "{metadata}");
        }
    }
}
