//! Writes models with random weights: real shapes to measure speed with, and tiny ones for tests. They say nothing sensible.
//!
//! GGUF version 3 as ggml's `gguf.h` describes it; llama architecture; a SentencePiece vocabulary with all 256 bytes.
//! Nothing but the standard library, and a file is written as a stream: a model of 1 B parameters needs no memory.

use std::io::{self, Write};

/// The shape of a model.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Tokens in the vocabulary; at least [`Shape::LEAST_VOCABULARY`].
    pub vocabulary: usize,
    /// Width of the residual stream; a multiple of 32 and of `heads`.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of the feed-forward layers; a multiple of 32.
    pub feed_forward: usize,
    /// Tokens the model claims to be trained for.
    pub context: u32,
    /// Type of the large tensors.
    pub weights: Weights,
    /// Jinja text of the chat template.
    pub chat_template: Option<String>,
    /// Mark tokens for filling in the middle.
    pub infill: bool,
    /// `llama.pooling_type`: 1 mean, 2 first, 3 last.
    pub pooling: Option<u32>,
}

/// Type of the large tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit blocks of 32.
    Q8_0,
    /// 4-bit blocks of 32.
    Q4_0,
}

/// Token ids of every synthetic vocabulary.
pub mod tokens {
    /// Begin of text.
    pub const BEGIN: u32 = 1;
    /// End of text.
    pub const END: u32 = 2;
    /// The byte 0; the others follow.
    pub const BYTE: u32 = 3;
    /// `<|im_start|>`.
    pub const TURN: u32 = 259;
    /// `<|im_end|>`, which also ends an answer.
    pub const TURN_END: u32 = 260;
    /// `<fim_prefix>`, `<fim_suffix>` and `<fim_middle>` follow.
    pub const INFILL: u32 = 261;
}

impl Shape {
    /// The special tokens, the bytes and the letters.
    pub const LEAST_VOCABULARY: usize = 384;

    /// Some hundred thousand parameters: loads in a moment.
    pub fn tiny() -> Self {
        Self {
            vocabulary: 512,
            width: 64,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            feed_forward: 128,
            context: 4096,
            weights: Weights::F32,
            chat_template: None,
            infill: true,
            pooling: None,
        }
    }

    /// The shape of Qwen2.5-0.5B, but for its biases.
    pub fn half_billion(weights: Weights) -> Self {
        Self {
            vocabulary: 151_936,
            width: 896,
            layers: 24,
            heads: 14,
            kv_heads: 2,
            feed_forward: 4864,
            context: 32_768,
            weights,
            ..Self::tiny()
        }
    }

    /// The shape of Llama-3.2-1B.
    pub fn one_billion(weights: Weights) -> Self {
        Self {
            vocabulary: 128_256,
            width: 2048,
            layers: 16,
            heads: 32,
            kv_heads: 8,
            feed_forward: 8192,
            context: 131_072,
            weights,
            ..Self::tiny()
        }
    }
}

/// Writes a model. The same shape and seed give the same bytes.
pub fn llama_model(shape: &Shape, seed: u64, to: &mut impl Write) -> io::Result<()> {
    let mut header = Header::default();
    header.text("general.architecture", "llama");
    header.text("general.name", "Random weights");
    header.u32("llama.context_length", shape.context);
    header.size("llama.embedding_length", shape.width);
    header.size("llama.block_count", shape.layers);
    header.size("llama.feed_forward_length", shape.feed_forward);
    header.size("llama.attention.head_count", shape.heads);
    header.size("llama.attention.head_count_kv", shape.kv_heads);
    header.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    header.size("llama.rope.dimension_count", shape.width / shape.heads.max(1));
    if let Some(pooling) = shape.pooling {
        header.u32("llama.pooling_type", pooling);
    }
    vocabulary(shape, &mut header);
    if let Some(template) = &shape.chat_template {
        header.text("tokenizer.chat_template", template);
    }
    let kv = shape.width / shape.heads.max(1) * shape.kv_heads;
    let (width, feed) = (shape.width, shape.feed_forward);
    header.tensor("token_embd.weight", &[width, shape.vocabulary], shape.weights);
    for layer in 0..shape.layers {
        let mut add = |name: &str, size: &[usize], weights| {
            header.tensor(&format!("blk.{layer}.{name}.weight"), size, weights)
        };
        add("attn_norm", &[width], Weights::F32);
        add("attn_q", &[width, width], shape.weights);
        add("attn_k", &[width, kv], shape.weights);
        add("attn_v", &[width, kv], shape.weights);
        add("attn_output", &[width, width], shape.weights);
        add("ffn_norm", &[width], Weights::F32);
        add("ffn_gate", &[width, feed], shape.weights);
        add("ffn_up", &[width, feed], shape.weights);
        add("ffn_down", &[feed, width], shape.weights);
    }
    header.tensor("output_norm.weight", &[width], Weights::F32);
    header.tensor("output.weight", &[width, shape.vocabulary], shape.weights);
    header.write(seed, to)
}

