//! The state of this machine, as far as the operating system tells: network, battery, heat, memory.
//!
//! Read from Linux's `/proc` and `/sys`; elsewhere nothing is known, which no policy takes for bad news. Whether the network is
//! metered is said by the config, or found by whoever asks for it (`crate::network`) and told to the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use inshore_domain::{Clock, DeviceState};
use inshore_runtime::Sensor;

/// How old a reading may be: a cable that is pulled out is noticed within this time, and reading takes some 50 µs.
const FRESH: Duration = Duration::from_secs(1);
/// The longest of these files, the routing tables, have a line for each route.
const MAX_FILE: usize = 256 << 10;
/// Entries looked at in a folder of `/sys`; laptops have two batteries and a dozen thermal zones.
const MAX_ENTRIES: usize = 64;
/// Trip points of a thermal zone (the kernel's own limit, `THERMAL_MAX_TRIPS`).
const MAX_TRIPS: usize = 12;

/// Reads the state, at most once in a while.
pub(crate) struct Machine {
    clock: Arc<dyn Clock>,
    /// `/`, or a folder that stands for it in tests.
    root: PathBuf,
    last: Mutex<Option<(Instant, DeviceState)>>,
    metered: Mutex<Metered>,
}

/// Whether the network is paid by the byte.
#[derive(Debug, Clone, Copy, Default)]
struct Metered {
    /// What the config says goes before what was found.
    said: Option<bool>,
    found: Option<bool>,
}

impl Machine {
    pub(crate) fn new(clock: Arc<dyn Clock>, root: impl Into<PathBuf>) -> Self {
        Self { clock, root: root.into(), last: Mutex::default(), metered: Mutex::default() }
    }

    /// Whether the network is metered, as the config says; `None`: as it is found to be.
    pub(crate) fn say_metered(&self, said: Option<bool>) {
        self.metered.lock().unwrap_or_else(PoisonError::into_inner).said = said;
    }

    /// Whether the network was found to be metered.
    pub(crate) fn found_metered(&self, found: Option<bool>) {
        self.metered.lock().unwrap_or_else(PoisonError::into_inner).found = found;
    }

    fn last(&self) -> DeviceState {
        let now = self.clock.monotonic();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, state)) if now.saturating_duration_since(at) < FRESH => state,
            _ => {
                let state = self.read();
                *last = Some((now, state));
                state
            }
        }
    }

    fn read(&self) -> DeviceState {
        let (on_battery, battery_percent) = power(&self.root.join("sys/class/power_supply"));
        DeviceState {
            offline: offline(&self.root.join("proc/net")),
            metered: None,
            on_battery,
            battery_percent,
            hot: hot(&self.root.join("sys/class/thermal")),
            memory_available_percent: memory(&self.root.join("proc/meminfo")),
            queue_depth: 0,
        }
    }
}

impl Sensor for Machine {
    fn state(&self) -> DeviceState {
        let Metered { said, found } = *self.metered.lock().unwrap_or_else(PoisonError::into_inner);
        DeviceState { metered: said.or(found), ..self.last() }
    }
}

fn text(path: &Path) -> Option<String> {
    let mut text = fs::read_to_string(path).ok()?;
    text.truncate(text.floor_char_boundary(MAX_FILE));
    Some(text)
}

fn number(path: &Path) -> Option<i64> {
    text(path)?.trim().parse().ok()
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.take(MAX_ENTRIES).map(|entry| entry.path())
}

/// No route leaves this machine. A network without a way to the internet is not offline: an edge node may be on it.
fn offline(net: &Path) -> bool {
    // `route` has a line of titles and lists no loopback routes; in `ipv6_route` the interface comes last, `lo` is there even
    // without a network, and so are routes that are only there to refuse (flag RTF_REJECT, 0x200).
    let Some(four) = text(&net.join("route")) else { return false };
    let routed =
        four.lines().skip(1).any(|line| line.split_whitespace().next().is_some_and(|name| name != "lo"));
    let six = text(&net.join("ipv6_route")).unwrap_or_default();
    let routed_six = six.lines().any(|line| {
        let mut fields = line.split_whitespace().rev();
        let (name, flags) = (fields.next(), fields.next());
        let refuses = flags
            .and_then(|flags| u32::from_str_radix(flags, 16).ok())
            .is_none_or(|flags| flags & 0x200 != 0);
        name.is_some_and(|name| name != "lo") && !refuses
    });
    !routed && !routed_six
}

