//! What the child does to its own process, and the descriptors it was born with.
#![expect(
    unsafe_code,
    reason = "takes over inherited descriptors, which is a promise that nobody else uses them"
)]

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Takes over an inherited descriptor. Its use fails if the daemon did not hand it over.
pub(crate) fn inherited(descriptor: RawFd) -> OwnedFd {
    // SAFETY: called once for each number, at the start, before anything else opens or owns descriptors.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Takes over all descriptors from `first` on that are open, up to the first that is not.
pub(crate) fn inherited_from(first: RawFd) -> impl Iterator<Item = OwnedFd> {
    // SAFETY: asks for the flags of a number, which is harmless whatever it is.
    let is_open = |descriptor: &RawFd| unsafe { libc::fcntl(*descriptor, libc::F_GETFD) } >= 0;
    let open: Vec<RawFd> = (first..).take_while(is_open).collect();
    open.into_iter().map(inherited)
}

/// The same file with an offset of its own: the one that was handed over shares it with the daemon and with other children.
pub(crate) fn reopened(descriptor: OwnedFd) -> File {
    File::open(format!("/proc/self/fd/{}", descriptor.as_raw_fd())).unwrap_or_else(|_| File::from(descriptor))
}

/// No core file, for it would hold prompts; and no debugger of the same user may look in.
pub(crate) fn close_to_others() {
    // SAFETY: plain system calls on our own process. Where one fails, the process is as open as any other of the user's.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
}

/// Limits what this process may still add to its memory. What it cannot get ends it.
#[cfg(target_os = "linux")]
pub(crate) fn limit_memory(more: u64) -> std::io::Result<()> {
    let sizes = std::fs::read_to_string("/proc/self/statm")?;
    let pages = sizes.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or(std::io::ErrorKind::InvalidData)?;
    // SAFETY: asks for a number.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let most = pages.saturating_mul(page).saturating_add(more);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a plain system call on our own process.
    match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Other systems accept a limit and do not keep it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn limit_memory(_more: u64) -> std::io::Result<()> {
    Ok(())
}

/// Ends the process at once. Other threads may be computing, so nothing is torn down.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return; the system takes everything back.
    unsafe { libc::_exit(code) }
}
