//! Tests of the engine through its public interface.
#![cfg(test)]
#![cfg(unix)]

mod child_answers;
mod child_life;
mod child_support;
mod parent_answers;
mod parent_child;
mod parent_gguf;
mod parent_pool;
mod parent_prefixes;
mod parent_support;
mod parent_template;
mod parent_writer;