/// Whether it runs on a battery, and the charge of the fullest. A mouse's battery (`scope` is `Device`) is none.
fn power(folder: &Path) -> (Option<bool>, Option<u8>) {
    let mut on_battery = None;
    let mut percent = None;
    for supply in entries(folder) {
        let is = |name: &str, word: &str| text(&supply.join(name)).is_some_and(|text| text.trim() == word);
        if !is("type", "Battery") || is("scope", "Device") {
            continue;
        }
        on_battery = Some(on_battery.unwrap_or(false) || is("status", "Discharging"));
        let charge =
            number(&supply.join("capacity")).and_then(|charge| u8::try_from(charge.clamp(0, 100)).ok());
        percent = percent.max(charge);
    }
    (on_battery, percent)
}

/// A thermal zone has reached a temperature at which the kernel begins to throttle.
fn hot(folder: &Path) -> Option<bool> {
    let mut known = None;
    for zone in entries(folder) {
        let Some(now) = number(&zone.join("temp")) else { continue };
        for trip in 0..MAX_TRIPS {
            let kind = text(&zone.join(format!("trip_point_{trip}_type")));
            let Some(kind) = kind else { break };
            let at = number(&zone.join(format!("trip_point_{trip}_temp"))).filter(|at| *at > 0);
            if let (Some(at), "passive" | "hot" | "critical") = (at, kind.trim()) {
                known = Some(known.unwrap_or(false) || now >= at);
            }
        }
    }
    known
}

fn memory(meminfo: &Path) -> Option<u8> {
    let text = text(meminfo)?;
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (total, available) = (field("MemTotal:")?, field("MemAvailable:")?);
    u8::try_from(available.checked_mul(100)?.checked_div(total)?.min(100)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\n";
    const REFUSING: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";

    /// The state that these files stand for.
    fn state(files: &[(&str, &str)]) -> DeviceState {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Machine::new(Arc::new(SystemClock), root.path()).state()
    }

    #[test]
    fn without_files_nothing_is_known_and_nothing_is_wrong() {
        assert_eq!(state(&[]), DeviceState::default());
    }

    #[test]
    fn a_machine_without_routes_is_offline() {
        let of = |four: &str, six: &str| {
            state(&[("proc/net/route", &format!("{ROUTES}{four}")), ("proc/net/ipv6_route", six)]).offline
        };
        assert!(of("", REFUSING));
        assert!(!of("eth0\t0000000A\t00000000\t0001\n", ""));
        assert!(!of("", &REFUSING.replace("00200200", "00000001").replace("lo", "wlan0")));
    }

    #[test]
    fn what_the_config_says_of_the_network_goes_before_what_was_found() {
        let machine = Machine::new(Arc::new(SystemClock), "/nowhere/at-all");
        let metered = |said, found| {
            machine.say_metered(said);
            machine.found_metered(found);
            machine.state().metered
        };
        assert_eq!(metered(None, None), None);
        assert_eq!(metered(None, Some(true)), Some(true));
        assert_eq!(metered(Some(false), Some(true)), Some(false));
        assert_eq!(metered(Some(true), None), Some(true));
    }

    #[test]
    fn batteries_heat_and_memory_are_read() {
        let found = state(&[
            ("sys/class/power_supply/AC/type", "Mains\n"),
            ("sys/class/power_supply/BAT0/type", "Battery\n"),
            ("sys/class/power_supply/BAT0/status", "Discharging\n"),
            ("sys/class/power_supply/BAT0/capacity", "41\n"),
            ("sys/class/power_supply/mouse/type", "Battery\n"),
            ("sys/class/power_supply/mouse/scope", "Device\n"),
            ("sys/class/power_supply/mouse/capacity", "90\n"),
            ("sys/class/thermal/thermal_zone0/temp", "96000\n"),
            ("sys/class/thermal/thermal_zone0/trip_point_0_type", "passive\n"),
            ("sys/class/thermal/thermal_zone0/trip_point_0_temp", "95000\n"),
            ("proc/meminfo", "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    250 kB\n"),
        ]);
        assert_eq!((found.on_battery, found.battery_percent), (Some(true), Some(41)));
        assert_eq!((found.hot, found.memory_available_percent), (Some(true), Some(25)));
    }

    #[test]
    fn nonsense_in_these_files_is_nothing_known() {
        let found = state(&[
            ("sys/class/power_supply/BAT0/type", "Battery"),
            ("sys/class/power_supply/BAT0/capacity", "full"),
            ("sys/class/thermal/thermal_zone0/temp", "-"),
            ("proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 99999999999999999999 kB\n"),
        ]);
        assert_eq!((found.battery_percent, found.hot, found.memory_available_percent), (None, None, None));
    }
}
