//! Tries to break out, and tells what happened: what `doctor` shows is what was tried, not what was meant.
#![expect(unsafe_code, reason = "makes the system calls that the sandbox must deny, with no library between")]

use crate::frames::Attempt;

/// Tries every door once.
pub(crate) fn attempts() -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let mut note = |what: &str, outcome: Result<(), std::io::Error>| {
        let (denied, detail) = match outcome {
            Ok(()) => (false, "it worked".to_owned()),
            Err(error) => (is_denial(&error), error.to_string()),
        };
        attempts.push(Attempt { what: what.to_owned(), denied, detail });
    };
    sockets(&mut note);
    processes(&mut note);
    files(&mut note);
    attempts
}

/// Whether the error is a refusal, and not, say, that the kernel lacks the call.
fn is_denial(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
}

type Note<'a> = dyn FnMut(&str, Result<(), std::io::Error>) + 'a;

/// A call that gives a descriptor or fails. The descriptor is closed.
fn opened(result: libc::c_long) -> Result<(), std::io::Error> {
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else knows it.
    unsafe { libc::close(i32::try_from(result).unwrap_or(-1)) };
    Ok(())
}

fn sockets(note: &mut Note<'_>) {
    let kinds = [
        ("udp socket", libc::AF_INET, libc::SOCK_DGRAM),
        ("tcp socket", libc::AF_INET, libc::SOCK_STREAM),
        ("ipv6 tcp socket", libc::AF_INET6, libc::SOCK_STREAM),
        ("raw socket", libc::AF_INET, libc::SOCK_RAW),
        ("unix socket", libc::AF_UNIX, libc::SOCK_STREAM),
        #[cfg(target_os = "linux")]
        ("vsock socket", libc::AF_VSOCK, libc::SOCK_STREAM),
        #[cfg(target_os = "linux")]
        ("netlink socket", libc::AF_NETLINK, libc::SOCK_RAW),
    ];
    for (what, family, kind) in kinds {
        // SAFETY: makes a socket or fails.
        note(what, opened(libc::c_long::from(unsafe { libc::socket(family, kind, 0) })));
    }
    let mut pair = [-1; 2];
    // SAFETY: the array has room for both descriptors.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()) };
    if made == 0 {
        for descriptor in pair {
            let _ = opened(libc::c_long::from(descriptor));
        }
    }
    note("socket pair", if made == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) });
    #[cfg(target_os = "linux")]
    {
        // The socket to the daemon, on descriptor 0, could carry descriptors in if messages could be received.
        // SAFETY: a header of zeros names no buffer; with MSG_DONTWAIT it does not block.
        let received = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            libc::recvmsg(0, &raw mut header, libc::MSG_DONTWAIT)
        };
        note("receive descriptors", if received < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) });
        // SAFETY: the kernel fills the parameters, which have at most 120 bytes, or fails.
        let mut params = [0u64; 32];
        note("io_uring", opened(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) }));
    }
}

fn processes(note: &mut Note<'_>) {
    // SAFETY: a child that comes to be ends at once, without touching anything.
    let child = unsafe { libc::fork() };
    if child == 0 {
        super::process::exit_now(0);
    }
    note("fork", reaped(child));
    let path = c"/bin/true";
    let arguments = [path.as_ptr(), std::ptr::null()];
    // SAFETY: where the call succeeds, this process becomes `true`, and the daemon sees that it is gone: the sandbox does not
    // hold. A missing program fails with ENOENT, which counts as not denied.
    unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) };
    note("execute a program", Err(std::io::Error::last_os_error()));
    #[cfg(target_os = "linux")]
    {
        // SAFETY: asks to watch the parent process; detaches if that worked.
        let traced = unsafe {
            let parent = libc::getppid();
            let traced = libc::ptrace(libc::PTRACE_SEIZE, parent, 0, 0);
            let error = std::io::Error::last_os_error();
            if traced == 0 {
                libc::ptrace(libc::PTRACE_DETACH, parent, 0, 0);
            }
            if traced == 0 { Ok(()) } else { Err(error) }
        };
        note("trace the daemon", traced);
        // SAFETY: reads nothing: both lists are empty.
        let read =
            unsafe { libc::process_vm_readv(libc::getppid(), std::ptr::null(), 0, std::ptr::null(), 0, 0) };
        note(
            "read the daemon's memory",
            if read < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) },
        );
    }
    // SAFETY: signal 0 only asks whether a signal could be sent.
    let signalled = unsafe { libc::kill(libc::getppid(), 0) };
    note("signal the daemon", if signalled < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) });
}

fn reaped(child: libc::pid_t) -> Result<(), std::io::Error> {
    if child < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: waits for the child that was just made.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    Ok(())
}

fn files(note: &mut Note<'_>) {
    let reads = [
        ("open /etc/passwd", c"/etc/passwd"),
        ("open the home of others", c"/root"),
        ("open /proc", c"/proc/self/environ"),
    ];
    for (what, path) in reads {
        // SAFETY: the path ends in NUL.
        note(
            what,
            opened(libc::c_long::from(unsafe {
                libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC)
            })),
        );
    }
    let path = c"/tmp/inshore-probe";
    // SAFETY: as above; a file that comes to be is removed.
    let written =
        unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC, 0o600) };
    let outcome = opened(libc::c_long::from(written));
    if outcome.is_ok() {
        // SAFETY: the path ends in NUL.
        unsafe { libc::unlink(path.as_ptr()) };
    }
    note("write to /tmp", outcome);
}
