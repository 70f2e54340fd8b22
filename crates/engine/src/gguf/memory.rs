//! How much memory a model will take, before it is loaded.

use std::fmt;

use super::Model;
use crate::frames::KvType;

/// How a model is going to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadShape {
    /// Tokens the KV cache holds.
    pub context: u32,
    /// Most tokens in one decode step.
    pub batch: u32,
    /// Type of the KV cache.
    pub kv_type: KvType,
    /// Bytes of the KV cache that retained prefixes may hold.
    pub retained_bytes: u64,
}

/// What a child costs before any tensor: code, the vocabulary's tables, threads' stacks. Measured at some 30 to 60 MB.
const BASE_BYTES: u64 = 48 << 20;
/// Rows of activations of one token that are alive at once in a decode step, in widths of the model. The feed-forward part is about four
/// widths, its gate as many, keys, values and residuals the rest.
const LIVE_WIDTHS: u64 = 16;

/// The memory a model needs, part by part. An estimate: weights and KV cache are exact for the common architectures, the work space
/// is what llama.cpp's graph of one full step takes, rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of the weights.
    pub weights: u64,
    /// Tokens the KV cache holds.
    pub context: u32,
    /// Bytes of KV cache for one token.
    pub kv_per_token: u64,
    /// Bytes of the work space.
    pub work: u64,
    /// Bytes of the KV cache that retained prefixes may hold; no memory of their own.
    pub retained: u64,
}

impl Estimate {
    /// Estimates for one way of loading.
    pub fn of(model: &Model, shape: LoadShape) -> Self {
        let batch = u64::from(shape.batch.min(shape.context.max(1)));
        let width = u64::from(model.embedding_length.unwrap_or(0));
        let logits = u64::from(model.vocabulary.unwrap_or(0)).saturating_mul(4);
        let activations = width.saturating_mul(4 * LIVE_WIDTHS);
        let work = batch.saturating_mul(logits.saturating_add(activations)).saturating_add(BASE_BYTES);
        let kv_per_token = kv_per_token(model, shape.kv_type);
        Self {
            weights: model.tensor_bytes,
            context: shape.context,
            kv_per_token,
            work,
            retained: shape.retained_bytes.min(kv_per_token.saturating_mul(shape.context.into())),
        }
    }

    /// Bytes of the KV cache.
    pub fn kv(&self) -> u64 {
        self.kv_per_token.saturating_mul(self.context.into())
    }

    /// Everything.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv()).saturating_add(self.work)
    }

    /// The largest context whose memory fits in `free`; 0 when not even the weights fit.
    pub fn context_that_fits(&self, free: u64) -> u32 {
        let fixed = self.total().saturating_sub(self.kv());
        let room = free.saturating_sub(fixed);
        match self.kv_per_token {
            0 => {
                if fixed <= free {
                    u32::MAX
                } else {
                    0
                }
            }
            bytes => u32::try_from(room / bytes).unwrap_or(u32::MAX),
        }
    }
}

/// The arithmetic, for people.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: weights {}", show_bytes(self.total()), show_bytes(self.weights))?;
        let (per_token, kv) = (show_bytes(self.kv_per_token), show_bytes(self.kv()));
        write!(f, " + context {} tokens × {per_token} = {kv}", self.context)?;
        write!(f, " + work space {}", show_bytes(self.work))
    }
}

/// Bytes of keys and values of one token over all layers. Layers with a sliding window are counted in full, as the child keeps all of
/// their cache too so that prefixes can be shared.
fn kv_per_token(model: &Model, kv_type: KvType) -> u64 {
    let layers = u64::from(model.block_count.unwrap_or(0)).min(4096);
    let heads =
        |counts: &[u32], layer: usize| u64::from(counts.get(layer).or(counts.last()).copied().unwrap_or(0));
    let mut elements: u64 = 0;
    for layer in 0..usize::try_from(layers).unwrap_or(0) {
        if let Some((rank, rotated)) = model.latent {
            elements = elements.saturating_add(u64::from(rank).saturating_add(rotated.into()));
            continue;
        }
        let own = u64::from(model.embedding_length.unwrap_or(0))
            .checked_div(heads(&model.head_count, layer))
            .unwrap_or(0);
        let key = model.key_length.map_or(own, u64::from);
        let value = model.value_length.map_or(own, u64::from);
        elements = elements
            .saturating_add(heads(&model.head_count_kv, layer).saturating_mul(key.saturating_add(value)));
    }
    match kv_type {
        KvType::F16 => elements.saturating_mul(2),
        // 34 bytes for 32 elements.
        KvType::Q8_0 => elements.saturating_mul(17) / 16,
    }
}

/// `4.4 GB`, `64 KiB`: powers of ten from a megabyte on, as files and memory are sold; KiB below, as caches are counted.
pub fn show_bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let in_units = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_000_000 => format!("{:.0} KiB", in_units(1024)),
        1_000_000..1_000_000_000 => format!("{:.0} MB", in_units(1_000_000)),
        _ => format!("{:.1} GB", in_units(1_000_000_000)),
    }
}
