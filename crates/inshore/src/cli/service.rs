//! `inshore install-service`

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// The systemd unit, the launchd agent and the Windows task, with `{program}` and `{log}` to be filled in.
const SYSTEMD: &str = include_str!("../../../../packaging/inshore.service");
const LAUNCHD: &str = include_str!("../../../../packaging/dev.inshore.daemon.plist");
const WINDOWS: &str = include_str!("../../../../packaging/inshore-task.xml");

/// Start the daemon with the session: a systemd user unit, a launchd agent, or a Windows task at logon.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  inshore install-service --print
  inshore install-service --now
  inshore install-service --uninstall")]
pub(crate) struct Args {
    /// Only print what would be written
    #[arg(long, conflicts_with_all = ["now", "uninstall"])]
    print: bool,
    /// Start it right away too
    #[arg(long, conflicts_with = "uninstall")]
    now: bool,
    /// Stop it and take it away again
    #[arg(long)]
    uninstall: bool,
}

/// What a system's service manager wants.
struct Manager {
    file: PathBuf,
    content: String,
    /// Run in order after the file is written.
    enable: Vec<Vec<String>>,
    /// Run after those, to start it right away.
    start: Vec<Vec<String>>,
    /// Run before the file is deleted.
    disable: Vec<Vec<String>>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Outcome {
    let manager = manager(context)?;
    if args.print {
        return Ok(context.output.piece(&manager.content)?);
    }
    if args.uninstall {
        run_all(&manager.disable);
        match std::fs::remove_file(&manager.file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                output::note("no service was installed")
            }
            other => {
                other.with_context(|| format!("cannot delete `{}`", manager.file.display()))?;
                output::note(&format!("deleted {}", manager.file.display()));
            }
        }
        return Ok(());
    }
    write(&manager.file, &manager.content)?;
    output::note(&format!("wrote {}", manager.file.display()));
    if args.now {
        run_all(&manager.enable);
        run_all(&manager.start);
        return Ok(());
    }
    output::note("these commands start it, now and with each session:");
    for command in manager.enable.iter().chain(&manager.start) {
        output::note(&format!("  {}", command.join(" ")));
    }
    Ok(())
}

fn write(path: &Path, content: &str) -> Outcome {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    Ok(std::fs::write(path, content).with_context(|| format!("cannot write `{}`", path.display()))?)
}

/// Runs the commands of the service manager, and says which one did not work: the rest may still be of use.
fn run_all(commands: &[Vec<String>]) {
    for command in commands {
        let Some((program, arguments)) = command.split_first() else { continue };
        let shown = command.join(" ");
        match Command::new(program).args(arguments).status() {
            Ok(status) if status.success() => output::note(&format!("ran {shown}")),
            Ok(status) => output::warn(&format!("`{shown}` failed: {status}")),
            Err(error) => output::warn(&format!("`{shown}` could not be run: {error}")),
        }
    }
}

fn manager(context: &Context) -> Outcome<Manager> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let home = context.environment.path("HOME").or_else(|| context.environment.path("USERPROFILE"));
    let home = home.ok_or_else(|| Failure::new(Exit::Failure, "`HOME` is not set"))?;
    let config = context.environment.path("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    Ok(match std::env::consts::OS {
        "linux" => systemd(&program, &config, context.environment.path("INSHORE_HOME")),
        "macos" => launchd(&program, &home, &context.paths.daemon_log()),
        "windows" => windows(&program, &context.paths.state),
        other => return Err(Failure::new(Exit::Failure, format!("there is no service for `{other}` yet"))),
    })
}

fn commands(lines: &[&[&str]]) -> Vec<Vec<String>> {
    lines.iter().map(|words| words.iter().map(|word| (*word).to_owned()).collect()).collect()
}

fn systemd(program: &Path, config: &Path, inshore_home: Option<PathBuf>) -> Manager {
    let environment = inshore_home
        .map(|home| format!("Environment={}\n", systemd_quoted(&format!("INSHORE_HOME={}", home.display()))));
    let program = systemd_quoted(&program.display().to_string());
    Manager {
        file: config.join("systemd/user/inshore.service"),
        content: SYSTEMD
            .replace("{program}", &program)
            .replace("{environment}\n", &environment.unwrap_or_default()),
        enable: commands(&[
            &["systemctl", "--user", "daemon-reload"],
            &["systemctl", "--user", "enable", "inshore.service"],
        ]),
        start: commands(&[&["systemctl", "--user", "restart", "inshore.service"]]),
        disable: commands(&[&["systemctl", "--user", "disable", "--now", "inshore.service"]]),
    }
}

/// Quotes as systemd.syntax(7) says; `%` begins a specifier and `$` a variable.
fn systemd_quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{escaped}\"")
}

fn launchd(program: &Path, home: &Path, log: &Path) -> Manager {
    let file = home.join("Library/LaunchAgents/dev.inshore.daemon.plist");
    let content = LAUNCHD
        .replace("{program}", &xml_escaped(&program.display().to_string()))
        .replace("{log}", &xml_escaped(&log.display().to_string()));
    let path = file.display().to_string();
    Manager {
        enable: commands(&[&["launchctl", "load", "-w", &path]]),
        start: commands(&[&["launchctl", "start", "dev.inshore.daemon"]]),
        disable: commands(&[&["launchctl", "unload", "-w", &path]]),
        file,
        content,
    }
}

fn windows(program: &Path, state: &Path) -> Manager {
    let file = state.join("inshore-task.xml");
    let path = file.display().to_string();
    Manager {
        content: WINDOWS.replace("{program}", &xml_escaped(&program.display().to_string())),
        enable: commands(&[&["schtasks", "/Create", "/F", "/TN", "Inshore", "/XML", &path]]),
        start: commands(&[&["schtasks", "/Run", "/TN", "Inshore"]]),
        disable: commands(&[
            &["schtasks", "/End", "/TN", "Inshore"],
            &["schtasks", "/Delete", "/F", "/TN", "Inshore"],
        ]),
        file,
    }
}

fn xml_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_filled_in_and_safe_against_odd_paths() {
        let unit = systemd(Path::new("/opt/in shore/100%/$x/inshore"), Path::new("/c"), Some("/h".into()));
        assert!(
            unit.content.contains("ExecStart=\"/opt/in shore/100%%/$$x/inshore\" serve\n"),
            "{}",
            unit.content
        );
        assert!(unit.content.contains("Environment=\"INSHORE_HOME=/h\"\n"));
        let plain = systemd(Path::new("/i"), Path::new("/c"), None);
        let agent = launchd(Path::new("/Applications/A&B/inshore"), Path::new("/Users/me"), Path::new("/l"));
        assert!(agent.content.contains("<string>/Applications/A&amp;B/inshore</string>"));
        let task = windows(Path::new("C:\\inshore.exe"), Path::new("C:\\s"));
        for manager in [&unit, &plain, &agent, &task] {
            assert!(!manager.content.contains('{'), "{}", manager.content);
        }
    }
}
