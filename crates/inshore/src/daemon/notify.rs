//! Tells systemd that the daemon is ready; see `sd_notify(3)`.

use crate::environment::Environment;

/// Sends one state, such as `READY=1`. Without systemd nothing happens.
#[cfg(target_os = "linux")]
pub(super) fn tell(environment: &Environment, state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(path) = environment.path("NOTIFY_SOCKET") else { return };
    let text = path.to_string_lossy();
    let address = match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!("cannot tell systemd `{state}`: {error}");
    }
}

/// Other systems have no such socket.
#[cfg(not(target_os = "linux"))]
pub(super) fn tell(_environment: &Environment, _state: &str) {}
