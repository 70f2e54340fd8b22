//! Facts and targets for tests.

use std::sync::Arc;

use inshore_domain::{
    Capabilities, Capability, Currency, DeviceState, Facts, Hybrid, Price, Principal, Profile, Sensitivity,
    Target, TargetId, Tier,
};

pub(crate) fn chat() -> Capabilities {
    Capabilities::NONE.with(Capability::Chat)
}

pub(crate) fn target(id: &str, tier: Tier) -> Target {
    let remote = tier != Tier::Device;
    Target {
        id: TargetId(id.into()),
        endpoint_of: None,
        tier,
        model: id.rsplit('/').next().unwrap().into(),
        aliases: Vec::new(),
        destination: remote.then(|| "api.example.test:443".into()),
        context_window: 8192,
        max_output: None,
        capabilities: chat(),
        price: remote.then_some(Price::flat(Currency::USD, 1_000_000, 2_000_000)),
        permitted_up_to: remote.then_some(Sensitivity::Internal),
        region: None,
        quality: None,
    }
}

pub(crate) fn shared<const N: usize>(targets: [Target; N]) -> Vec<Arc<Target>> {
    targets.map(Arc::new).to_vec()
}

pub(crate) fn facts(model: &str) -> Facts {
    Facts {
        model: model.into(),
        feature: None,
        principal: Principal::default(),
        groups: Vec::new(),
        profile: Profile::Realtime,
        sensitivity: Sensitivity::Internal,
        leaving: None,
        findings: Vec::new(),
        prompt_tokens: 100,
        prompt_tokens_at_most: 500,
        max_output_tokens: None,
        answers: 1,
        bytes_at_most: 1_000,
        needs: chat(),
        latency_budget: None,
        quality_floor: None,
        regions: None,
        egress: true,
        prefer: None,
        strategy: None,
        hybrid: Hybrid::default(),
        down: Vec::new(),
        failing: Vec::new(),
        first_token: Vec::new(),
        headroom: Vec::new(),
        device: DeviceState::default(),
    }
}
