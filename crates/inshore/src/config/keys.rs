//! Every key there is.
//!
//! `*` stands for a name that the user chooses: `models.*.context` is `context` below `[models.some-id]`. Keys below
//! `targets` belong to each entry of `[[targets]]`, likewise for `caps`.

/// Plain keys, with their built-in values as TOML.
pub(super) const PLAIN: [(&str, &str); 39] = [
    ("server.listen", "\"127.0.0.1:7467\""),
    ("server.unix_socket", "\"auto\""),
    ("server.max_connections", "512"),
    ("server.body_limit", "\"32 MiB\""),
    ("server.cors_origins", "[]"),
    ("server.allowed_hosts", "[]"),
    ("engine.threads", "\"auto\""),
    ("engine.context", "8192"),
    ("engine.parallel", "8"),
    ("engine.batch", "512"),
    ("engine.keep_alive", "\"5m\""),
    ("engine.memory_limit", "\"auto\""),
    ("engine.gpu_layers", "\"auto\""),
    ("engine.kv_type", "\"f16\""),
    ("engine.require_sandbox", "true"),
    ("engine.retained_prefix_bytes", "\"256 MiB\""),
    ("engine.saved_prefix_bytes", "\"1 GiB\""),
    ("models.dir", "\"auto\""),
    ("models.default", "\"inshore-default\""),
    ("models.builtin", "true"),
    ("models.hub", "\"https://huggingface.co\""),
    ("money.currency", "\"USD\""),
    ("money.in_doubt_expires", "\"24h\""),
    ("policy.file", "\"built-in\""),
    ("policy.with_shipped", "true"),
    ("policy.prefer", "\"local\""),
    ("policy.misses", "\"out\""),
    ("retry.attempts", "3"),
    ("retry.longest_wait", "\"5s\""),
    ("retry.even_if_billed", "false"),
    ("retry.hedge", "false"),
    ("cache.max_bytes", "\"64 MiB\""),
    ("cache.ttl", "\"1h\""),
    ("cache.max_sensitivity", "\"internal\""),
    ("cache.shared", "false"),
    ("machine.metered", "\"auto\""),
    ("machine.keep_warm", "\"used\""),
    ("store.key", "\"auto\""),
    ("log.level", "\"info\""),
];

/// Keys of one `[models.ID]`.
pub(super) const MODEL: [&str; 10] = [
    "context",
    "parallel",
    "keep_alive",
    "threads",
    "gpu_layers",
    "kv_type",
    "template",
    "aliases",
    "adapters",
    "embeddings",
];

/// Keys of one `[[targets]]`.
pub(super) const TARGET: [&str; 31] = [
    "id",
    "tier",
    "kind",
    "base_url",
    "endpoints",
    "model",
    "aliases",
    "key",
    "ca",
    "client_certificate",
    "client_key",
    "permit",
    "max_sensitivity",
    "context_window",
    "max_output",
    "capabilities",
    "price",
    "free",
    "region",
    "quality",
    "tags",
    "connect_timeout",
    "first_byte_timeout",
    "idle_timeout",
    "plain_http",
    "responses_api",
    "stream_usage",
    "batch_window",
    "batch_inputs",
    "batch_across_apps",
    "probe_interval",
];

/// Keys of one `[[caps]]`.
pub(super) const CAP: [&str; 9] =
    ["id", "limit", "per", "warn_percent", "app", "user", "organisation", "feature", "target"];

/// Keys of one `[features.NAME]`.
pub(super) const FEATURE: [&str; 16] = [
    "latency",
    "sensitivity",
    "quality",
    "profile",
    "strategy",
    "checks",
    "risk",
    "patience",
    "plain",
    "split",
    "prefer",
    "stays_here",
    "mask",
    "regions",
    "max_output",
    "cache",
];

/// Keys of one `[features.NAME]` in a plan for `inshore advise`: those of a feature that are needs, and how much of it there is.
pub(super) const PLANNED: [&str; 16] = [
    "latency",
    "sensitivity",
    "quality",
    "profile",
    "strategy",
    "prefer",
    "stays_here",
    "mask",
    "regions",
    "max_output",
    "needs",
    "per_day",
    "per_month",
    "prompt_tokens",
    "answer_tokens",
    "escalated",
];

/// Keys of one `[groups.NAME]`.
pub(super) const GROUP: [&str; 1] = ["users"];

/// Sections that are lists of tables, with the keys of an entry.
pub(super) const LISTED: [(&str, &[&str]); 2] = [("targets", &TARGET), ("caps", &CAP)];

/// Sections whose tables have names that the user chooses, with the keys of one.
pub(super) const NAMED: [(&str, &[&str]); 3] =
    [("models", &MODEL), ("groups", &GROUP), ("features", &FEATURE)];

/// The section names.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    // Each name once: the table above is grouped by section.
    let mut last = "";
    PLAIN
        .iter()
        .filter_map(|(path, _)| path.split_once('.').map(|(section, _)| section))
        .filter(move |section| std::mem::replace(&mut last, section) != *section)
        .chain(LISTED.into_iter().map(|(section, _)| section))
        .chain(NAMED.into_iter().map(|(section, _)| section).filter(|section| *section != "models"))
}

/// The known word most like the given one, when it is like enough to be meant.
pub(crate) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Below this, suggestions read as noise: `size` for `listen`.
    const LIKE_ENOUGH: f64 = 0.45;
    known
        .map(|word| {
            (strsim::normalized_damerau_levenshtein(given, word).max(prefix_likeness(given, word)), word)
        })
        .filter(|(likeness, _)| *likeness >= LIKE_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// People shorten words: `mem` for `memory_limit`.
fn prefix_likeness(given: &str, word: &str) -> f64 {
    if given.len() >= 3 && word.starts_with(given) { 0.5 } else { 0.0 }
}
