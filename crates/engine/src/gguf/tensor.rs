//! The tensor table: names, shapes, element types and places in the file.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Seek};

use super::error::{GgufError, shown};
use super::read::Reader;

/// The largest published mixtures of experts have some thousands of tensors.
const MAX_TENSORS: u64 = 1 << 17;
/// `GGML_MAX_DIMS`.
const MAX_DIMENSIONS: u32 = 4;
/// `GGML_MAX_NAME` less its final zero.
const MAX_NAME: u64 = 63;

/// An element type of ggml: `GGML_TYPE_*`, elements in a block, bytes of a block (`ggml-common.h`).
struct ElementType {
    id: u32,
    name: &'static str,
    elements: u64,
    bytes: u64,
}

const fn element(id: u32, name: &'static str, elements: u64, bytes: u64) -> ElementType {
    ElementType { id, name, elements, bytes }
}

/// All types that llama.cpp still loads.
const ELEMENT_TYPES: [ElementType; 35] = [
    element(0, "F32", 1, 4),
    element(1, "F16", 1, 2),
    element(2, "Q4_0", 32, 18),
    element(3, "Q4_1", 32, 20),
    element(6, "Q5_0", 32, 22),
    element(7, "Q5_1", 32, 24),
    element(8, "Q8_0", 32, 34),
    element(9, "Q8_1", 32, 36),
    element(10, "Q2_K", 256, 84),
    element(11, "Q3_K", 256, 110),
    element(12, "Q4_K", 256, 144),
    element(13, "Q5_K", 256, 176),
    element(14, "Q6_K", 256, 210),
    element(15, "Q8_K", 256, 292),
    element(16, "IQ2_XXS", 256, 66),
    element(17, "IQ2_XS", 256, 74),
    element(18, "IQ3_XXS", 256, 98),
    element(19, "IQ1_S", 256, 50),
    element(20, "IQ4_NL", 32, 18),
    element(21, "IQ3_S", 256, 110),
    element(22, "IQ2_S", 256, 82),
    element(23, "IQ4_XS", 256, 136),
    element(24, "I8", 1, 1),
    element(25, "I16", 1, 2),
    element(26, "I32", 1, 4),
    element(27, "I64", 1, 8),
    element(28, "F64", 1, 8),
    element(29, "IQ1_M", 256, 56),
    element(30, "BF16", 1, 2),
    element(34, "TQ1_0", 256, 54),
    element(35, "TQ2_0", 256, 66),
    element(39, "MXFP4", 32, 17),
    element(40, "NVFP4", 64, 36),
    element(41, "Q1_0", 128, 18),
    element(42, "Q2_0", 64, 18),
];

/// What the table says in sum.
#[derive(Debug, Default)]
pub(super) struct TensorTable {
    pub(super) count: u64,
    /// Elements of all tensors.
    pub(super) parameters: u64,
    /// Bytes of all tensors, without padding.
    pub(super) bytes: u64,
    /// The element type that holds most bytes.
    pub(super) dominant: Option<&'static str>,
    /// Rows of the token embedding: the vocabulary, where the tokenizer is not in the file.
    pub(super) embedding_rows: Option<u64>,
    /// Whether the model ends in a layer that scores documents instead of tokens.
    pub(super) classifier: bool,
}

struct Tensor {
    name: String,
    rows: u64,
    elements: u64,
    bytes: u64,
    element: &'static str,
    offset: u64,
}

