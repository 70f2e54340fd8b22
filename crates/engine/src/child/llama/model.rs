//! A loaded model: its description, vocabulary and adapters.

use std::ffi::{CString, c_char};
use std::fs::File;
use std::os::fd::IntoRawFd;
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::{TokenId, take_errors};

/// A model. Freed with its adapters when dropped; contexts borrow it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(super) raw: NonNull<sys::llama_model>,
    vocab: *const sys::llama_vocab,
    vocab_size: usize,
}

impl Model {
    /// Loads from an open file, from its first byte. On failure llama.cpp's own words.
    pub(crate) fn load(file: File, mmap: bool, gpu_layers: u32) -> Result<Self, String> {
        take_errors();
        let stream = open_stream(file)?;
        // SAFETY: the parameters are llama.cpp's own defaults with plain values changed; the stream is open for reading.
        // llama.cpp duplicates what it needs of the stream, which is closed after.
        let (raw, vocab) = unsafe {
            let mut params = sys::llama_model_default_params();
            params.n_gpu_layers =
                if gpu_layers == u32::MAX { -1 } else { i32::try_from(gpu_layers).unwrap_or(-1) };
            params.load_mode = if mmap { sys::LLAMA_LOAD_MODE_MMAP } else { sys::LLAMA_LOAD_MODE_NONE };
            // Reads every block and checks its scales: a quantised file with bits flipped could otherwise make NaN only.
            params.check_tensors = false;
            let raw = sys::llama_model_load_from_file_ptr(stream.cast(), params);
            libc::fclose(stream);
            let Some(raw) = NonNull::new(raw) else {
                return Err(or_unknown(take_errors()));
            };
            (raw, sys::llama_model_get_vocab(raw.as_ptr()))
        };
        // SAFETY: the vocabulary belongs to the model that was just loaded.
        let vocab_size = unsafe { sys::llama_vocab_n_tokens(vocab) };
        Ok(Self { raw, vocab, vocab_size: usize::try_from(vocab_size).unwrap_or(0) })
    }

    /// Loads a LoRA adapter for this model.
    pub(crate) fn load_adapter(&self, file: File) -> Result<Adapter, String> {
        take_errors();
        let stream = open_stream(file)?;
        // SAFETY: the model outlives the adapter (llama.cpp frees adapters with their model); the stream is ours.
        let raw = unsafe {
            let raw = sys::llama_adapter_lora_init_from_file_ptr(self.raw.as_ptr(), stream.cast());
            libc::fclose(stream);
            raw
        };
        NonNull::new(raw).map(|raw| Adapter { raw }).ok_or_else(|| or_unknown(take_errors()))
    }

    /// Architecture, size and quantization, in llama.cpp's words.
    pub(crate) fn description(&self) -> String {
        // SAFETY: llama.cpp writes at most the buffer's length, NUL included.
        self.string(|buffer, length| unsafe { sys::llama_model_desc(self.raw.as_ptr(), buffer, length) })
    }

    /// A value of the file's metadata, as text.
    pub(crate) fn metadata(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        // SAFETY: as above; the key ends in NUL.
        let text = self.string(|buffer, length| unsafe {
            sys::llama_model_meta_val_str(self.raw.as_ptr(), key.as_ptr(), buffer, length)
        });
        (!text.is_empty()).then_some(text)
    }

    fn string(&self, read: impl Fn(*mut c_char, usize) -> i32) -> String {
        let mut buffer = vec![0u8; 512];
        let length = read(buffer.as_mut_ptr().cast(), buffer.len());
        let length = usize::try_from(length).unwrap_or(0).min(buffer.len() - 1);
        String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned()
    }

