//! A context: the memory of sequences, and the computation of the next tokens.

use std::ffi::c_char;
use std::ptr::NonNull;
use std::rc::Rc;

use llama_cpp_sys_2 as sys;

use super::{Adapter, Model, SeqId, TokenId, abort_wanted, take_errors};
use crate::frames::KvType;

/// How a context is made.
#[derive(Debug, Clone)]
pub(crate) struct ContextOptions {
    pub(crate) tokens: u32,
    pub(crate) sequences: u32,
    pub(crate) batch: u32,
    pub(crate) micro_batch: u32,
    pub(crate) threads: u32,
    pub(crate) kv_type: KvType,
    /// `Some`: the context makes vectors, pooled this way (`None` inside: as the model says).
    pub(crate) embeddings: Option<Option<Pooling>>,
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pooling {
    /// The model does not say.
    None,
    /// Their mean.
    Mean,
    /// One of them, or another way that llama.cpp carries out by itself.
    Other,
    /// A score and no vector.
    Rank,
}

/// Why a step did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// No room in the KV cache; nothing has changed.
    NoRoom,
    /// Aborted; what was computed before stays, see [`Context::end`].
    Aborted,
    /// llama.cpp failed with this code; what was computed before stays.
    Failed(i32),
}

/// The tokens of one step.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    tokens: Vec<TokenId>,
    positions: Vec<i32>,
    sequences: Vec<SeqId>,
    counts: Vec<i32>,
    wanted: Vec<i8>,
    pointers: Vec<*mut SeqId>,
}

impl Batch {
    /// Empties it, keeping its memory.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.counts.clear();
        self.wanted.clear();
    }

    /// Adds a token; its row. `wanted`: its logits are needed.
    pub(crate) fn push(&mut self, sequence: SeqId, position: usize, token: TokenId, wanted: bool) -> i32 {
        let row = self.tokens.len();
        self.tokens.push(token);
        self.positions.push(i32::try_from(position).unwrap_or(i32::MAX));
        self.sequences.push(sequence);
        self.counts.push(1);
        self.wanted.push(i8::from(wanted));
        i32::try_from(row).unwrap_or(i32::MAX)
    }

    /// Tokens in it.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it holds none.
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    fn raw(&mut self) -> sys::llama_batch {
        self.pointers.clear();
        self.pointers.extend(self.sequences.iter_mut().map(std::ptr::from_mut));
        sys::llama_batch {
            n_tokens: i32::try_from(self.tokens.len()).unwrap_or(0),
            token: self.tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.counts.as_mut_ptr(),
            seq_id: self.pointers.as_mut_ptr(),
            logits: self.wanted.as_mut_ptr(),
        }
    }
}

/// Threads that compute. Kept apart from the context so that they are not started anew for each step.
#[derive(Debug)]
pub(crate) struct ThreadPool {
    raw: NonNull<sys::ggml_threadpool>,
    free: unsafe extern "C" fn(*mut sys::ggml_threadpool),
}

/// How long a computing thread watches for new work before it sleeps, in llama.cpp's units (of 50 by default). One unit
/// bridges the sampling between two steps (some milliseconds at most) and is over soon enough that an idle engine uses no CPU.
const POLL: u32 = 1;

