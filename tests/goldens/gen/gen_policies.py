"""policies-ref: golden vectors for the baseline cache policies, in plain NumPy with loops instead of tricks.

Scores come from causal attention of random queries and keys. Every rule is written out here a second time, from the
papers named in docs/cache.md; ties go to the lower index.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

SEED = 6100
WINDOW, POOL, SINKS = 32, 7, 4
LAYERS = 4
# T, q heads, kv heads, D, entries kept
GRID = [(12, 2, 2, 4, 5), (40, 4, 2, 8, 2), (40, 4, 2, 8, 9), (64, 4, 4, 8, 40), (90, 2, 1, 16, 36),
        (120, 6, 2, 8, 60), (160, 4, 1, 8, 34), (200, 4, 2, 8, 180)]
STEPS = 24


def attention(rng, q_heads, kv_heads, t, d, sharpness):
    """Causal attention with heavy columns -> probabilities [kv_heads, group, T, T], keys [kv_heads, T, D]."""
    k = rng.normal(size=(kv_heads, t, d)) + rng.normal(size=(kv_heads, 1, d))
    group = q_heads // kv_heads
    q = rng.normal(size=(kv_heads, group, t, d)) * sharpness + rng.normal(size=(kv_heads, 1, 1, d))
    logits = np.einsum("hgqd,hkd->hgqk", q, k) / np.sqrt(d)
    logits[..., np.triu(np.ones((t, t), bool), 1)] = -np.inf
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True), k.astype(np.float32)


def best(scores, must, n):
    """The n entries: those that must stay, then by score, the lower index first among equals."""
    order = sorted(range(len(scores)), key=lambda i: (i not in must, -float(scores[i]), i))
    return sorted(order[:n])


def h2o(scores, n):
    t = len(scores)
    return best(scores, {0} | set(range(t - max(1, n // 2), t)), n)


def local(t, n):
    sinks = min(SINKS, n - 1)
    return list(range(sinks)) + list(range(t - (n - sinks), t))


def snapkv(window_scores, n):
    t = len(window_scores)
    reach = POOL // 2
    pooled = [max(window_scores[max(0, i - reach):i + reach + 1]) for i in range(t)]
    return best(pooled, {0} | set(range(t - min(WINDOW, n - 1), t)), n)


def keydiff(k, n):
    unit = k.astype(np.float64) / np.linalg.norm(k.astype(np.float64), axis=1, keepdims=True)
    mean = unit.mean(0)
    difference = 1 - unit @ (mean / np.linalg.norm(mean))
    return best(difference, {0, len(k) - 1}, n)


def prefixkv(scores, n):
    """scores [layers, T]: entries per layer such that all layers hold the same part of their attention."""
    total, counts = n * len(scores), []
    parts = []
    for s in scores.astype(np.float64):
        s = s / s.sum()
        parts.append(s[0] + s[-1] + np.cumsum(np.sort(s[1:-1])[::-1]))

    def split(part):
        return [min(len(c) + 2, max(2 + int((c < part).sum()), int(0.3 * n), 3)) for c in parts]

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if sum(split(middle)) > total else (middle, high)
    return split(low)


def h2o_decode(rng, scores, kept, n):
    """Appends a token a step at a cap of n; -> attention paid [steps, T + steps], births held after every step."""
    t = len(scores)
    s = {i: float(scores[i]) for i in kept}
    paid, held = np.zeros((STEPS, t + STEPS), np.float32), []
    for step in range(STEPS):
        s[t + step] = 0.0
        alive = sorted(s)
        p = rng.dirichlet(np.full(len(alive), 0.3)).astype(np.float32)
        for birth, x in zip(alive, p):
            paid[step, birth] = x
            s[birth] += float(x)
        while len(s) > n:
            alive = sorted(s)
            middle = alive[1:len(alive) - max(1, n // 2)] or alive[1:2]
            del s[min(middle, key=lambda birth: (s[birth], birth))]
        held.append(sorted(s))
    return paid, np.array(held, np.int64)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    tensors, cases = {}, []
    for index, (t, q_heads, kv_heads, d, n) in enumerate(GRID):
        rng = np.random.default_rng([SEED, index])
        name = f"c{index}_T{t}_{q_heads}x{kv_heads}_n{n}"
        layer_scores = []
        for layer in range(LAYERS):
            p, k = attention(rng, q_heads, kv_heads, t, d, 0.6 + 0.5 * layer)
            layer_scores.append(p.mean(1).sum(1).astype(np.float32))
        score = layer_scores[-1]
        window = p.mean(1)[:, -WINDOW:].sum(1).astype(np.float32)
        put = {"score": score, "window": window, "k": k, "layer_scores": np.stack(layer_scores)}
        put["h2o"] = np.array([h2o(s, n) for s in score], np.int64)
        put["local"] = np.array([local(t, n)] * kv_heads, np.int64)
        put["snapkv"] = np.array([snapkv(s, n) for s in window], np.int64)
        put["keydiff"] = np.array([keydiff(x, n) for x in k], np.int64)
        put["prefixkv_counts"] = np.array(prefixkv(np.stack(layer_scores).mean(1), n), np.int64)
        decodes = [h2o_decode(rng, score[h], put["h2o"][h], n) for h in range(kv_heads)]
        put["h2o_paid"], put["h2o_held"] = (np.stack(x) for x in zip(*decodes))
        tensors |= {f"{name}/{key}": np.ascontiguousarray(value) for key, value in put.items()}
        cases.append({"name": name, "T": t, "q_heads": q_heads, "kv_heads": kv_heads, "head_dim": d, "keep": n,
                      "layers": LAYERS, "steps": STEPS})

    from safetensors.numpy import save_file

    save_file(tensors, str(out / "golden.safetensors"), metadata={"numpy": np.__version__})
    (out / "cases.json").write_text(json.dumps({"reference": "gen/gen_policies.py", "cases": cases},
                                               separators=(",", ":")))
    print(len(cases), "cases", sum(x.nbytes for x in tensors.values()) // 1000, "kB")


if __name__ == "__main__":
    main()
