//! Reads the description of a model out of a GGUF file: header, metadata and tensor table, in safe Rust, before
//! llama.cpp sees the file.
//!
//! The format is <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>; what it leaves open follows llama.cpp's own reader
//! (`gguf.cpp`), so that a file this reader takes is also one that llama.cpp's reader takes, as far as the two can agree on a file's
//! form. Not checked: whether the tensors make a working model of their architecture; that is the child's work.
//!
//! Guaranteed for any bytes: no panic, memory bounded by constants (some 10 MB), time linear in the file's size up to the tensor data.
//! Long arrays (the vocabulary) stay in the file; only tokens with a meaning of their own are kept.

mod error;
mod memory;
mod metadata;
mod read;
mod tensor;
mod vocabulary;

use std::io::{Read, Seek};

pub use error::GgufError;
pub use memory::{Estimate, LoadShape, show_bytes};

use metadata::Metadata;
use read::Reader;
use vocabulary::read_vocabulary;

/// The alignment of a file that does not say one.
const DEFAULT_ALIGNMENT: u32 = 32;

/// What a model file says of itself. Every text in it was written by whoever made the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Format version: 2 or 3.
    pub version: u32,
    /// `general.architecture`: `llama`, `qwen2`.
    pub architecture: String,
    /// `general.name`.
    pub name: Option<String>,
    /// `general.license`.
    pub license: Option<String>,
    /// Name of the model it was made from, where the file says so.
    pub base_model: Option<String>,
    /// Weights of all tensors.
    pub parameters: u64,
    /// `Q4_K_M`, from `general.file_type`, or the element type that holds most bytes.
    pub quantization: String,
    /// Tokens the model was trained for.
    pub context_length: Option<u32>,
    /// Width of the model.
    pub embedding_length: Option<u32>,
    /// Layers.
    pub block_count: Option<u32>,
    /// Attention heads: one number, or one for each layer.
    pub head_count: Vec<u32>,
    /// Heads of keys and values: one number, or one for each layer.
    pub head_count_kv: Vec<u32>,
    /// Width of a key, where it is not width of the model over heads.
    pub key_length: Option<u32>,
    /// Width of a value, likewise.
    pub value_length: Option<u32>,
    /// Rank of compressed keys and values (multi-head latent attention), with the width of the rotated part.
    pub latent: Option<(u32, u32)>,
    /// Tokens that layers with a sliding window look back.
    pub sliding_window: Option<u32>,
    /// Tokens in the vocabulary.
    pub vocabulary: Option<u32>,
    /// `tokenizer.ggml.model`: `gpt2`, `llama`, `bert`.
    pub tokenizer: Option<String>,
    /// `tokenizer.ggml.pre`: how text is cut before it is made tokens.
    pub pre_tokenizer: Option<String>,
    /// The token texts begin with, where the model has one.
    pub bos: Option<SpecialToken>,
    /// The token answers end with.
    pub eos: Option<SpecialToken>,
    /// Tokens with a meaning of their own, by id.
    pub special_tokens: Vec<SpecialToken>,
    /// Whether it has tokens for filling a gap.
    pub infill: bool,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
    /// Further templates by name, such as `tool_use`.
    pub named_templates: Vec<(String, String)>,
    /// How token vectors become one vector; present in embedding models.
    pub pooling: Option<u32>,
    /// Whether tokens see only those before them; `Some(false)` in embedding models.
    pub causal: Option<bool>,
    /// The model scores documents instead of making text.
    pub classifier: bool,
    /// Sampling that its makers recommend.
    pub sampling: RecommendedSampling,
    /// Tensors in the file.
    pub tensors: u64,
    /// Bytes of all tensors.
    pub tensor_bytes: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Bytes of header, metadata and tensor table.
    pub header_bytes: u64,
    /// `general.type` is `adapter`: not a model but a LoRA for one.
    pub adapter: bool,
}

/// A token with a meaning of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// What the file says of it.
    pub special: Special,
}

/// How far a token is special.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Read from markup only, and not shown.
    Control,
    /// Read from any text, and shown.
    UserDefined,
    /// The file does not say so, but it looks like markup.
    Suspected,
}

/// `general.sampling.*`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RecommendedSampling {
    /// `general.sampling.temp`.
    pub temperature: Option<f32>,
    /// `general.sampling.top_k`.
    pub top_k: Option<u32>,
    /// `general.sampling.top_p`.
    pub top_p: Option<f32>,
    /// `general.sampling.min_p`.
    pub min_p: Option<f32>,
    /// `general.sampling.penalty_repeat`.
    pub repetition_penalty: Option<f32>,
    /// `general.sampling.penalty_last_n`.
    pub repetition_window: Option<u32>,
}

impl Model {
    /// Whether it makes vectors and no text.
    pub fn embedding_only(&self) -> bool {
        self.causal == Some(false)
            || self.pooling.is_some_and(|pooling| pooling != 0)
            || self.architecture.contains("bert")
    }
}

