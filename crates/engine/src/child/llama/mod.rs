//! A thin safe face on llama.cpp's C interface.
//!
//! Everything here belongs to the one thread that runs the [scheduler](super::scheduler): the types hold raw pointers, so
//! the compiler keeps them there. What llama.cpp would abort on (an index out of range, a batch larger than the context's)
//! is checked on this side first.
#![expect(unsafe_code, reason = "llama.cpp is a C library; this folder is the only place that calls it")]

mod context;
mod model;

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use llama_cpp_sys_2 as sys;

pub(super) use context::{Batch, Context, ContextOptions, DecodeError, Pooling, ThreadPool};
pub(super) use model::{Adapter, Model};

/// Names a sequence in the context's memory.
pub(super) type SeqId = i32;
/// A token of the model's vocabulary.
pub(super) type TokenId = i32;

/// Most sequences that llama.cpp keeps apart in one context (`LLAMA_MAX_SEQ`).
pub(super) const MAX_SEQUENCES: u32 = 256;

/// The last errors that llama.cpp logged, for messages about a load that failed. It keeps no more than this many bytes.
const KEPT_ERRORS: usize = 2048;
static ERRORS: Mutex<String> = Mutex::new(String::new());

/// Raised by the thread that reads frames, read by llama.cpp between the nodes of its graph.
static ABORT: AtomicBool = AtomicBool::new(false);

/// Makes the decode step that is running stop soon. A step that has not begun is not affected: see [`clear_abort`].
pub(super) fn raise_abort() {
    ABORT.store(true, Ordering::Release);
}

/// Forgets an abort that was raised; whether there was one.
pub(super) fn clear_abort() -> bool {
    ABORT.swap(false, Ordering::AcqRel)
}

extern "C" fn abort_wanted(_: *mut c_void) -> bool {
    ABORT.load(Ordering::Acquire)
}

/// Starts llama.cpp's own state and sends its log to stderr, where the daemon reads it.
pub(super) fn start() {
    // SAFETY: called once, before anything else of llama.cpp; the callback lives as long as the program.
    unsafe {
        sys::llama_log_set(Some(log_line), std::ptr::null_mut());
        sys::ggml_log_set(Some(log_line), std::ptr::null_mut());
        sys::llama_backend_init();
    }
}

extern "C" fn log_line(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a string that ends in NUL and outlives the call.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes();
    if level == sys::GGML_LOG_LEVEL_ERROR
        && let Ok(mut kept) = ERRORS.lock()
    {
        if kept.len() + text.len() > KEPT_ERRORS {
            kept.clear();
        }
        let room = text.len().min(KEPT_ERRORS);
        kept.push_str(&String::from_utf8_lossy(text.get(..room).unwrap_or(text)));
    }
    if level != sys::GGML_LOG_LEVEL_DEBUG {
        // SAFETY: writes bytes that we own to a descriptor; a failure loses a log line and nothing else.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
}

/// What llama.cpp said went wrong since the last call, on one line.
fn take_errors() -> String {
    let mut kept = ERRORS.lock().map(|mut text| std::mem::take(&mut *text)).unwrap_or_default();
    kept = kept.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    kept
}

/// GPU devices that this build of llama.cpp has found.
pub(super) fn gpu_devices() -> Vec<String> {
    // SAFETY: indices stay below the count, and the names are static strings of the backends.
    unsafe {
        (0..sys::ggml_backend_dev_count())
            .map(|index| sys::ggml_backend_dev_get(index))
            .filter(|device| sys::ggml_backend_dev_type(*device) != sys::GGML_BACKEND_DEVICE_TYPE_CPU)
            .map(|device| CStr::from_ptr(sys::ggml_backend_dev_name(device)).to_string_lossy().into_owned())
            .collect()
    }
}
