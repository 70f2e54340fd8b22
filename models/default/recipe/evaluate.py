#!/usr/bin/env python3
"""Held-out loss and sample completions of a GGUF file (or several), read back and dequantized.

    python evaluate.py MODEL.gguf [MORE.gguf] --valid corpus/valid.txt [--prompts corpus/prompts.txt]

Every held-out document is scored whole, in windows of `--context` tokens that overlap by half,
so that each token but the first few of a document has at least half a window before it. Bits per byte
compare models whatever their tokenizers. The tokenizer is rebuilt from the GGUF as well.
"""
import argparse
import math

import gguf
import numpy as np
import torch
import torch.nn.functional as F

from model import Config, Llama
from prepare import documents


class Tokenizer:
    """SentencePiece BPE from the GGUF: merges the best-scored neighbours first."""

    def __init__(self, reader):
        field = reader.fields["tokenizer.ggml.tokens"]
        self.pieces = [bytes(field.parts[i]) for i in field.data]
        scores = reader.fields["tokenizer.ggml.scores"]
        self.score = {p: float(scores.parts[i][0]) for p, i in zip(self.pieces, scores.data)}
        types = reader.fields["tokenizer.ggml.token_type"]
        self.type = [int(types.parts[i][0]) for i in types.data]
        self.id = {p: i for i, p in enumerate(self.pieces) if self.type[i] == gguf.TokenType.NORMAL}
        self.cache = {}

    def word(self, text):
        parts = [c.encode() for c in text]
        while True:
            best, at = None, None
            for i in range(len(parts) - 1):
                s = self.score.get(parts[i] + parts[i + 1]) if parts[i] + parts[i + 1] in self.id else None
                if s is not None and (best is None or s > best):
                    best, at = s, i
            if at is None:
                break
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        out = []
        for p in parts:
            out += [self.id[p]] if p in self.id else [3 + b for b in p]  # bytes follow unk, bos, eos
        return out

    def encode(self, text):
        text = ("\u2581" + text.replace(" ", "\u2581")) if text else ""
        out = []
        # No piece has a space mark inside unless it is a run of them, so words can be taken one by one.
        start = 0
        for i in range(1, len(text) + 1):
            if i == len(text) or (text[i] == "\u2581" and text[i - 1] != "\u2581"):
                w = text[start:i]
                if w not in self.cache:
                    self.cache[w] = self.word(w)
                out += self.cache[w]
                start = i
        return out

    def decode(self, ids):
        raw = b"".join(bytes([i - 3]) if self.type[i] == gguf.TokenType.BYTE else b"" if i < 3 else self.pieces[i] for i in ids)
        return raw.decode("utf8", "replace").replace("\u2581", " ")


def load(path):
    reader = gguf.GGUFReader(path)
    get = lambda k: reader.fields["llama." + k].parts[-1][0].item()
    tensors = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)) for t in reader.tensors}
    cfg = Config(vocab=tensors["token_embd.weight"].shape[0], width=get("embedding_length"), layers=get("block_count"),
                 heads=get("attention.head_count"), kv_heads=get("attention.head_count_kv"), hidden=get("feed_forward_length"),
                 context=1024, rope_base=get("rope.freq_base"), eps=get("attention.layer_norm_rms_epsilon"))
    model = Llama(cfg)
    own = set(model.state_dict())
    model.load_state_dict({(n if n in own else n.removesuffix(".weight")): v for n, v in tensors.items()})
    return model.eval(), Tokenizer(reader), get("context_length")


@torch.no_grad()
def held_out(model, tok, docs, context):
    """Nats and count of predicted tokens (EOS included), and bytes of text."""
    nats, count, size = 0.0, 0, 0
    for doc in docs:
        ids = [1] + tok.encode(doc) + [2]
        size += len(doc.encode())
        done = 1  # tokens scored so far, BOS counts as given
        start = 0
        while done < len(ids):
            window = torch.tensor([ids[start:start + context + 1]])
            lp = F.log_softmax(model(window[:, :-1]).float(), -1)[0]
            each = -lp.gather(1, window[0, 1:, None])[:, 0]
            fresh = each[done - start - 1:]
            nats += fresh.sum().item()
            count += len(fresh)
            done = start + window.shape[1]
            start += context // 2
    return nats, count, size


@torch.no_grad()
def complete(model, tok, prompt, tokens, temperature, top_k, seed):
    g = torch.Generator().manual_seed(seed)
    ids = [1] + tok.encode(prompt)
    n = len(ids)
    for _ in range(tokens):
        logits = model(torch.tensor([ids]))[0, -1]
        if temperature == 0:
            nxt = int(logits.argmax())
        else:
            v, i = (logits / temperature).topk(top_k)
            nxt = int(i[torch.multinomial(v.softmax(-1), 1, generator=g)])
        if nxt == 2:
            break
        ids.append(nxt)
        if tok.decode(ids[n:]).rstrip().endswith((".", "?", "!", ":")) and len(ids) - n > 3:
            break
    return tok.decode(ids[n:])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("gguf", nargs="+")
    p.add_argument("--valid")
    p.add_argument("--prompts")
    p.add_argument("--tokens", type=int, default=24)
    p.add_argument("--temperature", type=float, default=0.0)
    p.add_argument("--top-k", type=int, default=40)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--context", type=int, help="window; default: what the file says")
    p.add_argument("--limit", type=int, default=0, help="only so many held-out documents")
    a = p.parse_args()
    torch.set_num_threads(1)
    for path in a.gguf:
        model, tok, context = load(path)
        if a.valid:
            docs = documents(a.valid)
            docs = docs[:a.limit] if a.limit else docs
            nats, count, size = held_out(model, tok, docs, a.context or context)
            print(f"{path}: window {a.context or context}, {len(docs)} documents, {size} bytes, {count} tokens: "
                  f"{nats / count:.4f} nats/token, {nats / size / math.log(2):.4f} bits/byte", flush=True)
        if a.prompts:
            for prompt in open(a.prompts, encoding="utf8").read().splitlines():
                print(f"{prompt} >>{complete(model, tok, prompt, a.tokens, a.temperature, a.top_k, a.seed)}", flush=True)


if __name__ == "__main__":
    main()