/// Reads a model's description. Blocking; some milliseconds for a large vocabulary.
pub fn read<R: Read + Seek>(source: R) -> Result<Model, GgufError> {
    let mut reader = Reader::new(source)?;
    let what = "the header";
    if reader.array::<4>(what).map_err(|_| GgufError::NotGguf)? != *b"GGUF" {
        return Err(GgufError::NotGguf);
    }
    let version = reader.u32(what)?;
    // 2 and 3 in the other byte order: the low half is zero.
    if version != 0 && version & 0xffff == 0 {
        return Err(GgufError::BigEndian);
    }
    if !(2..=3).contains(&version) {
        return Err(GgufError::Version(version));
    }
    let tensor_count = reader.u64(what)?;
    let entry_count = reader.u64(what)?;
    let metadata = Metadata::read(&mut reader, entry_count)?;
    if let Some(count) = metadata.u32("split.count").filter(|count| *count > 1) {
        let part = u64::from(metadata.u32("split.no").unwrap_or(0)).saturating_add(1);
        return Err(GgufError::Split { part, count: count.into() });
    }
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(_) => metadata.u32("general.alignment").unwrap_or(0),
    };
    if !alignment.is_power_of_two() {
        return Err(GgufError::Malformed("the alignment is not a power of two".into()));
    }
    let table = tensor::read_table(&mut reader, tensor_count, alignment.into())?;
    let header_bytes = reader.position();
    let vocabulary = read_vocabulary(&mut reader, &metadata)?;
    describe(&metadata, version, table, vocabulary, (header_bytes, reader.len()))
}

fn describe(
    metadata: &Metadata,
    version: u32,
    table: tensor::TensorTable,
    vocabulary: vocabulary::Vocabulary,
    (header_bytes, file_bytes): (u64, u64),
) -> Result<Model, GgufError> {
    let architecture =
        metadata.text("general.architecture").filter(|name| !name.is_empty() && name.len() <= 64);
    let Some(architecture) = architecture else {
        return Err(GgufError::Malformed("`general.architecture` is missing".into()));
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let number = |name: &str| metadata.u32(&key(name));
    let text = |key: &str| metadata.text(key).map(|text| text.chars().take(256).collect::<String>());
    let head_count = metadata.per_layer(&key("attention.head_count")).unwrap_or_default();
    let head_count_kv =
        metadata.per_layer(&key("attention.head_count_kv")).unwrap_or_else(|| head_count.clone());
    let latent = number("attention.kv_lora_rank")
        .zip(number("rope.dimension_count"))
        .filter(|_| number("attention.key_length_mla").is_some());
    let embedding_rows = table.embedding_rows.and_then(|rows| u32::try_from(rows).ok());
    Ok(Model {
        version,
        architecture: architecture.to_owned(),
        name: text("general.name"),
        license: text("general.license"),
        base_model: text("general.base_model.0.name"),
        parameters: table.parameters,
        quantization: quantization(metadata.u32("general.file_type"), table.dominant),
        context_length: number("context_length"),
        embedding_length: number("embedding_length"),
        block_count: number("block_count"),
        head_count,
        head_count_kv,
        key_length: number("attention.key_length"),
        value_length: number("attention.value_length"),
        latent,
        sliding_window: number("attention.sliding_window"),
        vocabulary: vocabulary.size.or_else(|| number("vocab_size")).or(embedding_rows),
        tokenizer: text("tokenizer.ggml.model"),
        pre_tokenizer: text("tokenizer.ggml.pre"),
        bos: vocabulary.bos,
        eos: vocabulary.eos,
        special_tokens: vocabulary.special,
        infill: vocabulary.infill,
        chat_template: metadata.text("tokenizer.chat_template").map(str::to_owned),
        named_templates: named_templates(metadata),
        pooling: number("pooling_type"),
        causal: metadata.bool(&key("attention.causal")),
        classifier: table.classifier || metadata.get(&key("classifier.output_labels")).is_some(),
        sampling: recommended(metadata),
        tensors: table.count,
        tensor_bytes: table.bytes,
        file_bytes,
        header_bytes,
        adapter: metadata.text("general.type") == Some("adapter"),
    })
}

fn named_templates(metadata: &Metadata) -> Vec<(String, String)> {
    metadata
        .texts_under("tokenizer.chat_template.")
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect()
}

fn recommended(metadata: &Metadata) -> RecommendedSampling {
    let key = |name: &str| format!("general.sampling.{name}");
    #[expect(clippy::cast_possible_truncation, reason = "sampling is done in single precision")]
    let float = |name: &str| {
        metadata.float(&key(name)).map(|number| number as f32).filter(|number| number.is_finite())
    };
    let positive = |name: &str| float(name).filter(|number| *number >= 0.0);
    RecommendedSampling {
        temperature: positive("temp"),
        top_k: metadata.u32(&key("top_k")),
        top_p: positive("top_p").filter(|number| *number <= 1.0),
        min_p: positive("min_p").filter(|number| *number <= 1.0),
        repetition_penalty: positive("penalty_repeat").filter(|number| *number > 0.0),
        repetition_window: metadata.u32(&key("penalty_last_n")),
    }
}

/// `LLAMA_FTYPE_*`, as people write them.
const FILE_TYPES: [(u32, &str); 36] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4"),
    (39, "NVFP4"),
    (40, "Q1_0"),
    (41, "Q2_0"),
];

fn quantization(file_type: Option<u32>, dominant: Option<&'static str>) -> String {
    let named = FILE_TYPES.iter().find(|(id, _)| Some(*id) == file_type).map(|(_, name)| *name);
    named.or(dominant).unwrap_or("unknown").to_owned()
}
