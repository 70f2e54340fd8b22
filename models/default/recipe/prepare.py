#!/usr/bin/env python3
"""Cleans the corpus, trains the tokenizer, and writes one token stream per kind of text.

    python prepare.py CORPUS OUT [--emails EMAILS.txt] [--vocab 4096]

CORPUS holds business.txt, books.txt and valid.txt (see SOURCES.md); documents are separated
by a line <|endoftext|>. An existing OUT/tok.model is kept, so that streams can be renewed.
"""
import argparse
import os
import random
import re

import numpy as np
import sentencepiece as spm

END = "<|endoftext|>"
BOS, EOS = 1, 2
# Government web jargon: documents thick with it go to a stream of their own, sampled less.
JARGON = re.compile(r"\b(federal|agenc(y|ies)|government|GSA|TTS|18F|OMB|USWDS|API|APIs|508|FOIA|USA\.gov|Digital\.?Gov|"
                    r"cloud\.gov|login\.gov|open data|metadata|dataset|datasets|ADA|WCAG|ICT|PIV|PKI|FICAM|DHS|CISA|Congress|[A-Z]{3,5})\b")
WORD = re.compile(r"[A-Za-z']+")


def documents(path, shortest=200):
    with open(path, encoding="utf8") as f:
        docs = [d.strip() for d in f.read().split(END)]
    return [d for d in docs if len(d) > shortest]


def keep_line(line):
    """False for what is no prose: links, tables, debris of lists, rows of capitals or digits."""
    if not line:
        return True
    if "http" in line or "www." in line or "|" in line or "[external link]" in line or re.search(r"[{}<>=\\]|::|\.(html|pdf|md|json|xml)\b", line):
        return False
    words = WORD.findall(line)
    letters = sum(map(len, words))
    if letters < 0.7 * len(line.replace(" ", "")):
        return False
    if line.startswith(("- ", "* ")) and len(words) < 5:
        return False
    return sum(w.isupper() and len(w) > 1 for w in words) <= 0.2 * len(words)


def clean(doc):
    text = "\n".join(line for line in (l.strip() for l in doc.split("\n")) if keep_line(line))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def is_jargon(doc):
    return len(JARGON.findall(doc)) > 0.028 * len(doc.split())


def train_tokenizer(out, docs, vocab):
    spm.SentencePieceTrainer.train(
        sentence_iterator=(p.strip() for d in docs for p in d.split("\n") if p.strip()),
        model_prefix=os.path.join(out, "tok"), vocab_size=vocab, model_type="bpe", byte_fallback=True,
        character_coverage=0.9995, split_digits=True, allow_whitespace_only_pieces=True,
        remove_extra_whitespaces=False, normalization_rule_name="identity", add_dummy_prefix=True,
        unk_id=0, bos_id=BOS, eos_id=EOS, pad_id=-1, num_threads=2, input_sentence_size=300000,
        shuffle_input_sentence=True, max_sentence_length=8000, minloglevel=1)


def encode(sp, docs, rng=None):
    """Token stream with BOS and EOS around documents.

    With rng, a BOS is also put before some paragraphs: an editor asks for completions in the
    middle of a document, and its prompt begins at some paragraph, right after a BOS.
    """
    out = []
    for doc in docs:
        pieces, part = [], []
        for paragraph in doc.split("\n\n"):
            if part and rng and rng.random() < 0.2:
                pieces.append(part)
                part = []
            part.append(paragraph)
        pieces.append(part)
        for part in pieces:
            out.append(BOS)
            out += sp.encode("\n\n".join(part))
        out.append(EOS)
    return np.array(out, dtype=np.uint16)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("corpus")
    p.add_argument("out")
    p.add_argument("--emails")
    p.add_argument("--vocab", type=int, default=4096)
    p.add_argument("--only-emails", action="store_true", help="renew the e-mail stream alone")
    a = p.parse_args()
    rng = random.Random(1)
    streams = {}
    if not a.only_emails:
        business = [c for c in map(clean, documents(f"{a.corpus}/business.txt")) if len(c) > 200]
        streams["business"] = [d for d in business if not is_jargon(d)]
        streams["government"] = [d for d in business if is_jargon(d)]
        streams["books"] = documents(f"{a.corpus}/books.txt")
        streams["valid"] = documents(f"{a.corpus}/valid.txt")  # as it is: figures stay comparable
    if a.emails:
        streams["emails"] = documents(a.emails, 60)
    model = os.path.join(a.out, "tok.model")
    if not os.path.exists(model):
        # Books count half: they are not what the model is for.
        train_tokenizer(a.out, [d for k, ds in streams.items() if k != "valid" for d in (ds[::2] if k == "books" else ds)], a.vocab)
    sp = spm.SentencePieceProcessor(model_file=model)
    for name, docs in streams.items():
        rng.shuffle(docs)
        tokens = encode(sp, docs, None if name == "valid" else rng)
        tokens.tofile(os.path.join(a.out, name + ".tmp"))
        os.replace(os.path.join(a.out, name + ".tmp"), os.path.join(a.out, name + ".bin"))
        size = sum(len(d.encode()) for d in docs)
        print(f"{name}: {len(docs)} documents, {size / 1e6:.2f} MB, {len(tokens) / 1e6:.2f} M tokens, {size / len(tokens):.2f} bytes a token")


if __name__ == "__main__":
    main()
