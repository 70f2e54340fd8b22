//! Everything works without a network.
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::home::{Home, INSHORE};

/// The whole first use: start, answer, receipt, doctor, end.
const FIRST_USE: &str = r#"
ip link set lo up || exit 90
"$0" complete --max-tokens 8 "We thank you for your" || exit 91
"$0" ask --max-tokens 4 "Hello" || exit 92
"$0" receipt --last --json || exit 93
"$0" doctor > /dev/null || exit 94
"$0" stop || exit 95
"#;

/// In an empty network namespace every packet to anywhere but this machine is an error, and every look-up of a name too; so what
/// works there needs no network.
#[test]
fn the_first_use_needs_no_network() {
    let home = Home::new();
    let namespaces =
        Command::new("unshare").args(["--net", "--map-root-user", "ip", "link", "set", "lo", "up"]).output();
    let available = namespaces.as_ref().is_ok_and(|output| output.status.success());
    if available {
        let mut command =
            home.command_of("unshare", ["--net", "--map-root-user", "sh", "-c", FIRST_USE, INSHORE]);
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
        assert!(out.contains("\"bytes_out\": 0"), "{out}");
        return;
    }
    // Where no namespace may be made, at least no socket of the daemon may point elsewhere.
    home.run(["complete", "--max-tokens", "8", "We thank you for your"]).good();
    let pid = home.address()["pid"].as_u64().unwrap();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        for peer in peers(pid, table) {
            assert!(is_loopback(&peer), "a socket to {peer}");
        }
    }
}

/// Remote ends of this process's own sockets, as the kernel writes them: hex address and port.
fn peers(pid: u64, table: &str) -> Vec<String> {
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let lines = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap();
    lines
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|fields| own.contains(&fields[9]))
        .map(|fields| fields[2].clone())
        .collect()
}

/// Unset (listening), 127.0.0.0/8, or ::1; little-endian words.
fn is_loopback(peer: &str) -> bool {
    let address = peer.split(':').next().unwrap();
    address.bytes().all(|byte| byte == b'0')
        || (address.len() == 8 && address.ends_with("7F"))
        || address.ends_with("01000000")
}
