//! The `inshore` command.
fn main() {}
