//! Locks the doors, before the first byte of the model is read.
//!
//! Linux: an allow-list of system calls (seccomp): computing, memory, threads, and reading and writing what is open already.
//! Everything else fails with EPERM: every socket call, `io_uring`, opening files, new processes, ptrace. And Landlock, with
//! no path and no port allowed, as a second wall. With a GPU the driver needs to open its devices, so there the list
//! forbids instead (network, new processes, ptrace, `io_uring`) and Landlock is left out.
//!
//! macOS and other systems: nothing here yet, and [`Outcome`] says so.

/// What is in force.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// In words, for people.
    pub(crate) in_force: Vec<String>,
    /// What could not be put in force, and why.
    pub(crate) missing: Option<String>,
}

/// Puts everything in force that the system has. Threads that start later inherit it.
pub(crate) fn enforce(with_gpu: bool) -> Outcome {
    #[cfg(target_os = "linux")]
    {
        linux::enforce(with_gpu)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = with_gpu;
        Outcome {
            in_force: Vec::new(),
            missing: Some("this system has no sandbox that the engine knows".to_owned()),
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
        RulesetStatus, Scope,
    };
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    use super::Outcome;

    pub(super) fn enforce(with_gpu: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut missing = Vec::new();
        if with_gpu {
            missing.push("landlock: the GPU driver opens devices".to_owned());
        } else {
            match landlock() {
                Ok(words) => outcome.in_force.push(words),
                Err(reason) => missing.push(format!("landlock: {reason}")),
            }
        }
        let filtered = if with_gpu { deny_list() } else { allow_list() };
        match filtered {
            Ok(words) => outcome.in_force.push(words.to_owned()),
            Err(reason) => missing.push(format!("seccomp: {reason}")),
        }
        outcome.missing = (!missing.is_empty()).then(|| missing.join("; "));
        outcome
    }

    /// No path, no port, no abstract socket and no signal to anybody outside. No rule allows an exception; what is open
    /// stays open.
    fn landlock() -> Result<String, String> {
        let newest = ABI::V6;
        let build = || {
            Ruleset::default()
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(newest))?
                .handle_access(AccessNet::from_all(newest))?
                .scope(Scope::from_all(newest))?
                .create()?
                .restrict_self()
        };
        let status = build().map_err(|error| error.to_string())?;
        match (status.ruleset, status.landlock) {
            (RulesetStatus::NotEnforced, _) => {
                Err("the kernel does not have it, or has it switched off".to_owned())
            }
            (_, LandlockStatus::Available { effective_abi, .. }) => {
                Ok(format!("landlock v{}", effective_abi as i32))
            }
            _ => Ok("landlock".to_owned()),
        }
    }

    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    fn install(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<(), String> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
        let filter =
            SeccompFilter::new(rules, otherwise, matched, arch).map_err(|error| error.to_string())?;
        let program = BpfProgram::try_from(filter).map_err(|error| error.to_string())?;
        seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
    }

    fn errno(code: i32) -> SeccompAction {
        SeccompAction::Errno(code.unsigned_abs())
    }

    /// glibc asks for `clone3`, whose arguments a filter cannot see, and falls back to `clone` when it is told that there is
    /// none. The strictest filter wins, so this one stands although the other lets `clone3` pass.
    fn hide_clone3() -> Result<(), String> {
        install(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), SeccompAction::Allow, errno(libc::ENOSYS))
    }

    fn allow_list() -> Result<&'static str, String> {
        hide_clone3()?;
        let mut rules: Rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        rules.extend(allowed_with_conditions().map_err(|error| error.to_string())?);
        install(rules, errno(libc::EPERM), SeccompAction::Allow)?;
        Ok("seccomp")
    }

    /// Computing, memory, threads, time, and reading and writing what is open.
    const ALLOWED: &[i64] = &[
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_fstat,
        libc::SYS_lseek,
        libc::SYS_fadvise64,
        libc::SYS_readahead,
        libc::SYS_dup,
        libc::SYS_ppoll,
        libc::SYS_brk,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_mlock,
        libc::SYS_munlock,
        libc::SYS_msync,
        libc::SYS_membarrier,
        libc::SYS_futex,
        libc::SYS_clone3,
        libc::SYS_set_robust_list,
        libc::SYS_set_tid_address,
        libc::SYS_rseq,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_setaffinity,
        libc::SYS_getcpu,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_clock_gettime,
        libc::SYS_clock_getres,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_gettimeofday,
        libc::SYS_getrandom,
        libc::SYS_sysinfo,
        libc::SYS_uname,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    fn when(conditions: Vec<SeccompCondition>) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        Ok(vec![SeccompRule::new(conditions)?])
    }

    fn argument(
        index: u8,
        operator: SeccompCmpOp,
        value: u64,
    ) -> Result<SeccompCondition, seccompiler::BackendError> {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
    }

    /// Calls of which only some uses are allowed.
    fn allowed_with_conditions() -> Result<Rules, seccompiler::BackendError> {
        use SeccompCmpOp::{Eq, MaskedEq};
        let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
        let own = u64::from(std::process::id());
        let number = |value: i32| u64::from(value.unsigned_abs());
        Ok(BTreeMap::from([
            // A thread, but no process.
            (libc::SYS_clone, when(vec![argument(0, MaskedEq(thread), thread)?])?),
            // A signal to itself, as `abort` sends it.
            (libc::SYS_tgkill, when(vec![argument(0, Eq, own)?])?),
            // Its own limits, to be read: glibc does so for the stack of a thread.
            (libc::SYS_prlimit64, when(vec![argument(0, Eq, 0)?, argument(2, Eq, 0)?])?),
            // The name of a thread.
            (libc::SYS_prctl, when(vec![argument(0, Eq, number(libc::PR_SET_NAME))?])?),
            // The state of an open file by its descriptor, which newer versions of glibc ask for this way.
            (
                libc::SYS_newfstatat,
                when(vec![argument(3, MaskedEq(number(libc::AT_EMPTY_PATH)), number(libc::AT_EMPTY_PATH))?])?,
            ),
            (
                libc::SYS_fcntl,
                vec![
                    SeccompRule::new(vec![argument(1, Eq, number(libc::F_GETFD))?])?,
                    SeccompRule::new(vec![argument(1, Eq, number(libc::F_GETFL))?])?,
                    SeccompRule::new(vec![argument(1, Eq, number(libc::F_DUPFD_CLOEXEC))?])?,
                ],
            ),
        ]))
    }

    /// With a GPU: everything but what leads out of the process.
    fn deny_list() -> Result<&'static str, String> {
        let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
        #[cfg(target_arch = "x86_64")]
        rules.extend([(libc::SYS_fork, Vec::new()), (libc::SYS_vfork, Vec::new())]);
        let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
        let process =
            argument(0, SeccompCmpOp::MaskedEq(thread), 0).and_then(|condition| when(vec![condition]));
        rules.insert(libc::SYS_clone, process.map_err(|error| error.to_string())?);
        hide_clone3()?;
        install(rules, SeccompAction::Allow, errno(libc::EPERM))?;
        Ok("seccomp (GPU: network, processes and tracing only)")
    }

    const DENIED: &[i64] = &[
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
        libc::SYS_shutdown,
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
    ];
}