/// Reads the table and checks that every tensor lies inside the file, aligned, behind the one before it, as llama.cpp
/// demands. `alignment` is a power of two.
pub(super) fn read_table<R: Read + Seek>(
    reader: &mut Reader<R>,
    count: u64,
    alignment: u64,
) -> Result<TensorTable, GgufError> {
    if count > MAX_TENSORS {
        return Err(GgufError::Limit { what: "the number of tensors", found: count, limit: MAX_TENSORS });
    }
    let mut names = HashSet::new();
    let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut table = TensorTable { count, ..TensorTable::default() };
    // Where the next tensor begins, and where the data really ends: the last one's padding may be missing.
    let (mut next, mut end) = (0u64, 0u64);
    for _ in 0..count {
        let tensor = read_tensor(reader)?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufError::Malformed(format!("tensor `{}` appears twice", shown(&tensor.name))));
        }
        if tensor.offset != next {
            let (name, offset) = (shown(&tensor.name), tensor.offset);
            return Err(GgufError::Malformed(format!("tensor `{name}` lies at {offset}, expected {next}")));
        }
        end = tensor.offset.checked_add(tensor.bytes).ok_or_else(|| too_large(&tensor.name))?;
        next = end.checked_next_multiple_of(alignment).ok_or_else(|| too_large(&tensor.name))?;
        table.parameters =
            table.parameters.checked_add(tensor.elements).ok_or_else(|| too_large(&tensor.name))?;
        table.bytes = table.bytes.checked_add(tensor.bytes).ok_or_else(|| too_large(&tensor.name))?;
        *kinds.entry(tensor.element).or_default() += tensor.bytes;
        match tensor.name.as_str() {
            "token_embd.weight" => table.embedding_rows = Some(tensor.rows),
            "cls.output.weight" | "cls.weight" => table.classifier = true,
            _ => {}
        }
    }
    let data = reader.position().checked_next_multiple_of(alignment);
    let file_end = data.and_then(|data| data.checked_add(end)).unwrap_or(u64::MAX);
    if count > 0 && file_end > reader.len() {
        return Err(GgufError::Truncated { what: "the tensor data" });
    }
    table.dominant = kinds.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(name, _)| name);
    Ok(table)
}

fn read_tensor<R: Read + Seek>(reader: &mut Reader<R>) -> Result<Tensor, GgufError> {
    let what = "the tensor table";
    let name = reader.string(MAX_NAME, "the length of a tensor's name")?;
    let name =
        String::from_utf8(name).map_err(|_| GgufError::Malformed("a tensor's name is not UTF-8".into()))?;
    let dimensions = reader.u32(what)?;
    if dimensions > MAX_DIMENSIONS {
        let (found, limit) = (u64::from(dimensions), u64::from(MAX_DIMENSIONS));
        return Err(GgufError::Limit { what: "the number of dimensions of a tensor", found, limit });
    }
    let mut shape = [1u64; MAX_DIMENSIONS as usize];
    for size in shape.iter_mut().take(dimensions as usize) {
        *size = reader.u64(what)?;
    }
    let id = reader.u32(what)?;
    let offset = reader.u64(what)?;
    let kind = ELEMENT_TYPES.iter().find(|kind| kind.id == id);
    let Some(kind) = kind else {
        return Err(GgufError::Malformed(format!(
            "tensor `{}` has the unknown element type {id}",
            shown(&name)
        )));
    };
    let [row, ..] = shape;
    if row % kind.elements != 0 {
        let (name, kind) = (shown(&name), kind.name);
        return Err(GgufError::Malformed(format!(
            "a row of tensor `{name}` has {row} elements, not whole {kind} blocks"
        )));
    }
    // ggml counts elements in signed 64 bits, and every dimension.
    if shape.iter().any(|size| i64::try_from(*size).is_err()) {
        return Err(too_large(&name));
    }
    let elements = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    let elements =
        elements.filter(|elements| i64::try_from(*elements).is_ok()).ok_or_else(|| too_large(&name))?;
    let bytes = (elements / kind.elements).checked_mul(kind.bytes).ok_or_else(|| too_large(&name))?;
    let rows = shape.iter().skip(1).fold(1u64, |rows, size| rows.saturating_mul(*size));
    Ok(Tensor { name, rows, elements, bytes, element: kind.name, offset })
}

fn too_large(name: &str) -> GgufError {
    GgufError::Malformed(format!("tensor `{}` is larger than any file", shown(name)))
}