impl ThreadPool {
    /// Starts them, in the CPU backend that is registered. `None` when it has no pools.
    pub(crate) fn start(threads: u32) -> Option<Self> {
        type New = unsafe extern "C" fn(*mut sys::ggml_threadpool_params) -> *mut sys::ggml_threadpool;
        type Free = unsafe extern "C" fn(*mut sys::ggml_threadpool);
        // SAFETY: the names are those that llama.cpp documents for these types, and the function belongs to the backend that
        // will run the graphs. A device of type CPU always exists once a backend is registered.
        unsafe {
            let device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
            if device.is_null() {
                return None;
            }
            let registry = sys::ggml_backend_dev_backend_reg(device);
            let find = |name: &std::ffi::CStr| -> *mut std::ffi::c_void {
                sys::ggml_backend_reg_get_proc_address(registry, name.as_ptr().cast::<c_char>())
            };
            let (new, free) = (find(c"ggml_threadpool_new"), find(c"ggml_threadpool_free"));
            if new.is_null() || free.is_null() {
                return None;
            }
            let new = std::mem::transmute::<*mut std::ffi::c_void, New>(new);
            let free = std::mem::transmute::<*mut std::ffi::c_void, Free>(free);
            let mut params = sys::ggml_threadpool_params_default(i32::try_from(threads).unwrap_or(1));
            params.poll = POLL;
            NonNull::new(new(&raw mut params)).map(|raw| Self { raw, free })
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: ours; contexts hold an `Rc` of it, so none uses it any more.
        unsafe { (self.free)(self.raw.as_ptr()) }
    }
}

/// A context. Holds its model, so that the model outlives it.
#[derive(Debug)]
pub(crate) struct Context {
    raw: NonNull<sys::llama_context>,
    model: Rc<Model>,
    _pool: Option<Rc<ThreadPool>>,
    sequences: u32,
    batch: usize,
}

impl Context {
    /// Makes one. On failure llama.cpp's own words.
    pub(crate) fn new(
        model: Rc<Model>,
        pool: Option<Rc<ThreadPool>>,
        options: &ContextOptions,
    ) -> Result<Self, String> {
        take_errors();
        let kv = match options.kv_type {
            KvType::F16 => sys::GGML_TYPE_F16,
            KvType::Q8_0 => sys::GGML_TYPE_Q8_0,
        };
        // SAFETY: llama.cpp's own defaults with plain values changed; the model outlives the context.
        let raw = unsafe {
            let mut params = sys::llama_context_default_params();
            params.n_ctx = options.tokens;
            params.n_batch = options.batch;
            params.n_ubatch = options.micro_batch;
            params.n_seq_max = options.sequences;
            params.n_threads = i32::try_from(options.threads).unwrap_or(1);
            params.n_threads_batch = params.n_threads;
            params.type_k = kv;
            params.type_v = kv;
            params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_AUTO;
            params.kv_unified = true;
            // A window-sized cache forgets what lies behind the window, and with it every prefix that could be shared.
            params.swa_full = true;
            params.no_perf = true;
            params.abort_callback = Some(abort_wanted);
            match options.embeddings {
                None => params.n_outputs_max = options.sequences,
                Some(pooling) => {
                    params.embeddings = true;
                    if pooling == Some(Pooling::Mean) {
                        params.pooling_type = sys::LLAMA_POOLING_TYPE_MEAN;
                    }
                }
            }
            sys::llama_init_from_model(model.raw.as_ptr(), params)
        };
        let Some(raw) = NonNull::new(raw) else {
            let reason = take_errors();
            return Err(if reason.is_empty() {
                "llama.cpp cannot make a context".to_owned()
            } else {
                reason
            });
        };
        if let Some(pool) = &pool {
            // SAFETY: both are alive, and the context keeps the pool.
            unsafe { sys::llama_attach_threadpool(raw.as_ptr(), pool.raw.as_ptr(), pool.raw.as_ptr()) }
        }
        // SAFETY: reads a field.
        let batch = unsafe { sys::llama_n_batch(raw.as_ptr()) };
        let batch = usize::try_from(batch).unwrap_or(1);
        Ok(Self { raw, model, _pool: pool, sequences: options.sequences, batch })
    }