/// Writes a LoRA adapter for a model of this shape: rank 4, on the query and output projections of every layer.
pub fn lora_adapter(shape: &Shape, seed: u64, to: &mut impl Write) -> io::Result<()> {
    const RANK: usize = 4;
    let mut header = Header::default();
    header.text("general.architecture", "llama");
    header.text("general.type", "adapter");
    header.text("adapter.type", "lora");
    header.f32("adapter.lora.alpha", 16.0);
    for layer in 0..shape.layers {
        for name in ["attn_q", "attn_output"] {
            header.tensor(&format!("blk.{layer}.{name}.weight.lora_a"), &[shape.width, RANK], Weights::F32);
            header.tensor(&format!("blk.{layer}.{name}.weight.lora_b"), &[RANK, shape.width], Weights::F32);
        }
    }
    header.write(seed, to)
}

/// Marks, bytes, letters, and made-up words up to the size that was asked for.
fn vocabulary(shape: &Shape, header: &mut Header) {
    const CONTROL: i32 = 3;
    let mut words: Vec<(String, i32)> =
        vec![("<unk>".into(), 2), ("<s>".into(), CONTROL), ("</s>".into(), CONTROL)];
    words.extend((0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), 6)));
    let marks = ["<|im_start|>", "<|im_end|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"];
    words.extend(marks.map(|mark| (mark.to_owned(), CONTROL)));
    words.extend((b' '..=b'~').map(|byte| {
        let letter = if byte == b' ' { '\u{2581}' } else { char::from(byte) };
        (letter.to_string(), 1)
    }));
    let letters: Vec<char> = ('a'..='z').collect();
    let pick = |number: usize| letters.get(number % letters.len()).copied().unwrap_or('a');
    let mut number = 0;
    while words.len() < shape.vocabulary {
        // Every two letters, then every two letters behind a space, and so on with more of them.
        let (first, second, rest) = (number, number / 26, number / 676);
        let mut word = String::new();
        if rest % 2 == 1 {
            word.push('\u{2581}');
        }
        word.extend([pick(first), pick(second)]);
        let mut more = rest / 2;
        while more > 0 {
            word.push(pick(more));
            more /= 26;
        }
        words.push((word, 1));
        number += 1;
    }
    words.truncate(shape.vocabulary);
    header.text("tokenizer.ggml.model", "llama");
    header.array("tokenizer.ggml.tokens", 8, words.len(), |bytes| {
        words.iter().for_each(|(word, _)| put_text(bytes, word));
    });
    header.array("tokenizer.ggml.scores", 6, words.len(), |bytes| {
        let mut score = 0.0f32;
        for _ in &words {
            bytes.extend_from_slice(&score.to_le_bytes());
            score -= 1.0;
        }
    });
    header.array("tokenizer.ggml.token_type", 5, words.len(), |bytes| {
        words.iter().for_each(|(_, kind)| bytes.extend_from_slice(&kind.to_le_bytes()));
    });
    header.u32("tokenizer.ggml.unknown_token_id", 0);
    header.u32("tokenizer.ggml.bos_token_id", tokens::BEGIN);
    header.u32("tokenizer.ggml.eos_token_id", tokens::END);
    header.u32("tokenizer.ggml.eot_token_id", tokens::TURN_END);
    header.flag("tokenizer.ggml.add_bos_token", true);
    header.flag("tokenizer.ggml.add_space_prefix", false);
    if shape.infill {
        header.u32("tokenizer.ggml.fim_pre_token_id", tokens::INFILL);
        header.u32("tokenizer.ggml.fim_suf_token_id", tokens::INFILL + 1);
        header.u32("tokenizer.ggml.fim_mid_token_id", tokens::INFILL + 2);
    }
}

/// Where tensor data begins, and each tensor within it.
const ALIGNMENT: usize = 32;

#[derive(Default)]
struct Header {
    entries: Vec<u8>,
    entry_count: u64,
    tensors: Vec<(String, Vec<usize>, Weights)>,
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

impl Header {
    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        put_text(&mut self.entries, key);
        self.entries.extend_from_slice(&kind.to_le_bytes());
        self.entries.extend_from_slice(value);
        self.entry_count += 1;
    }

    fn text(&mut self, key: &str, value: &str) {
        let mut bytes = Vec::new();
        put_text(&mut bytes, value);
        self.entry(key, 8, &bytes);
    }

    fn u32(&mut self, key: &str, value: u32) {
        self.entry(key, 4, &value.to_le_bytes());
    }

