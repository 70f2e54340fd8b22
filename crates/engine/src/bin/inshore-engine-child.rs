//! The engine child as a program of its own, for tests and benches of this crate. The product ships it as `inshore engine`.

fn main() -> std::process::ExitCode {
    inshore_engine::child::run_inherited()
}
