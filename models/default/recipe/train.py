#!/usr/bin/env python3
"""Trains the model on a CPU until a time of day, and survives pauses and restarts.

    DATA=data RUN=run DECAY=07:10 DEADLINE=07:40 python train.py

The learning rate is flat after a short warm-up and falls linearly to zero between DECAY and
DEADLINE. Both may be moved while the run goes on: the file RUN/deadline, when there, holds
two times, "HH:MM HH:MM". The run may be stopped (SIGSTOP) and continued at any time: the rate
falls by at most one part in fifty each step, so a jump of the clock does no harm. It starts
again from RUN/checkpoint.pt. Token streams are read again when their files change.
"""
import datetime
import json
import os
import signal
import time

import numpy as np
import torch

from model import Config, Llama

THREADS = int(os.environ.get("THREADS", "2"))
DATA, RUN = os.environ.get("DATA", "data"), os.environ.get("RUN", "run")
TOKENS_PER_STEP = int(os.environ.get("BATCH", "8192"))
MUON_LR, ADAM_LR = float(os.environ.get("MUON_LR", "0.014")), float(os.environ.get("ADAM_LR", "0.004"))
WARMUP_STEPS = 60
# Shares of the text kinds: while the rate is flat, and while it falls (closer to the use).
FLAT = {"business": 0.40, "government": 0.19, "books": 0.24, "emails": 0.17}
FALL = {"business": 0.44, "government": 0.15, "books": 0.19, "emails": 0.22}


def clock(text):
    """Seconds since 1970 of HH:MM today."""
    h, m = map(int, text.split(":"))
    return datetime.datetime.now().replace(hour=h, minute=m, second=0).timestamp()


class Schedule:
    """Learning-rate factor and sequence length, from the clock."""

    def __init__(self):
        self.factor = 1.0
        self.read()

    def read(self):
        decay, end = os.environ.get("DECAY", "07:10"), os.environ.get("DEADLINE", "07:40")
        path = os.path.join(RUN, "deadline")
        if os.path.exists(path):
            decay, end = open(path).read().split()
        self.decay, self.end = clock(decay), clock(end)

    def step(self):
        wanted = min(1.0, max(0.0, (self.end - time.time()) / (self.end - self.decay)))
        self.factor = max(wanted, self.factor - 0.02)  # a deadline moved back raises it again, smoothly enough
        return self.factor

    def length(self):
        return 512 if time.time() >= self.decay or self.factor < 1 else 256


