//! What the commands say: help, config errors, versions.

use std::process::Command;

use crate::home::{Home, INSHORE};

/// Every command, as a path of words.
const COMMANDS: [&[&str]; 42] = [
    &[],
    &["serve"],
    &["chat"],
    &["ask"],
    &["complete"],
    &["model"],
    &["model", "list"],
    &["model", "show"],
    &["model", "pull"],
    &["model", "import"],
    &["model", "rm"],
    &["receipt"],
    &["status"],
    &["doctor"],
    &["config"],
    &["config", "show"],
    &["config", "check"],
    &["config", "path"],
    &["config", "sample"],
    &["decide"],
    &["advise"],
    &["policy"],
    &["policy", "show"],
    &["policy", "check"],
    &["policy", "test"],
    &["policy", "explain"],
    &["spend"],
    &["spend", "what-if"],
    &["spend", "doubts"],
    &["spend", "reconcile"],
    &["router"],
    &["router", "report"],
    &["token"],
    &["token", "create"],
    &["token", "list"],
    &["token", "revoke"],
    &["secret"],
    &["secret", "set"],
    &["stop"],
    &["install-service"],
    &["completions"],
    &["version"],
];

#[test]
fn help_is_as_it_was() {
    let mut all = String::new();
    for command in COMMANDS {
        let output = Command::new(INSHORE).args(command).arg("--help").env_clear().output().unwrap();
        assert!(output.status.success(), "{command:?}");
        all.push_str(&format!(
            "$ inshore {} --help\n{}\n",
            command.join(" "),
            String::from_utf8_lossy(&output.stdout)
        ));
    }
    insta::assert_snapshot!("help", all);
}

#[test]
fn every_command_is_in_that_snapshot() {
    let home = Home::new();
    let script = home.run(["completions", "bash"]).good().out;
    let listed = script
        .lines()
        .filter_map(|line| line.trim().strip_prefix("opts=\""))
        .find(|words| words.contains("serve"))
        .unwrap();
    let words: Vec<&str> = listed
        .trim_end_matches('"')
        .split(' ')
        .filter(|word| !word.is_empty() && !word.starts_with('-'))
        .collect();
    for word in words.into_iter().filter(|word| *word != "help" && *word != "engine") {
        assert!(
            COMMANDS.iter().any(|command| command.first() == Some(&word)),
            "`{word}` has no help in the snapshot"
        );
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let done = home.run(["completions", shell]).good();
        assert!(done.out.contains("install-service"), "{shell}");
    }
}

#[test]
fn a_wrong_config_is_refused_with_line_and_nearest_key() {
    let home = Home::new();
    home.config("[server]\nlisen = \"127.0.0.1:1\"\n\n[engine]\nthreads = \"many\"\n");
    for command in [vec!["config", "check"], vec!["serve"], vec!["model", "list"]] {
        let done = home.run(&command);
        assert_eq!(done.code, Some(2), "{command:?}: {}", done.err);
        assert!(done.err.contains("config.toml:2: unknown key `server.lisen`"), "{}", done.err);
        assert!(done.err.contains("the nearest known key is `server.listen`"), "{}", done.err);
        assert!(done.err.contains("config.toml:5: `engine.threads` must be"), "{}", done.err);
    }
    let done = home.run(["complete", "Dear"]);
    assert_eq!(done.code, Some(3));
    assert!(done.err.contains("unknown key `server.lisen`"), "{}", done.err);
}

#[test]
fn values_are_shown_with_their_origin() {
    let home = Home::new();
    home.config("[engine]\nkeep_alive = \"1h\"\n");
    let shown = home.run(["config", "show", "--json", "--set", "engine.threads=2"]).good().json();
    assert_eq!(shown["engine.keep_alive"]["value"], "1h");
    assert!(shown["engine.keep_alive"]["origin"].as_str().unwrap().ends_with("config.toml:2"));
    assert_eq!(shown["engine.threads"]["origin"], "--set engine.threads");
    assert_eq!(shown["engine.batch"]["origin"], "built-in");
    assert_eq!(shown["server.listen"]["origin"], "environment variable INSHORE_SERVER__LISTEN");
}

#[test]
fn the_sample_is_a_config_without_mistakes() {
    let home = Home::new();
    let sample = home.run(["config", "sample"]).good().out;
    let path = home.path().join("sample.toml");
    std::fs::write(&path, sample).unwrap();
    home.run(["config", "check", path.to_str().unwrap()]).good();
}

#[test]
fn doctor_looks_and_tries() {
    let home = Home::new();
    let done = home.run(["doctor", "--json"]);
    let findings = done.json();
    let find = |what: &str| {
        findings
            .as_array()
            .unwrap()
            .iter()
            .find(|finding| finding["what"] == what)
            .cloned()
            .unwrap_or_default()
    };
    assert!(
        find("engine")["detail"].as_str().unwrap_or_default().contains("loaded `inshore-default`"),
        "{findings}"
    );
    assert!(find("escapes")["detail"].as_str().unwrap_or_default().contains("socket"), "{findings}");
    assert_eq!(find("remote targets")["detail"], "none: nothing can leave this device");
    #[cfg(target_os = "linux")]
    {
        assert_eq!(done.code, Some(0), "{findings}\n{}", done.err);
        assert!(find("sandbox")["detail"].as_str().unwrap_or_default().contains("seccomp"), "{findings}");
        assert_eq!(find("escapes")["state"], "ok", "{findings}");
    }
}

#[test]
fn a_service_is_written_and_taken_away() {
    let home = Home::new();
    assert!(home.run(["install-service", "--print"]).good().out.contains("serve"));
    let done = home.run(["install-service"]).good();
    assert!(done.err.contains("wrote "), "{}", done.err);
    #[cfg(target_os = "linux")]
    {
        let unit = home.path().join(".config/systemd/user/inshore.service");
        assert!(std::fs::read_to_string(&unit).unwrap().contains("Type=notify"));
        home.run(["install-service", "--uninstall"]).good();
        assert!(!unit.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told_when_the_daemon_is_ready() {
    use std::os::unix::net::UnixDatagram;
    let home = Home::new();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut daemon = home.command(["serve"]).env("NOTIFY_SOCKET", &path).spawn().unwrap();
    let mut message = [0; 64];
    let count = socket.recv(&mut message).unwrap();
    assert_eq!(&message[..count], b"READY=1");
    home.run(["stop"]).good();
    daemon.wait().unwrap();
}
