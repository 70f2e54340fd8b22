//! Model files: honest ones are described, all others are an error.

use std::io::Cursor;

use inshore_engine::frames::KvType;
use inshore_engine::gguf::{Estimate, GgufError, LoadShape, Model, Special, read};
use proptest::prelude::*;

use crate::parent_support::Gguf;

fn model(gguf: &Gguf) -> Model {
    read(Cursor::new(gguf.bytes())).unwrap()
}

fn refused(gguf: &Gguf) -> String {
    read(Cursor::new(gguf.bytes())).unwrap_err().to_string()
}

#[test]
fn an_honest_file_is_described() {
    let model = model(&Gguf::chat().f32("general.sampling.temp", 0.25).text("general.license", "mit"));
    assert_eq!(
        (model.architecture.as_str(), model.name.as_deref(), model.license.as_deref()),
        ("llama", Some("Tiny"), Some("mit"))
    );
    assert_eq!((model.parameters, model.tensor_bytes, model.quantization.as_str()), (1024, 4096, "F32"));
    assert_eq!((model.context_length, model.vocabulary, model.infill), (Some(4096), Some(8), true));
    assert_eq!(model.eos.as_ref().map(|token| token.text.as_str()), Some("<|im_end|>"));
    assert_eq!(model.special_tokens.iter().filter(|token| token.special == Special::Control).count(), 6);
    assert_eq!(model.sampling.temperature, Some(0.25));
    assert!(!model.embedding_only());
}

#[test]
fn the_default_model_is_described() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/default/inshore-default-q8_0.gguf");
    let Ok(file) = std::fs::File::open(path) else { return };
    let model = read(file).unwrap();
    assert_eq!((model.architecture.as_str(), model.quantization.as_str()), ("llama", "Q8_0"));
    assert!(model.parameters > 5_000_000 && model.parameters < 30_000_000, "{}", model.parameters);
    assert!(model.chat_template.is_none());
}

#[test]
fn a_large_vocabulary_stays_in_the_file() {
    let tokens: Vec<String> =
        (0..5000).map(|n| if n == 4321 { "<|im_end|>".into() } else { format!("token{n}") }).collect();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let kinds: Vec<i32> = (0..5000).map(|n| if n == 4321 { 3 } else { 1 }).collect();
    // Types in front of the tokens they belong to, as some converters write them.
    let gguf =
        Gguf::new("qwen2").i32s("tokenizer.ggml.token_type", &kinds).texts("tokenizer.ggml.tokens", &tokens);
    let model =
        model(&gguf.u32("tokenizer.ggml.eos_token_id", 4321).tensor("token_embd.weight", &[32, 5000], 0));
    assert_eq!(model.vocabulary, Some(5000));
    assert_eq!(model.special_tokens.len(), 1);
    assert_eq!(model.eos.unwrap().text, "<|im_end|>");
}