class Streams:
    """Random windows of the token streams, in given shares."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.stamp, self.data = {}, {}
        self.refresh()

    def refresh(self):
        for name in FLAT:
            path = os.path.join(DATA, name + ".bin")
            stamp = os.stat(path).st_mtime
            if self.stamp.get(name) != stamp:
                self.stamp[name], self.data[name] = stamp, np.fromfile(path, dtype=np.uint16)
                print(f"read {name}: {len(self.data[name])} tokens", flush=True)

    def batch(self, shares, rows, length):
        names = self.rng.choice(list(shares), rows, p=list(shares.values()))
        out = np.empty((rows, length + 1), dtype=np.int64)
        for row, name in zip(out, names):
            d = self.data[name]
            at = self.rng.integers(0, len(d) - length - 1)
            row[:] = d[at:at + length + 1]
        t = torch.from_numpy(out)
        return t[:, :-1].contiguous(), t[:, 1:].contiguous()


# Coefficients of four Newton-Schulz steps, best one after another (Polar Express, Amsel et al. 2025).
POLAR = ((8.28721201814563, -23.595886519098837, 17.300387312530933),
         (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
         (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
         (3.3184196573706015, -2.488488024314874, 0.51004894012372))


def orthogonalize(g):
    """The nearest matrix with equal singular values, roughly, for each of a stack of matrices."""
    tall = g.shape[-2] > g.shape[-1]
    x = g.mT if tall else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for a, b, c in POLAR:
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x.mT if tall else x


class Muon:
    """Muon (Jordan et al. 2024): momentum, made orthogonal, for the matrices inside the blocks. Equal shapes go together."""

    def __init__(self, params, momentum=0.95, decay=0.02):
        self.groups, self.momentum, self.decay = {}, momentum, decay
        for p in params:
            self.groups.setdefault(tuple(p.shape), []).append(p)
        self.buffers = {s: torch.zeros(len(ps), *s) for s, ps in self.groups.items()}

    @torch.no_grad()
    def step(self, lr):
        for shape, params in self.groups.items():
            g, m = torch.stack([p.grad for p in params]), self.buffers[shape]
            m.lerp_(g, 1 - self.momentum)
            u = orthogonalize(g.lerp(m, self.momentum))
            u *= max(1.0, shape[0] / shape[1]) ** 0.5
            for p, d in zip(params, u):
                p.mul_(1 - lr * self.decay).sub_(d, alpha=lr)


def save(path, **parts):
    torch.save(parts, path + ".tmp")
    os.replace(path + ".tmp", path)


@torch.no_grad()
def held_out(model, valid, length=512, rows=40):
    """Quick figure on fixed windows of the held-out text; evaluate.py gives the real one."""
    at = np.linspace(0, len(valid) - length - 2, rows).astype(int)
    w = torch.from_numpy(np.stack([valid[i:i + length + 1] for i in at]).astype(np.int64))
    return sum(model(w[i:i + 4, :-1], w[i:i + 4, 1:]).item() * 4 for i in range(0, rows, 4)) / rows


def main():
    torch.set_num_threads(THREADS)
    os.makedirs(RUN, exist_ok=True)
    open(os.path.join(RUN, "pid"), "w").write(str(os.getpid()))
    cfg = Config(**json.loads(os.environ.get("CONFIG", "{}")))
    torch.manual_seed(0)
    model = Llama(cfg)
    hidden = [p for n, p in model.named_parameters() if p.dim() == 2 and "blk" in n]
    rest = [p for n, p in model.named_parameters() if not (p.dim() == 2 and "blk" in n)]
    muon, adam = Muon(hidden), torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    step, tokens, busy = 0, 0, 0.0
    path = os.path.join(RUN, "checkpoint.pt")
    if os.path.exists(path):
        c = torch.load(path)
        model.load_state_dict(c["model"]); adam.load_state_dict(c["adam"]); muon.buffers = c["muon"]
        step, tokens, busy = c["step"], c["tokens"], c["busy"]
    print(f"{sum(p.numel() for p in model.parameters())} parameters, from step {step}", flush=True)
    compiled = torch.compile(model, dynamic=False)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))  # ends after the step, with a checkpoint
    schedule, streams = Schedule(), Streams(step)
    valid = np.fromfile(os.path.join(DATA, "valid.bin"), dtype=np.uint16)

    def checkpoint():
        save(path, model=model.state_dict(), adam=adam.state_dict(), muon=muon.buffers, step=step, tokens=tokens, busy=busy, config=cfg.dict())

    saved = looked = time.time()
    recent = []
    while True:
        began = time.time()
        factor = schedule.step()
        if factor <= 0 or stop:
            break
        length = schedule.length()
        x, y = streams.batch(FLAT if factor == 1 else FALL, TOKENS_PER_STEP // length, length)
        loss = compiled(x, y)
        loss.backward()
        lr = factor * min(1.0, (step + 1) / WARMUP_STEPS)
        for g in adam.param_groups:
            g["lr"] = ADAM_LR * lr
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        adam.step()
        muon.step(MUON_LR * lr)
        model.zero_grad(set_to_none=True)
        step, tokens = step + 1, tokens + x.numel()
        recent.append((loss.item(), x.numel(), time.time() - began))
        busy += min(time.time() - began, 60)
        if step % 50 == 0:
            schedule.read(); streams.refresh()
            l, n, s = (sum(c) for c in zip(*recent[-50:]))
            print(f"{datetime.datetime.now():%H:%M:%S} step {step} tokens {tokens / 1e6:.2f}M length {length} factor {factor:.2f} loss {l / len(recent[-50:]):.3f} {n / s:.0f} tokens/s", flush=True)
            recent = recent[-50:]
        if time.time() - saved > 300:
            checkpoint(); saved = time.time()
        if time.time() - looked > 600:
            print(f"held out {held_out(model, valid):.4f}", flush=True); looked = time.time()
    checkpoint()
    print(f"end: step {step} tokens {tokens} busy {busy:.0f} s, held out {held_out(model, valid):.4f}", flush=True)


if __name__ == "__main__":
    main()
