#!/usr/bin/env python3
"""Writes a checkpoint as a GGUF file for llama.cpp.

    python export.py run/checkpoint.pt data/tok.model OUT.gguf [--type q8_0|f16|f32]
"""
import argparse
import os

import gguf
import numpy as np
import sentencepiece as spm
import torch

from model import Config

TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
DESCRIPTION = "Small completion model for everyday business prose in English. It finishes sentences; it knows no facts and follows no instructions."


def add_model(w, cfg):
    w.add_name("inshore-default")
    w.add_description(DESCRIPTION)
    w.add_license("CC0-1.0")
    w.add_languages(["en"])
    w.add_context_length(cfg.context)
    w.add_embedding_length(cfg.width)
    w.add_block_count(cfg.layers)
    w.add_feed_forward_length(cfg.hidden)
    w.add_head_count(cfg.heads)
    w.add_head_count_kv(cfg.kv_heads)
    w.add_layer_norm_rms_eps(cfg.eps)
    w.add_rope_dimension_count(cfg.head_width)
    w.add_rope_freq_base(cfg.rope_base)
    w.add_vocab_size(cfg.vocab)


def token_type(sp, i):
    if sp.is_unknown(i):
        return gguf.TokenType.UNKNOWN
    if sp.is_control(i):
        return gguf.TokenType.CONTROL
    return gguf.TokenType.BYTE if sp.is_byte(i) else gguf.TokenType.NORMAL


def add_tokenizer(w, sp):
    ids = range(sp.vocab_size())
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list([sp.id_to_piece(i).encode() for i in ids])
    w.add_token_scores([sp.get_score(i) for i in ids])
    w.add_token_types([token_type(sp, i) for i in ids])
    w.add_unk_token_id(sp.unk_id())
    w.add_bos_token_id(sp.bos_id())
    w.add_eos_token_id(sp.eos_id())
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(True)


def tensors(state):
    """(GGUF name, array) in file order; names follow model.py, which follows llama.cpp."""
    for name, value in state.items():
        value = value.float().numpy()
        if name.endswith("norm"):
            name += ".weight"
        yield name, value


def main():
    p = argparse.ArgumentParser()
    p.add_argument("checkpoint")
    p.add_argument("tokenizer")
    p.add_argument("out")
    p.add_argument("--type", default="q8_0", choices=list(TYPES))
    a = p.parse_args()
    c = torch.load(a.checkpoint, map_location="cpu")
    qtype, ftype = TYPES[a.type]
    w = gguf.GGUFWriter(a.out + ".tmp", "llama")
    add_model(w, Config(**c["config"]))
    add_tokenizer(w, spm.SentencePieceProcessor(model_file=a.tokenizer))
    w.add_file_type(ftype)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, value in tensors(c["model"]):
        if value.ndim == 1 or a.type == "f32":  # norms stay in f32
            w.add_tensor(name, value.astype(np.float32))
        else:
            w.add_tensor(name, gguf.quants.quantize(value, qtype), raw_dtype=qtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    os.replace(a.out + ".tmp", a.out)  # never leave half a file under the final name
    print(f"{a.out}: {os.path.getsize(a.out)} bytes, step {c['step']}, {c['tokens']} tokens")


if __name__ == "__main__":
    main()