    /// Tokens the model was trained to look back on.
    pub(crate) fn trained_context(&self) -> u32 {
        // SAFETY: reads a field.
        u32::try_from(unsafe { sys::llama_model_n_ctx_train(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// Length of an embedding vector.
    pub(crate) fn embedding_width(&self) -> u32 {
        // SAFETY: reads a field.
        u32::try_from(unsafe { sys::llama_model_n_embd_out(self.raw.as_ptr()) }).unwrap_or(0)
    }

    /// Layers, heads and key-value heads.
    pub(crate) fn shape(&self) -> (u32, u32, u32) {
        // SAFETY: reads fields.
        unsafe {
            let raw = self.raw.as_ptr();
            (
                u32::try_from(sys::llama_model_n_layer(raw)).unwrap_or(0),
                u32::try_from(sys::llama_model_n_head(raw)).unwrap_or(0),
                u32::try_from(sys::llama_model_n_head_kv(raw)).unwrap_or(0),
            )
        }
    }

    /// Whether the memory of this model is a running state that cannot be cut at a token (Mamba, RWKV, hybrids).
    pub(crate) fn is_recurrent(&self) -> bool {
        // SAFETY: reads fields.
        unsafe {
            sys::llama_model_is_recurrent(self.raw.as_ptr()) || sys::llama_model_is_hybrid(self.raw.as_ptr())
        }
    }

    /// Whether the prompt goes through an encoder of its own before anything can be generated (T5).
    pub(crate) fn has_encoder(&self) -> bool {
        // SAFETY: reads a field.
        unsafe { sys::llama_model_has_encoder(self.raw.as_ptr()) }
    }

    /// Whether text can be continued token by token.
    pub(crate) fn generates(&self) -> bool {
        // SAFETY: reads fields.
        unsafe {
            let raw = self.raw.as_ptr();
            sys::llama_model_has_decoder(raw)
                && !sys::llama_model_has_encoder(raw)
                && !sys::llama_model_is_diffusion(raw)
        }
    }

    /// Tokens in the vocabulary.
    pub(crate) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Cuts a text into tokens. `markup`: names of special tokens in it stand for those tokens. `start`: begin-of-text and
    /// the like are added if the model wants them.
    pub(crate) fn tokenize(&self, text: &str, start: bool, markup: bool) -> Result<Vec<TokenId>, String> {
        let length = i32::try_from(text.len()).map_err(|_| "the prompt is longer than 2 GB".to_owned())?;
        // A token has at least one byte, except for a few that are added at the ends.
        let mut tokens: Vec<TokenId> = vec![0; text.len() + 8];
        let room = i32::try_from(tokens.len()).unwrap_or(i32::MAX);
        // SAFETY: text and room are as long as stated.
        let mut made = unsafe {
            sys::llama_tokenize(
                self.vocab,
                text.as_ptr().cast(),
                length,
                tokens.as_mut_ptr(),
                room,
                start,
                markup,
            )
        };
        if made < 0 && made != i32::MIN {
            tokens.resize(usize::try_from(-made).unwrap_or(0), 0);
            // SAFETY: as above, with the room that llama.cpp asked for.
            made = unsafe {
                sys::llama_tokenize(
                    self.vocab,
                    text.as_ptr().cast(),
                    length,
                    tokens.as_mut_ptr(),
                    -made,
                    start,
                    markup,
                )
            };
        }
        let made = usize::try_from(made).map_err(|_| "the tokenizer failed on this text".to_owned())?;
        tokens.truncate(made);
        Ok(tokens)
    }

    /// Appends the bytes that a token stands for. Special tokens stand for nothing unless `special`.
    pub(crate) fn append_piece(&self, token: TokenId, special: bool, bytes: &mut Vec<u8>) {
        if !self.is_token(token) {
            return;
        }
        let start = bytes.len();
        bytes.resize(start + 64, 0);
        let mut made = self.piece_into(token, special, bytes.get_mut(start..).unwrap_or_default());
        if made < 0 {
            bytes.resize(start + usize::try_from(-made).unwrap_or(0), 0);
            made = self.piece_into(token, special, bytes.get_mut(start..).unwrap_or_default());
        }
        bytes.truncate(start + usize::try_from(made).unwrap_or(0));
    }

    fn piece_into(&self, token: TokenId, special: bool, room: &mut [u8]) -> i32 {
        let length = i32::try_from(room.len()).unwrap_or(0);
        // SAFETY: the token is in range and the buffer as long as stated.
        unsafe { sys::llama_token_to_piece(self.vocab, token, room.as_mut_ptr().cast(), length, 0, special) }
    }

    /// Whether the number names a token.
    pub(crate) fn is_token(&self, token: TokenId) -> bool {
        usize::try_from(token).is_ok_and(|index| index < self.vocab_size)
    }

    /// Whether the token ends an answer.
    pub(crate) fn is_end(&self, token: TokenId) -> bool {
        // SAFETY: the token is in range.
        self.is_token(token) && unsafe { sys::llama_vocab_is_eog(self.vocab, token) }
    }

    /// Whether the token is a mark of the model's and no text.
    pub(crate) fn is_control(&self, token: TokenId) -> bool {
        // SAFETY: the token is in range.
        self.is_token(token) && unsafe { sys::llama_vocab_is_control(self.vocab, token) }
    }

    /// Whether the token was put into the vocabulary by hand: a mark, or a word such as `<tool_call>`.
    pub(crate) fn is_special(&self, token: TokenId) -> bool {
        let special = sys::LLAMA_TOKEN_ATTR_CONTROL
            | sys::LLAMA_TOKEN_ATTR_USER_DEFINED
            | sys::LLAMA_TOKEN_ATTR_UNKNOWN;
        // SAFETY: the token is in range.
        self.is_token(token) && unsafe { sys::llama_vocab_get_attr(self.vocab, token) } & special != 0
    }

    /// The begin-of-text token, if the model wants one in front of each prompt.
    pub(crate) fn begin(&self) -> Option<TokenId> {
        // SAFETY: reads fields.
        unsafe {
            sys::llama_vocab_get_add_bos(self.vocab)
                .then(|| sys::llama_vocab_bos(self.vocab))
                .filter(|token| self.is_token(*token))
        }
    }

    /// The token that ends a text, where the model has one.
    pub(crate) fn end(&self) -> Option<TokenId> {
        // SAFETY: reads fields.
        unsafe { [sys::llama_vocab_eos(self.vocab), sys::llama_vocab_eot(self.vocab)] }
            .into_iter()
            .find(|token| self.is_token(*token))
    }

    /// The tokens before prefix, suffix and gap of a text to be filled in, where the model has all three.
    pub(crate) fn infill(&self) -> Option<[TokenId; 3]> {
        // SAFETY: reads fields.
        let tokens = unsafe {
            [
                sys::llama_vocab_fim_pre(self.vocab),
                sys::llama_vocab_fim_suf(self.vocab),
                sys::llama_vocab_fim_mid(self.vocab),
            ]
        };
        tokens.iter().all(|token| self.is_token(*token)).then_some(tokens)
    }

    /// Whether there is a tokenizer at all.
    pub(crate) fn has_vocabulary(&self) -> bool {
        // SAFETY: reads a field.
        self.vocab_size > 0 && unsafe { sys::llama_vocab_type(self.vocab) } != sys::LLAMA_VOCAB_TYPE_NONE
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: ours, and dropped once; contexts borrow the model, so none is left.
        unsafe { sys::llama_model_free(self.raw.as_ptr()) }
    }
}

/// A LoRA adapter. Freed with its model.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(super) raw: NonNull<sys::llama_adapter_lora>,
}

fn open_stream(file: File) -> Result<*mut libc::FILE, String> {
    let descriptor = file.into_raw_fd();
    // SAFETY: the descriptor is ours; the stream takes it over.
    let stream = unsafe { libc::fdopen(descriptor, c"rb".as_ptr()) };
    if stream.is_null() {
        return Err(format!("cannot read the file: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: the stream was just made. The offset is shared with whoever handed the descriptor over, so it may be anywhere.
    unsafe { libc::rewind(stream) };
    Ok(stream)
}

fn or_unknown(message: String) -> String {
    if message.is_empty() { "llama.cpp gave no reason".to_owned() } else { message }
}
