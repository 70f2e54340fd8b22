//! Chooses the copy of ggml's CPU code for this processor. See `build.rs` for how the copies are made.
#![expect(
    unsafe_code,
    reason = "loads a shared object that build.rs embedded, and fills in its table of addresses"
)]

/// Puts the best copy in force, in place of the one that is linked in, and tells its name. Must be called before a model
/// is loaded and before the sandbox forbids opening files. When a copy cannot be loaded, the linked one stays.
pub(crate) fn choose() -> String {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    {
        for (name, image) in embedded::IMAGES {
            if !embedded::runs_here(name) {
                continue;
            }
            match embedded::load(image) {
                Ok(()) => return (*name).to_owned(),
                Err(error) => tracing_line(&format!("cannot load the CPU code for `{name}`: {error}")),
            }
        }
    }
    baseline().to_owned()
}

/// What the copy that is linked in is built for.
fn baseline() -> &'static str {
    if cfg!(all(target_arch = "x86_64", target_feature = "avx2")) {
        "haswell"
    } else if cfg!(target_arch = "x86_64") {
        "sse42"
    } else if cfg!(all(target_arch = "aarch64", target_os = "macos")) {
        "apple"
    } else if cfg!(target_arch = "aarch64") {
        "armv8"
    } else {
        "generic"
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn tracing_line(message: &str) {
    use std::io::Write;
    // The daemon reads the child's stderr; without it the line is lost, which harms nothing.
    let _ = writeln!(std::io::stderr(), "{message}");
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod embedded {
    use std::ffi::{CStr, CString, c_void};
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::{AsRawFd, FromRawFd};

    use llama_cpp_sys_2 as sys;

    include!(concat!(env!("OUT_DIR"), "/cpu_variants.rs"));

    /// Whether the processor, and the system that saves its registers, has all that the copy is built for.
    pub(super) fn runs_here(name: &str) -> bool {
        let has = |name: &str| match name {
            "haswell" => {
                std::is_x86_feature_detected!("avx2")
                    && std::is_x86_feature_detected!("fma")
                    && std::is_x86_feature_detected!("f16c")
                    && std::is_x86_feature_detected!("bmi2")
            }
            "alderlake" => std::is_x86_feature_detected!("avxvnni"),
            "skylakex" => {
                std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512cd")
                    && std::is_x86_feature_detected!("avx512vl")
                    && std::is_x86_feature_detected!("avx512dq")
                    && std::is_x86_feature_detected!("avx512bw")
            }
            "icelake" => {
                std::is_x86_feature_detected!("avx512vbmi") && std::is_x86_feature_detected!("avx512vnni")
            }
            "zen4" => std::is_x86_feature_detected!("avx512bf16"),
            _ => false,
        };
        let needs: &[&str] = match name {
            "zen4" => &["haswell", "skylakex", "icelake", "zen4"],
            "icelake" => &["haswell", "skylakex", "icelake"],
            "skylakex" => &["haswell", "skylakex"],
            "alderlake" => &["haswell", "alderlake"],
            _ => &["haswell"],
        };
        needs.iter().all(|need| has(need)) && has(name)
    }

    pub(super) fn load(image: &[u8]) -> Result<(), String> {
        let file = in_memory(image).map_err(|error| error.to_string())?;
        let path =
            CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|error| error.to_string())?;
        // SAFETY: the image is one that build.rs made: loading it runs only ggml's own initialisers, its table has one place
        // for each import, and `ggml_backend_init` has the type that ggml declares. It is never unloaded.
        unsafe {
            let library = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
            if library.is_null() {
                return Err(loader_error());
            }
            let table = libc::dlsym(library, c"inshore_ggml_table".as_ptr());
            let init = libc::dlsym(library, c"ggml_backend_init".as_ptr());
            if table.is_null() || init.is_null() {
                return Err(loader_error());
            }
            let table = table.cast::<unsafe extern "C" fn()>();
            for (index, import) in IMPORTS.iter().enumerate() {
                table.add(index).write(*import);
            }
            type Init = unsafe extern "C" fn() -> sys::ggml_backend_reg_t;
            let registry = std::mem::transmute::<*mut c_void, Init>(init)();
            if registry.is_null() {
                return Err("it does not register".to_owned());
            }
            let linked = sys::ggml_backend_reg_by_name(c"CPU".as_ptr());
            if !linked.is_null() {
                sys::ggml_backend_unload(linked);
            }
            sys::ggml_backend_register(registry);
        }
        Ok(())
    }

    /// A file without a name, so that nothing is left behind and no folder need be writable.
    fn in_memory(image: &[u8]) -> std::io::Result<File> {
        // SAFETY: the name ends in NUL; the result is checked and owned.
        let mut file = unsafe {
            let mut descriptor =
                libc::memfd_create(c"inshore-cpu".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_EXEC);
            if descriptor < 0 {
                // Before Linux 6.3 the flag is unknown, and needless.
                descriptor = libc::memfd_create(c"inshore-cpu".as_ptr(), libc::MFD_CLOEXEC);
            }
            if descriptor < 0 {
                return Err(std::io::Error::last_os_error());
            }
            File::from_raw_fd(descriptor)
        };
        file.write_all(image)?;
        Ok(file)
    }

    fn loader_error() -> String {
        // SAFETY: the loader's message, if there is one, is a string that ends in NUL.
        unsafe {
            let message = libc::dlerror();
            if message.is_null() {
                return "the loader gives no reason".to_owned();
            }
            CStr::from_ptr(message).to_string_lossy().into_owned()
        }
    }
}
