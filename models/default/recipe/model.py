"""A small llama: the same arithmetic as llama.cpp's `llama` architecture, in plain PyTorch."""
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Config:
    vocab: int = 4096
    width: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    hidden: int = 704       # SwiGLU; rows of every matrix are multiples of 32, the q8_0 block
    context: int = 512
    rope_base: float = 10000.0
    eps: float = 1e-5

    @property
    def head_width(self):
        return self.width // self.heads

    def dict(self):
        return asdict(self)


def rope_tables(cfg):
    freq = 1.0 / cfg.rope_base ** (torch.arange(0, cfg.head_width, 2).float() / cfg.head_width)
    angle = torch.outer(torch.arange(cfg.context).float(), freq)
    return angle.cos()[:, None, :], angle.sin()[:, None, :]


def rotate(t, cos, sin):
    """RoPE over interleaved pairs: the NORM layout that llama.cpp uses for `llama`."""
    a, b = t[..., 0::2], t[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        linear = lambda i, o: nn.Linear(i, o, bias=False)
        kv = cfg.kv_heads * cfg.head_width
        self.attn_norm = nn.Parameter(torch.ones(cfg.width))
        self.attn_q, self.attn_k, self.attn_v = linear(cfg.width, cfg.width), linear(cfg.width, kv), linear(cfg.width, kv)
        self.attn_output = linear(cfg.width, cfg.width)
        self.ffn_norm = nn.Parameter(torch.ones(cfg.width))
        self.ffn_gate, self.ffn_up, self.ffn_down = linear(cfg.width, cfg.hidden), linear(cfg.width, cfg.hidden), linear(cfg.hidden, cfg.width)

    def forward(self, x, cos, sin):
        c = self.cfg
        b, n, _ = x.shape
        h = F.rms_norm(x, (c.width,), self.attn_norm, c.eps)
        q = rotate(self.attn_q(h).view(b, n, c.heads, c.head_width), cos, sin).transpose(1, 2)
        k = rotate(self.attn_k(h).view(b, n, c.kv_heads, c.head_width), cos, sin).transpose(1, 2)
        v = self.attn_v(h).view(b, n, c.kv_heads, c.head_width).transpose(1, 2)
        groups = c.heads // c.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, n, c.width)
        x = x + self.attn_output(a)
        h = F.rms_norm(x, (c.width,), self.ffn_norm, c.eps)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.token_embd = nn.Embedding(cfg.vocab, cfg.width)  # tied: also the output matrix
        self.blk = nn.ModuleList(Block(cfg) for _ in range(cfg.layers))
        self.output_norm = nn.Parameter(torch.ones(cfg.width))
        cos, sin = rope_tables(cfg)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                # Blocks start as the identity: their output matrices are zero.
                nn.init.zeros_(p) if "attn_output" in name or "ffn_down" in name else nn.init.normal_(p, 0, 0.02)

    def forward(self, tokens, targets=None):
        n = tokens.shape[1]
        cos, sin = self.cos[:n], self.sin[:n]
        x = self.token_embd(tokens)
        for block in self.blk:
            x = block(x, cos, sin)
        logits = F.linear(F.rms_norm(x, (self.cfg.width,), self.output_norm, self.cfg.eps), self.token_embd.weight)
        if targets is None:
            return logits
        return F.cross_entropy(logits.view(-1, self.cfg.vocab), targets.reshape(-1))
