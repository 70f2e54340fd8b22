//! Start, end, crash and reload of the daemon.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::home::{Home, kill};

fn pid(address: &Value) -> u32 {
    u32::try_from(address["pid"].as_u64().unwrap()).unwrap()
}

/// Whether the process has ended, all of its threads included. A file that cannot be read for another reason says nothing.
fn gone(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
            stat.contains(") Z ") && threads <= 1
        }
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[test]
fn a_killed_daemon_loses_no_receipt_and_leaves_no_lock() {
    let home = Home::new();
    home.run(["complete", "--max-tokens", "4", "Dear"]).good();
    let before = home.last_receipt();
    let first = pid(&home.address());
    kill(first);
    // Its lock is free as soon as the process is gone; until then the next daemon would be refused.
    while !gone(first) {
        std::thread::yield_now();
    }
    assert_eq!(home.run(["status"]).code, Some(3), "a dead daemon counts as running");
    let after = home.run(["receipt", before["id"].as_str().unwrap(), "--json"]).good().json();
    assert_eq!(after, before);
    assert_ne!(pid(&home.address()), first);
}

#[test]
fn there_is_one_daemon_and_it_ends_when_asked() {
    let home = Home::new();
    let daemon = home.serve();
    let second = home.run(["serve"]);
    assert_eq!(second.code, Some(5), "{}", second.err);
    assert!(second.err.contains("a daemon already runs"), "{}", second.err);
    assert!(home.run(["status"]).good().out.contains("device/inshore-default"));
    home.run(["stop"]).good();
    assert!(daemon.ended_well());
    assert!(!home.path().join("state/daemon.json").exists());
    home.run(["stop"]).good();
}

#[test]
fn two_commands_at_once_start_one_daemon() {
    let home = Home::new();
    let start = || {
        home.command(["complete", "--max-tokens", "2", "Dear"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [start(), start()];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(home.run(["receipt", "--list", "5", "--json"]).good().json().as_array().unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_daemon_in_order() {
    let home = Home::new();
    let daemon = home.serve();
    assert!(Command::new("kill").args(["-TERM", &daemon.pid().to_string()]).status().unwrap().success());
    assert!(daemon.ended_well());
    assert!(!home.path().join("run/inshore.sock").exists());
}

#[cfg(unix)]
#[test]
fn secrets_on_disk_are_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let _daemon = home.serve();
    let mode = |path: &str| std::fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
    for file in ["data/token", "data/store.key", "run/inshore.sock"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    for folder in ["data", "state", "run"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
}

#[test]
fn tokens_count_as_soon_as_they_are_made_and_no_longer_than_they_are_there() {
    let home = Home::new();
    let _daemon = home.serve();
    let status = |token: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(home.address()["tcp"].as_str().unwrap()).unwrap();
        write!(stream, "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status("wrong"), "401");
    let token = home.run(["token", "create", "editor"]).good().out.trim().to_owned();
    assert_eq!(status(&token), "200");
    assert!(home.run(["token", "list"]).good().out.contains("editor"));
    home.run(["token", "revoke", "editor"]).good();
    assert_eq!(status(&token), "401");
}

#[cfg(unix)]
#[test]
fn a_hang_up_reads_the_config_again_and_a_wrong_one_changes_nothing() {
    let home = Home::new();
    let daemon = home.serve();
    let hang_up = || {
        assert!(Command::new("kill").args(["-HUP", &daemon.pid().to_string()]).status().unwrap().success())
    };
    let targets = || {
        let status = home.run(["status", "--json"]).good().json();
        let ids: Vec<String> =
            status["targets"].as_array().unwrap().iter().map(|target| target["id"].to_string()).collect();
        ids
    };
    assert_eq!(targets(), ["\"device/inshore-default\""]);
    home.config("[[targets]]\nid = \"studio\"\ntier = \"edge\"\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"m\"\n");
    hang_up();
    // Each look starts a process and takes some milliseconds.
    assert!((0..500).any(|_| targets().len() == 2), "the target did not come");
    home.config("[[targets]]\nid = \"studio\"\nnonsense = 1\n");
    hang_up();
    home.run(["complete", "--max-tokens", "2", "Dear"]).good();
    assert_eq!(targets().len(), 2);
}
