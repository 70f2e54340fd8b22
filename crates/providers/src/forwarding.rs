//! Whether a server that is called near sends its work on to somebody else's machine.
//!
//! A target is of the tier `edge` because the config says so. A server there may be a gateway to clouds all the same, and then
//! text goes further than its owner thinks. What gives it away is told to people; it is no proof, and nothing is decided by it.

use http::HeaderMap;
use inshore_domain::Tier;

use crate::protocol::{ModelEntry, Remote};

/// Beginnings of header names that gateways and clouds put on their answers, and whose they are.
const HEADERS: [(&str, &str); 8] = [
    ("x-litellm-", "LiteLLM"),
    ("x-portkey-", "Portkey"),
    ("x-openrouter-", "OpenRouter"),
    ("helicone-", "Helicone"),
    ("cf-aig-", "Cloudflare's AI gateway"),
    ("openai-", "OpenAI"),
    ("anthropic-", "Anthropic"),
    ("x-groq-", "Groq"),
];

/// Owners of models that run on their own machines only. LiteLLM names `openai` for every model it has.
const CLOUDS: [&str; 10] = [
    "openai",
    "anthropic",
    "google",
    "mistralai",
    "deepseek",
    "groq",
    "azure",
    "bedrock",
    "vertex_ai",
    "openrouter",
];

/// What the name of a model gives away: Ollama runs those that end in `-cloud` or `:cloud` in its own cloud, though they are
/// asked for on this machine (`docs.ollama.com/cloud`).
pub fn of_name(model: &str) -> Option<String> {
    let cloud = model.ends_with("-cloud") || model.ends_with(":cloud");
    cloud.then(|| format!("`{model}` is a model that Ollama runs in its cloud"))
}

/// What the head of an answer gives away.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<String> {
    headers.keys().find_map(|name| {
        let (_, whose) = HEADERS.iter().find(|(beginning, _)| name.as_str().starts_with(beginning))?;
        Some(format!("its answers bear `{name}`, a header of {whose}"))
    })
}

/// What a list of models gives away of one of them.
pub(crate) fn of_models(list: &[ModelEntry], model: &str) -> Option<String> {
    let entry = list.iter().find(|entry| entry.name == model)?;
    if let Some(owner) = entry.owner.as_deref().filter(|owner| CLOUDS.contains(owner)) {
        return Some(format!("it says that `{model}` belongs to `{owner}`"));
    }
    entry.priced.then(|| format!("it names a price for `{model}`"))
}

/// What another Inshore says of where it had the work done.
pub(crate) fn of_remote(remote: &Remote) -> Option<String> {
    (remote.tier == Some(Tier::Cloud)).then(|| match &remote.target {
        Some(target) => format!("it had `{target}` answer, which it calls a cloud"),
        None => "it had a cloud answer".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_headers_lists_and_nodes_give_it_away() {
        for (model, expected) in [
            ("gpt-oss:120b-cloud", true),
            ("glm-4.6:cloud", true),
            ("qwen3:8b", false),
            ("cloud-coder:7b", false),
        ] {
            assert_eq!(of_name(model).is_some(), expected, "{model}");
        }
        let headers = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", "application/json".parse().unwrap());
            headers.insert(name, "1".parse().unwrap());
            of_headers(&headers)
        };
        let said = headers("x-litellm-version").unwrap();
        assert_eq!(said, "its answers bear `x-litellm-version`, a header of LiteLLM");
        assert!(headers("openai-processing-ms").is_some());
        assert_eq!(headers("x-request-id"), None);

        let entry = |name: &str, owner: Option<&str>, priced| ModelEntry {
            name: name.into(),
            owner: owner.map(str::to_owned),
            priced,
        };
        let list = [
            entry("a", Some("openai"), false),
            entry("b", Some("library"), false),
            entry("c", None, true),
            entry("d", Some("vllm"), false),
        ];
        let found: Vec<bool> =
            ["a", "b", "c", "d", "e"].iter().map(|model| of_models(&list, model).is_some()).collect();
        assert_eq!(found, [true, false, true, false, false]);

        let remote = |tier| Remote { receipt: None, target: Some("cloud/big".into()), tier };
        assert!(of_remote(&remote(Some(Tier::Cloud))).unwrap().contains("`cloud/big`"));
        assert_eq!(of_remote(&remote(Some(Tier::Device))), None);
        assert_eq!(of_remote(&Remote::default()), None);
    }
}
