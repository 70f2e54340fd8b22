//! Client packages against the real daemon: the official ones, unchanged, and our own.
//!
//! The packages come from their registries, once, into a folder below the build's own; after that no network is needed. A
//! machine without Python or Node fails these tests rather than passing them unseen.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::{Home, INSHORE};

/// Versions are pinned, so that a new one is a change that somebody makes.
const PYTHON_PACKAGES: &str = include_str!("../clients/requirements.txt");

fn cache() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

#[track_caller]
fn must(command: &mut Command, what: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Makes a folder once, by way of another name, so that an interrupted installation is not taken for a whole one.
fn once(name: &str, wanted: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let lock = std::fs::File::create(cache().join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let dir = cache().join(name);
    let note = dir.join(".installed");
    if std::fs::read_to_string(&note).is_ok_and(|text| text == wanted) {
        return dir;
    }
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    make(&dir);
    std::fs::write(note, wanted).unwrap();
    dir
}

fn python() -> PathBuf {
    let dir = once("python", PYTHON_PACKAGES, |dir| {
        must(
            Command::new("python3").args(["-m", "venv"]).arg(dir.join("venv")),
            "python3 with its venv module is needed",
        );
        let pip = dir.join("venv/bin/pip");
        let requirements = scripts().join("requirements.txt");
        must(
            Command::new(pip)
                .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
                .arg(requirements),
            "the Python packages",
        );
    });
    dir.join("venv/bin/python")
}

fn drive(home: &Home, command: &mut Command) {
    let address = home.address();
    let base = format!("http://{}", address["tcp"].as_str().unwrap());
    // Proxies of the machine are not for a server on it.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    command
        .env("INSHORE_BASE_URL", base)
        .env("INSHORE_TOKEN", home.token())
        .env("INSHORE_MODEL", "inshore-default");
    must(command, "the client's script");
}

#[test]
fn python_openai_works_unchanged() {
    let python = python();
    let home = Home::new();
    let _daemon = home.serve();
    drive(&home, Command::new(python).arg(scripts().join("openai_client.py")));
}

#[test]
fn python_anthropic_works_unchanged() {
    let python = python();
    let home = Home::new();
    let _daemon = home.serve();
    drive(&home, Command::new(python).arg(scripts().join("anthropic_client.py")));
}

#[test]
fn node_openai_works_unchanged() {
    let manifest = std::fs::read_to_string(scripts().join("package.json")).unwrap();
    let dir = once("node", &manifest, |dir| {
        std::fs::copy(scripts().join("package.json"), dir.join("package.json")).unwrap();
        let mut npm = Command::new("npm");
        must(npm.args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(dir), "npm is needed");
    });
    std::fs::copy(scripts().join("openai_client.mjs"), dir.join("openai_client.mjs")).unwrap();
    let home = Home::new();
    let _daemon = home.serve();
    drive(&home, Command::new("node").arg("openai_client.mjs").current_dir(&dir));
}

#[test]
fn our_own_npm_package_passes_its_tests_against_this_binary() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/js");
    must(
        Command::new("npm").args(["test", "--silent"]).current_dir(package).env("INSHORE_BIN", INSHORE),
        "npm test",
    );
}