    /// Tokens that the KV cache holds.
    pub(crate) fn capacity(&self) -> usize {
        // SAFETY: reads a field.
        usize::try_from(unsafe { sys::llama_n_ctx(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// Most tokens in one step.
    pub(crate) fn batch_limit(&self) -> usize {
        self.batch
    }

    /// Most tokens that are computed at once.
    pub(crate) fn micro_batch(&self) -> usize {
        // SAFETY: reads a field.
        usize::try_from(unsafe { sys::llama_n_ubatch(self.raw.as_ptr()) }).unwrap_or(1)
    }

    /// How vectors are pooled.
    pub(crate) fn pooling(&self) -> Pooling {
        // SAFETY: reads a field.
        match unsafe { sys::llama_pooling_type(self.raw.as_ptr()) } {
            sys::LLAMA_POOLING_TYPE_NONE | sys::LLAMA_POOLING_TYPE_UNSPECIFIED => Pooling::None,
            sys::LLAMA_POOLING_TYPE_MEAN => Pooling::Mean,
            sys::LLAMA_POOLING_TYPE_RANK => Pooling::Rank,
            _ => Pooling::Other,
        }
    }

    /// Computes the batch.
    pub(crate) fn decode(&mut self, batch: &mut Batch) -> Result<(), DecodeError> {
        self.compute(batch, false)
    }

    /// Computes the batch with the encoder of a model that has one of its own.
    pub(crate) fn encode(&mut self, batch: &mut Batch) -> Result<(), DecodeError> {
        self.compute(batch, true)
    }

    fn compute(&mut self, batch: &mut Batch, encode: bool) -> Result<(), DecodeError> {
        // llama.cpp aborts the program on any of these.
        let wrong = batch.is_empty()
            || batch.len() > self.batch
            || batch.sequences.iter().any(|id| !self.is_sequence(*id))
            || batch.tokens.iter().any(|token| !self.model.is_token(*token));
        if wrong {
            return Err(DecodeError::Failed(-1));
        }
        let raw = batch.raw();
        // SAFETY: the arrays are as long as stated and outlive the call; ids and tokens are in range.
        let code = unsafe {
            if encode {
                sys::llama_encode(self.raw.as_ptr(), raw)
            } else {
                sys::llama_decode(self.raw.as_ptr(), raw)
            }
        };
        match code {
            0 => Ok(()),
            1 => Err(DecodeError::NoRoom),
            2 => Err(DecodeError::Aborted),
            other => Err(DecodeError::Failed(other)),
        }
    }

    fn is_sequence(&self, id: SeqId) -> bool {
        u32::try_from(id).is_ok_and(|id| id < self.sequences)
    }

    /// The logits of a row of the last batch that wanted them.
    pub(crate) fn logits(&mut self, row: i32) -> Option<&mut [f32]> {
        // SAFETY: llama.cpp checks the row and returns null where there is none; a row is as long as the vocabulary and stays
        // until the next step, which needs `&mut self`.
        unsafe {
            let logits = sys::llama_get_logits_ith(self.raw.as_ptr(), row);
            (!logits.is_null()).then(|| std::slice::from_raw_parts_mut(logits, self.model.vocab_size()))
        }
    }

    /// The pooled vector of a sequence of the last batch.
    pub(crate) fn embedding(&mut self, sequence: SeqId) -> Option<&[f32]> {
        let width = usize::try_from(self.model.embedding_width()).unwrap_or(0);
        // SAFETY: null where there is none; the length is the model's.
        unsafe {
            let vector = sys::llama_get_embeddings_seq(self.raw.as_ptr(), sequence);
            (!vector.is_null()).then(|| std::slice::from_raw_parts(vector, width))
        }
    }

    /// How many tokens of a sequence are in memory: one more than its last position.
    pub(crate) fn end(&self, sequence: SeqId) -> usize {
        if !self.is_sequence(sequence) {
            return 0;
        }
        // SAFETY: the id is in range; a context without memory gives null.
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            if memory.is_null() {
                return 0;
            }
            usize::try_from(sys::llama_memory_seq_pos_max(memory, sequence) + 1).unwrap_or(0)
        }
    }

    /// The first position of a sequence that is in memory.
    pub(crate) fn start(&self, sequence: SeqId) -> Option<usize> {
        if !self.is_sequence(sequence) {
            return None;
        }
        // SAFETY: as in `end`.
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            if memory.is_null() {
                return None;
            }
            usize::try_from(sys::llama_memory_seq_pos_min(memory, sequence)).ok()
        }
    }

    /// Forgets a sequence from a position on. False: this memory cannot be cut there, and nothing has changed.
    pub(crate) fn truncate(&mut self, sequence: SeqId, keep: usize) -> bool {
        let Ok(keep) = i32::try_from(keep) else { return false };
        if !self.is_sequence(sequence) {
            return false;
        }
        // SAFETY: the id is in range.
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            !memory.is_null() && sys::llama_memory_seq_rm(memory, sequence, keep, -1)
        }
    }

    /// Lets a second sequence share the first `tokens` tokens of another (`None`: all of it). The second must be empty.
    pub(crate) fn share(&mut self, from: SeqId, to: SeqId, tokens: Option<usize>) {
        if !self.is_sequence(from) || !self.is_sequence(to) || from == to {
            return;
        }
        let end = tokens.map_or(-1, |count| i32::try_from(count).unwrap_or(-1));
        // SAFETY: the ids are in range.
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            if !memory.is_null() {
                sys::llama_memory_seq_cp(memory, from, to, if tokens.is_some() { 0 } else { -1 }, end);
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        // SAFETY: a context without memory gives null.
        unsafe {
            let memory = sys::llama_get_memory(self.raw.as_ptr());
            if !memory.is_null() {
                sys::llama_memory_clear(memory, false);
            }
        }
    }

    /// The state of a sequence, to be read back by [`Self::restore`] in a context of the same model and options.
    pub(crate) fn save(&mut self, sequence: SeqId) -> Option<Vec<u8>> {
        if !self.is_sequence(sequence) {
            return None;
        }
        // SAFETY: llama.cpp writes at most the size that it named.
        unsafe {
            let size = sys::llama_state_seq_get_size(self.raw.as_ptr(), sequence);
            let mut state = vec![0u8; size];
            let written =
                sys::llama_state_seq_get_data(self.raw.as_ptr(), state.as_mut_ptr(), size, sequence);
            state.truncate(written);
            (written > 0).then_some(state)
        }
    }

    /// Reads a state into an empty sequence. False: llama.cpp refused it, and the sequence is empty.
    pub(crate) fn restore(&mut self, sequence: SeqId, state: &[u8]) -> bool {
        if !self.is_sequence(sequence) || state.is_empty() {
            return false;
        }
        // SAFETY: the state is as long as stated.
        let read = unsafe {
            sys::llama_state_seq_set_data(self.raw.as_ptr(), state.as_ptr(), state.len(), sequence)
        };
        if read != state.len() {
            self.truncate(sequence, 0);
        }
        read == state.len()
    }

    /// Sets the adapters, with the strength of each, that all sequences of the next steps use.
    pub(crate) fn set_adapters(&mut self, adapters: &[(&Adapter, f32)]) -> bool {
        let mut raw: Vec<_> = adapters.iter().map(|(adapter, _)| adapter.raw.as_ptr()).collect();
        let mut scales: Vec<f32> = adapters.iter().map(|(_, scale)| *scale).collect();
        // SAFETY: both arrays have the stated length; the adapters belong to this context's model.
        unsafe {
            sys::llama_set_adapters_lora(self.raw.as_ptr(), raw.as_mut_ptr(), raw.len(), scales.as_mut_ptr())
                == 0
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours, and dropped once.
        unsafe { sys::llama_free(self.raw.as_ptr()) }
    }
}
