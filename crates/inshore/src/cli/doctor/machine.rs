//! The program and the machine.

use inshore_engine::pool::{Memory, SystemMemory, physical_cores};

use super::{Finding, State};
use crate::cli::VERSION;
use crate::output;

pub(super) fn look() -> Vec<Finding> {
    let memory = SystemMemory;
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "not told".to_owned(), output::bytes);
    let logical = std::thread::available_parallelism()
        .map_or_else(|_| "not told".to_owned(), |count| count.to_string());
    vec![
        Finding::new("program", State::Good, program()),
        Finding::new("processor", State::Good, processor()),
        Finding::new(
            "cores",
            State::Good,
            format!("{} physical, {logical} usable threads", physical_cores()),
        ),
        Finding::new(
            "memory",
            State::Good,
            format!("{} in all, {} free", bytes(memory.total()), bytes(memory.available())),
        ),
    ]
}

fn program() -> String {
    let features: Vec<&str> = [
        ("cuda", cfg!(feature = "cuda")),
        ("metal", cfg!(feature = "metal")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("keyring", cfg!(feature = "keyring")),
    ]
    .into_iter()
    .filter_map(|(name, on)| on.then_some(name))
    .collect();
    let path =
        std::env::current_exe().map_or_else(|_| "unknown".to_owned(), |path| path.display().to_string());
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("inshore {VERSION} for {os} {arch}, built with {}, at {path}", features.join(" "))
}

fn processor() -> String {
    let name = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        text.lines()
            .find_map(|line| line.strip_prefix("model name"))
            .and_then(|rest| rest.split_once(':'))
            .map(|(_, name)| name.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
