//! The Anthropic Messages API (`docs.anthropic.com/en/api/messages`).
//!
//! Layout: [`request`] from the domain to JSON; [`response`] back, streamed and whole.

pub(crate) mod request;
pub(crate) mod response;

/// The version of the API spoken here; the only one there has been since 2023.
pub(crate) const VERSION: &str = "2023-06-01";

/// Members of a message request that `/v1/messages/count_tokens` takes; it refuses all others.
pub(crate) const COUNTED_MEMBERS: [&str; 9] = [
    "messages",
    "model",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "context_management",
    "mcp_servers",
];