    fn size(&mut self, key: &str, value: usize) {
        self.u32(key, u32::try_from(value).unwrap_or(u32::MAX));
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.entry(key, 6, &value.to_le_bytes());
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.entry(key, 7, &[u8::from(value)]);
    }

    fn array(&mut self, key: &str, kind: u32, count: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(count as u64).to_le_bytes());
        fill(&mut bytes);
        self.entry(key, 9, &bytes);
    }

    fn tensor(&mut self, name: &str, size: &[usize], weights: Weights) {
        self.tensors.push((name.to_owned(), size.to_vec(), weights));
    }

    fn write(self, seed: u64, to: &mut impl Write) -> io::Result<()> {
        let mut head = b"GGUF".to_vec();
        head.extend_from_slice(&3u32.to_le_bytes());
        head.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        head.extend_from_slice(&self.entry_count.to_le_bytes());
        head.extend_from_slice(&self.entries);
        let mut offset = 0usize;
        for (name, size, weights) in &self.tensors {
            put_text(&mut head, name);
            head.extend_from_slice(&u32::try_from(size.len()).unwrap_or(0).to_le_bytes());
            for length in size {
                head.extend_from_slice(&(*length as u64).to_le_bytes());
            }
            head.extend_from_slice(&weights.kind().to_le_bytes());
            head.extend_from_slice(&(offset as u64).to_le_bytes());
            offset += weights.bytes(size.iter().product()).next_multiple_of(ALIGNMENT);
        }
        head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
        to.write_all(&head)?;
        let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
        let mut row = Vec::new();
        for (_, size, weights) in &self.tensors {
            let mut written = 0;
            let (length, rows) = (size.first().copied().unwrap_or(0), size.iter().skip(1).product::<usize>());
            for _ in 0..rows {
                row.clear();
                weights.fill(length, size.len() == 1, &mut random, &mut row);
                to.write_all(&row)?;
                written += row.len();
            }
            to.write_all(&vec![0; written.next_multiple_of(ALIGNMENT) - written])?;
        }
        Ok(())
    }
}

impl Weights {
    /// ggml's number.
    fn kind(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 8,
        }
    }

    fn bytes(self, elements: usize) -> usize {
        match self {
            Self::F32 => elements * 4,
            Self::F16 => elements * 2,
            Self::Q4_0 => elements / 32 * 18,
            Self::Q8_0 => elements / 32 * 34,
        }
    }

    /// One row, of weights that keep the size of what goes through them; a norm's weights are 1.
    fn fill(self, length: usize, norm: bool, random: &mut Random, row: &mut Vec<u8>) {
        #[expect(clippy::cast_precision_loss, reason = "a row has fewer than 2^24 elements")]
        let spread = (3.0 / length.max(1) as f32).sqrt();
        match self {
            _ if norm => (0..length).for_each(|_| row.extend_from_slice(&1.0f32.to_le_bytes())),
            Self::F32 => {
                (0..length).for_each(|_| row.extend_from_slice(&(spread * random.unit()).to_le_bytes()))
            }
            Self::F16 => {
                (0..length).for_each(|_| row.extend_from_slice(&half(spread * random.unit()).to_le_bytes()))
            }
            Self::Q8_0 => {
                for _ in 0..length / 32 {
                    row.extend_from_slice(&half(spread / 127.0).to_le_bytes());
                    (0..4).for_each(|_| row.extend_from_slice(&random.next().to_le_bytes()));
                }
            }
            Self::Q4_0 => {
                for _ in 0..length / 32 {
                    row.extend_from_slice(&half(spread / 8.0).to_le_bytes());
                    (0..2).for_each(|_| row.extend_from_slice(&random.next().to_le_bytes()));
                }
            }
        }
    }
}

/// A half float, of numbers that are small and not tiny: no infinities, no denormals.
fn half(number: f32) -> u16 {
    let bits = number.to_bits();
    let exponent = (bits >> 23 & 0xff).saturating_sub(112);
    if exponent == 0 {
        return 0;
    }
    let rounded = (exponent << 10 | bits >> 13 & 0x3ff) + (bits >> 12 & 1);
    u16::try_from(bits >> 16 & 0x8000 | rounded & 0x7fff).unwrap_or(0)
}

/// xorshift64*: fast, which counts for a billion weights.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From -1 to 1.
    fn unit(&mut self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
        let unit = (self.next() >> 40) as f32 / (1u32 << 23) as f32;
        unit - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_model() {
        let model = |seed| {
            let mut bytes = Vec::new();
            llama_model(&Shape::tiny(), seed, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(model(1), model(1));
        assert_ne!(model(1), model(2));
        assert_eq!(model(1).len(), model(2).len());
    }

    #[test]
    fn halves_are_what_they_should_be() {
        assert_eq!([half(1.0), half(-0.5), half(0.1), half(0.0)], [0x3c00, 0xb800, 0x2e66, 0]);
    }
}
