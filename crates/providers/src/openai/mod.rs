//! The OpenAI API (`platform.openai.com/docs/api-reference`) and the servers that imitate it: llama.cpp, vLLM, Ollama,
//! LM Studio and most clouds.
//!
//! Layout: [`request`] from the domain to JSON; [`response`] back, for chat completions and completions; [`logprobs`] the
//! two shapes of log-probabilities; [`responses`] the Responses API, which is only passed through; [`embeddings`].

pub(crate) mod embeddings;
mod logprobs;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod responses;