#[test]
fn each_kind_of_lie_is_named() {
    let base = || Gguf::new("llama");
    let big = Gguf { version: 0x0300_0000, ..base() };
    let future = Gguf { version: 9, ..base() };
    for (gguf, part) in [
        (big, "big-endian"),
        (future, "version 9 is not supported"),
        (base().u32("a", 1).u32("a", 2), "`a` is empty or appears twice"),
        (base().raw("a", 77, &[]), "unknown type 77"),
        (base().array("a", 9, 1, &[]), "unusable type 9"),
        (base().array("a", 4, u64::MAX, &[]), "more than the limit"),
        (base().array("a", 8, u64::MAX / 2, &[]), "more than the limit"),
        (base().array("a", 8, 1000, &[0xff; 8]), "truncated"),
        (base().raw("a", 8, &u64::MAX.to_le_bytes()), "truncated"),
        (base().raw("general.alignment", 4, &3u32.to_le_bytes()), "not a power of two"),
        (base().raw("general.alignment", 8, &0u64.to_le_bytes()), "not a power of two"),
        (base().u32("split.count", 3).u32("split.no", 1), "part 2 of a model split into 3"),
        (base().bad_tensor("t", &[1 << 62, 1 << 62], 0, 0), "larger than any file"),
        (base().bad_tensor("t", &[u64::MAX], 0, 0), "larger than any file"),
        (base().bad_tensor("t", &[u64::MAX, 0, u64::MAX, u64::MAX], 24, 0), "larger than any file"),
        (base().bad_tensor("t", &[32], 4, 0), "unknown element type 4"),
        (base().bad_tensor("t", &[31], 8, 0), "not whole Q8_0 blocks"),
        (base().bad_tensor("t", &[1, 1, 1, 1, 1], 0, 0), "number of dimensions"),
        (base().bad_tensor("t", &[1 << 20], 0, 0), "truncated"),
        (base().bad_tensor("t", &[8], 0, 64), "lies at 64, expected 0"),
        (base().tensor("t", &[8], 0).tensor("t", &[8], 0), "`t` appears twice"),
        (base().bad_tensor(&"n".repeat(64), &[8], 0, 0), "length of a tensor's name"),
        (Gguf::new(""), "`general.architecture` is missing"),
    ] {
        let message = refused(&gguf);
        assert!(message.contains(part), "{message}, expected {part}");
    }
    assert!(matches!(read(Cursor::new(b"PK\x03\x04")), Err(GgufError::NotGguf)));
    assert!(matches!(read(Cursor::new(b"")), Err(GgufError::NotGguf)));
}

#[test]
fn a_huge_count_costs_nothing() {
    for counts in [[u64::MAX, 0], [0, u64::MAX], [1 << 16, 1 << 15]] {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        counts.iter().for_each(|count| bytes.extend(count.to_le_bytes()));
        assert!(read(Cursor::new(bytes)).is_err());
    }
}

#[test]
fn memory_is_computed_and_shown() {
    let gguf = Gguf::new("llama")
        .u32("llama.embedding_length", 2048)
        .u32("llama.block_count", 16)
        .u32("llama.attention.head_count", 32)
        .u32("llama.attention.head_count_kv", 8)
        .u32("llama.vocab_size", 128_256)
        .tensor("output.weight", &[64, 8], 0);
    let shape = LoadShape { context: 8192, batch: 512, kv_type: KvType::F16, retained_bytes: 0 };
    let estimate = Estimate::of(&model(&gguf), shape);
    // Llama 3.2 1B: 16 layers × 8 heads × (64 + 64) × 2 bytes.
    assert_eq!(estimate.kv_per_token, 32 << 10);
    insta::assert_snapshot!(estimate.to_string());
    assert_eq!(estimate.context_that_fits(estimate.total()), 8192);
    assert_eq!(estimate.context_that_fits(0), 0);
    let small = Estimate::of(&model(&gguf), LoadShape { kv_type: KvType::Q8_0, ..shape });
    assert_eq!(small.kv_per_token, 17 << 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_a_model_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(Cursor::new([b"GGUF\x03\0\0\0".as_slice(), &bytes].concat()));
        let _ = read(Cursor::new(bytes));
    }

    #[test]
    fn a_cut_file_is_an_error(cut in 0.0f64..1.0) {
        let bytes = Gguf::chat().bytes();
        let len = (bytes.len() as f64 * cut) as usize;
        // The very end is padding.
        prop_assume!(len < bytes.len() - 32);
        prop_assert!(read(Cursor::new(&bytes[..len])).is_err());
    }

    #[test]
    fn flipped_bits_never_panic(flips in proptest::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..6)) {
        let mut bytes = Gguf::chat().bytes();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Ok(model) = read(Cursor::new(&bytes)) {
            let shape = LoadShape { context: u32::MAX, batch: u32::MAX, kv_type: KvType::F16, retained_bytes: u64::MAX };
            let _ = Estimate::of(&model, shape).to_string();
        }
    }
}
