//! Cases as they are written: TOML. Only this file knows the form.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inshore_domain::{
    Capabilities, Capability, Currency, DeviceState, Facts, Finding, Hybrid, Price, Principal, Profile,
    Sensitivity, Target, TargetId, Tier,
};
use serde::Deserialize;
use toml::Spanned;

use crate::sensitivity::kinds;

use super::{Case, Cases, CasesError, Expected, MAX_CASES, MAX_TEXT};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWire {
    #[serde(default, rename = "target")]
    targets: Vec<TargetWire>,
    #[serde(default, rename = "case")]
    cases: Vec<CaseWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseWire {
    name: Spanned<String>,
    #[serde(default)]
    facts: FactsWire,
    targets: Option<Vec<String>>,
    expect: ExpectWire,
    because: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ExpectWire {
    One(String),
    Order(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetWire {
    id: Spanned<String>,
    endpoint_of: Option<String>,
    tier: String,
    model: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
    host: Option<String>,
    region: Option<String>,
    quality: Option<u8>,
    max_sensitivity: Option<String>,
    price: Option<PriceWire>,
    context_window: Option<u32>,
    max_output: Option<u32>,
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceWire {
    input: u64,
    output: u64,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FactsWire {
    model: Option<String>,
    feature: Option<String>,
    app: String,
    user: Option<String>,
    organisation: Option<String>,
    groups: Vec<String>,
    profile: Option<String>,
    sensitivity: Option<String>,
    findings: Vec<String>,
    prompt_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    answers: Option<u32>,
    needs: Option<Vec<String>>,
    latency_ms: Option<u64>,
    quality_floor: Option<u8>,
    regions: Option<Vec<String>>,
    down: Vec<String>,
    first_token_ms: BTreeMap<String, u64>,
    offline: bool,
    metered: Option<bool>,
    on_battery: Option<bool>,
    battery_percent: Option<u8>,
    hot: Option<bool>,
    memory_available_percent: Option<u8>,
    queue_depth: u32,
}

/// Reads the cases of a text.
pub(super) fn read(text: &str) -> Result<Cases, CasesError> {
    if text.len() > MAX_TEXT {
        return Err(CasesError::new(format!(
            "the cases have {} bytes, and {MAX_TEXT} at most are read",
            text.len()
        )));
    }
    let file: FileWire = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        CasesError { line, message: error.message().trim().replace('\n', " ") }
    })?;
    if file.cases.len() > MAX_CASES {
        return Err(CasesError::new(format!(
            "there are {} cases, and {MAX_CASES} at most are run",
            file.cases.len()
        )));
    }
    let mut cases = Cases::default();
    for wire in file.targets {
        let line = line_of(text, wire.id.span().start);
        let tags = (TargetId(wire.id.get_ref().clone()), wire.tags.clone());
        cases
            .targets
            .push(Arc::new(target(wire).map_err(|message| CasesError { line: Some(line), message })?));
        cases.tags.push(tags);
    }
    for wire in file.cases {
        let line = line_of(text, wire.name.span().start);
        cases.cases.push(case(wire, line).map_err(|message| CasesError { line: Some(line), message })?);
    }
    Ok(cases)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn case(wire: CaseWire, line: usize) -> Result<Case, String> {
    let expect = match wire.expect {
        ExpectWire::One(word) if word == "deny" => Expected::Deny,
        ExpectWire::One(word) => match word.parse() {
            Ok(tier) => Expected::Tier(tier),
            Err(()) => Expected::Order(vec![TargetId(word)], false),
        },
        ExpectWire::Order(ids) => Expected::Order(ids.into_iter().map(TargetId).collect(), true),
    };
    Ok(Case {
        name: wire.name.into_inner(),
        line,
        facts: facts(wire.facts)?,
        targets: wire.targets.map(|ids| ids.into_iter().map(TargetId).collect()),
        expect,
        because: wire.because,
    })
}

fn target(wire: TargetWire) -> Result<Target, String> {
    let id = wire.id.into_inner();
    let tier: Tier = word(&wire.tier, "a tier", &["device", "edge", "cloud"], |word| word.parse().ok())?;
    let model = wire.model.unwrap_or_else(|| id.rsplit('/').next().unwrap_or(&id).to_owned());
    let remote = tier != Tier::Device;
    let usual = [Capability::Chat, Capability::Completion, Capability::Tools, Capability::JsonSchema];
    Ok(Target {
        id: TargetId(id),
        endpoint_of: wire.endpoint_of.map(TargetId),
        tier,
        model,
        aliases: wire.aliases,
        destination: wire.host.filter(|_| remote),
        region: wire.region,
        context_window: wire.context_window.unwrap_or(8_192),
        max_output: wire.max_output,
        capabilities: match wire.capabilities {
            Some(words) => capabilities(&words)?,
            None => usual.into_iter().collect(),
        },
        // A case is about policies: a target without a price is free, so that none is left out for want of one.
        price: remote.then(|| {
            wire.price.map_or(Price::FREE, |price| Price::flat(Currency::USD, price.input, price.output))
        }),
        permitted_up_to: wire.max_sensitivity.as_deref().map(sensitivity).transpose()?.filter(|_| remote),
        quality: wire.quality,
    })
}

fn facts(wire: FactsWire) -> Result<Facts, String> {
    let prompt_tokens = wire.prompt_tokens.unwrap_or(100);
    let millis = |(id, millis)| (TargetId(id), Duration::from_millis(millis));
    Ok(Facts {
        model: wire.model.unwrap_or_else(|| "auto".into()),
        feature: wire.feature,
        principal: Principal { app: wire.app, user: wire.user, organisation: wire.organisation },
        groups: wire.groups,
        profile: wire.profile.as_deref().map(profile).transpose()?.unwrap_or_default(),
        sensitivity: wire.sensitivity.as_deref().map(sensitivity).transpose()?.unwrap_or_default(),
        leaving: None,
        findings: wire.findings.iter().map(|kind| finding(kind)).collect::<Result<_, _>>()?,
        prompt_tokens,
        prompt_tokens_at_most: prompt_tokens.saturating_mul(4),
        max_output_tokens: wire.max_output_tokens,
        answers: wire.answers.unwrap_or(1),
        bytes_at_most: u64::from(prompt_tokens).saturating_mul(8),
        needs: match wire.needs {
            Some(words) => capabilities(&words)?,
            None => Capabilities::NONE.with(Capability::Chat),
        },
        latency_budget: wire.latency_ms.map(Duration::from_millis),
        quality_floor: wire.quality_floor,
        regions: wire.regions,
        egress: true,
        prefer: None,
        strategy: None,
        hybrid: Hybrid::default(),
        down: wire.down.into_iter().map(TargetId).collect(),
        failing: Vec::new(),
        first_token: wire.first_token_ms.into_iter().map(millis).collect(),
        headroom: Vec::new(),
        device: DeviceState {
            offline: wire.offline,
            metered: wire.metered,
            on_battery: wire.on_battery,
            battery_percent: wire.battery_percent,
            hot: wire.hot,
            memory_available_percent: wire.memory_available_percent,
            queue_depth: wire.queue_depth,
        },
    })
}

fn word<T>(
    word: &str,
    what: &str,
    known: &[&str],
    find: impl FnOnce(&str) -> Option<T>,
) -> Result<T, String> {
    find(word).ok_or_else(|| format!("`{word}` is not {what}: expected {}", known.join(", ")))
}

fn sensitivity(text: &str) -> Result<Sensitivity, String> {
    text.parse().map_err(|error: inshore_domain::facts::BadSensitivity| error.to_string())
}

fn profile(text: &str) -> Result<Profile, String> {
    let known = Profile::ALL.map(Profile::as_str);
    word(text, "a profile", &known, |text| Profile::ALL.into_iter().find(|profile| profile.as_str() == text))
}

fn capabilities(words: &[String]) -> Result<Capabilities, String> {
    let known = Capability::ALL.map(Capability::as_str);
    let one = |text: &String| {
        word(text, "a capability", &known, |text| {
            Capability::ALL.into_iter().find(|one| one.as_str() == text)
        })
    };
    words.iter().map(one).collect()
}

/// A finding of that kind, which a detector may know or only this case.
fn finding(kind: &str) -> Result<Finding, String> {
    let kept = kinds::kept(kind)
        .ok_or_else(|| format!("there are more than {} kinds of findings", kinds::MAX_KINDS))?;
    Ok(Finding { kind: kept, span: 0..0, confidence: 100 })
}
