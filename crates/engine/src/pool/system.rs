//! What the machine has: memory and cores.

use std::fmt;

/// How much memory there is. Handed in, so that tests decide.
pub trait Memory: Send + Sync + fmt::Debug {
    /// Bytes that can be taken now without pushing others out; `None` when the system does not say.
    fn available(&self) -> Option<u64>;
    /// Bytes there are at all, for this process.
    fn total(&self) -> Option<u64>;
}

/// The machine's own memory. On Linux `MemAvailable` of `/proc/meminfo` and the limits of all control groups this process is in.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemMemory;

#[cfg(target_os = "linux")]
impl Memory for SystemMemory {
    fn available(&self) -> Option<u64> {
        let info = std::fs::read_to_string("/proc/meminfo").ok();
        let system = info.as_deref().and_then(|info| linux::meminfo(info, "MemAvailable:"));
        [system, linux::group_room()].into_iter().flatten().min()
    }

    fn total(&self) -> Option<u64> {
        let info = std::fs::read_to_string("/proc/meminfo").ok();
        let system = info.as_deref().and_then(|info| linux::meminfo(info, "MemTotal:"));
        [system, linux::group_limit()].into_iter().flatten().min()
    }
}

#[cfg(not(target_os = "linux"))]
impl Memory for SystemMemory {
    fn available(&self) -> Option<u64> {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        Some(system.available_memory()).filter(|bytes| *bytes > 0)
    }

    fn total(&self) -> Option<u64> {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        Some(system.total_memory()).filter(|bytes| *bytes > 0)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::path::{Path, PathBuf};

    const ROOT: &str = "/sys/fs/cgroup";

    pub(super) fn meminfo(text: &str, field: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// The unified hierarchy's groups of this process, innermost first.
    fn groups() -> Vec<PathBuf> {
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let own = Path::new(ROOT).join(own);
        own.ancestors().take_while(|path| path.starts_with(ROOT)).map(Path::to_path_buf).collect()
    }

    fn number(path: &Path) -> Option<u64> {
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    }

    /// The tightest limit; `max` does not parse and is none.
    pub(super) fn group_limit() -> Option<u64> {
        groups().iter().filter_map(|group| number(&group.join("memory.max"))).min()
    }

    /// What is left of the tightest limit. File pages that nobody uses count as free, as in `MemAvailable`.
    pub(super) fn group_room() -> Option<u64> {
        let room = |group: &PathBuf| {
            let limit = number(&group.join("memory.max"))?;
            let used = number(&group.join("memory.current"))?;
            let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
            let idle = stat
                .lines()
                .find_map(|line| line.strip_prefix("inactive_file "))?
                .trim()
                .parse()
                .unwrap_or(0);
            Some(limit.saturating_sub(used.saturating_sub(idle)))
        };
        groups().iter().filter_map(room).min()
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn meminfo_is_read() {
            let text = "MemTotal:       24576000 kB\nMemAvailable:   100 kB\n";
            assert_eq!(super::meminfo(text, "MemAvailable:"), Some(102_400));
            assert_eq!(super::meminfo(text, "SwapFree:"), None);
            assert_eq!(super::meminfo("MemAvailable: lots", "MemAvailable:"), None);
        }
    }
}

/// Physical cores this process may use: threads of the same core share its arithmetic units, so a second one only costs.
pub fn physical_cores() -> u32 {
    let usable = std::thread::available_parallelism()
        .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
    let cores = cores_of_topology().filter(|cores| *cores > 0).unwrap_or(usable);
    cores.min(usable).max(1)
}

/// Distinct sets of sibling threads under `/sys`.
#[cfg(target_os = "linux")]
fn cores_of_topology() -> Option<u32> {
    let mut cores = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("cpu"))
            .and_then(|number| number.parse::<u32>().ok());
        if number.is_some() {
            cores.extend(std::fs::read_to_string(entry.path().join("topology/thread_siblings_list")).ok());
        }
    }
    u32::try_from(cores.len()).ok()
}

#[cfg(not(target_os = "linux"))]
fn cores_of_topology() -> Option<u32> {
    None
}
