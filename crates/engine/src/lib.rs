//! On-device inference: llama.cpp in a child process of its own, sandboxed, without network.
//!
//! This crate has two halves that share only [`frames`]:
//! the **parent** half runs in the daemon, is safe Rust and treats the child as untrusted; the **child** half
//! (`inshore engine`) owns llama.cpp and is the only place in the workspace with `unsafe`.

#[cfg(unix)]
pub mod child;
pub mod frames;
pub mod gguf;
pub mod host;
pub mod pool;
pub mod synth;
pub mod template;
pub mod tools;
