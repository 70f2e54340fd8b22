//! The engine: a child is started with the default model, and tries to get out of its sandbox.

use std::sync::Arc;

use inshore_engine::frames::Loaded as Told;
use inshore_engine::pool::DevicePool;

use super::{Finding, State};
use crate::cli::Context;
use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::daemon::models;

pub(super) async fn look(context: &Context, loaded: &Loaded) -> Vec<Finding> {
    let catalogue = context.catalogue(loaded);
    let default = &loaded.config.models.default;
    let entry = match catalogue.find(default) {
        Ok(entry) => entry,
        Err(error) => return vec![Finding::new("engine", State::Bad, format!("not tried: {error:#}"))],
    };
    let mut engine = loaded.config.engine.clone();
    // The point is to see what is in force, also where it is not enough to serve with.
    engine.require_sandbox = false;
    let pool = match models::pool(&engine, None, Arc::new(SystemClock)) {
        Ok(pool) => pool,
        Err(error) => return vec![Finding::new("engine", State::Bad, format!("{error:#}"))],
    };
    let id = entry.manifest.id.clone();
    pool.set_models(models::device_models(&[entry], &loaded.config.models.overrides)).await;
    let findings = tried(&pool, &id, loaded.config.engine.require_sandbox).await;
    pool.shutdown().await;
    findings
}

async fn tried(pool: &DevicePool, id: &str, required: bool) -> Vec<Finding> {
    let (told, attempts) = match pool.probe(id).await {
        Ok(probed) => probed,
        Err(error) => return vec![Finding::new("engine", State::Bad, error.to_string())],
    };
    let mut findings = Vec::new();
    let Told { devices, threads, context, sandbox, load_millis, .. } = told;
    let detail = format!(
        "loaded `{id}` in {load_millis} ms on {}, {threads} threads, {context} tokens of context",
        devices.join(" + ")
    );
    findings.push(Finding::new("engine", State::Good, detail));
    let in_force = if sandbox.is_empty() { "nothing".to_owned() } else { sandbox.join(" + ") };
    findings.push(Finding::new(
        "sandbox",
        if sandbox.is_empty() { State::Notice } else { State::Good },
        in_force,
    ));
    if let Some(estimate) =
        pool.status().into_iter().find(|status| status.id == id).and_then(|status| status.estimate)
    {
        findings.push(Finding::new("model memory", State::Good, estimate.to_string()));
    }
    let open: Vec<String> = attempts
        .iter()
        .filter(|attempt| !attempt.denied)
        .map(|attempt| format!("{} ({})", attempt.what, attempt.detail))
        .collect();
    let denied = attempts.len() - open.len();
    findings.push(match (open.is_empty(), required) {
        (true, _) => Finding::new(
            "escapes",
            State::Good,
            format!("{denied} of {denied} attempts denied: {}", listed(&attempts)),
        ),
        (false, required) => {
            let state = if required { State::Bad } else { State::Notice };
            Finding::new("escapes", state, format!("not denied: {}", open.join(", ")))
        }
    });
    findings
}

fn listed(attempts: &[inshore_engine::frames::Attempt]) -> String {
    attempts.iter().map(|attempt| attempt.what.as_str()).collect::<Vec<_>>().join(", ")
}
