#!/usr/bin/env python3
"""Writes Tests/Golden/muon.safetensors: three steps of Muon and Muon Split in f64, from the formulas alone (NumPy).

    python Tools/muon_golden.py

The tensors are those of a tiny checkpoint (the config stands in Tests/GlimModelTests/GoldenMuonTests.swift), both dense
and MoE, with an MTP layer and an indexer; gradients are random and larger than what clipping lets through. For every
tensor NAME:

    initial.NAME, gradient.1.NAME … gradient.3.NAME
    muon.NAME, muon-split.NAME     after the third step

Embeddings, head, router, indexer and vectors are AdamW's. The rest is Muon's (GLM-5 report, section 2.1; Jordan et al.
2024; Liu et al. 2025), one block a tensor; split, one block for each head's rows of q_b_proj and for the key and the
value rows of each head in kv_b_proj.
"""
import pathlib
import re

import numpy as np
from safetensors.numpy import save_file

H, N, R, V, C, Q, D, W = 5, 6, 4, 5, 10, 14, 12, 17
DENSE, EXPERT, EXPERTS = 15, 8, 2
RATES, DECAY, CLIP, MOMENTUM, BETAS, EPSILON = (0.5, 0.3, 0.2), 0.1, 1.0, 0.95, (0.9, 0.95), 1e-8


def shapes():
    """The tensors of a checkpoint with one dense layer, one of experts, and an MTP layer of experts."""
    found = {"model.embed_tokens.weight": (W, D), "model.norm.weight": (D,), "lm_head.weight": (W, D)}

    def mlp(prefix, width):
        found.update({f"{prefix}.gate_proj.weight": (width, D), f"{prefix}.up_proj.weight": (width, D),
                      f"{prefix}.down_proj.weight": (D, width)})

    for i in range(3):
        layer, attention = f"model.layers.{i}", f"model.layers.{i}.self_attn"
        found.update({
            f"{layer}.input_layernorm.weight": (D,), f"{layer}.post_attention_layernorm.weight": (D,),
            f"{attention}.q_a_proj.weight": (Q, D), f"{attention}.q_a_layernorm.weight": (Q,),
            f"{attention}.q_b_proj.weight": (H * (N + R), Q),
            f"{attention}.kv_a_proj_with_mqa.weight": (C + R, D), f"{attention}.kv_a_layernorm.weight": (C,),
            f"{attention}.kv_b_proj.weight": (H * (N + V), C), f"{attention}.o_proj.weight": (D, H * V),
            f"{attention}.indexer.wq_b.weight": (2 * R, Q), f"{attention}.indexer.wk.weight": (R, D),
            f"{attention}.indexer.k_norm.weight": (R,), f"{attention}.indexer.k_norm.bias": (R,),
            f"{attention}.indexer.weights_proj.weight": (2, D)})
        if i == 0:
            mlp(f"{layer}.mlp", DENSE)
            continue
        found[f"{layer}.mlp.gate.weight"] = (EXPERTS, D)
        for e in range(EXPERTS):
            mlp(f"{layer}.mlp.experts.{e}", EXPERT)
        mlp(f"{layer}.mlp.shared_experts", EXPERT)
    found.update({f"model.layers.2.{norm}.weight": (D,) for norm in ("enorm", "hnorm", "shared_head.norm")})
    found["model.layers.2.eh_proj.weight"] = (D, 2 * D)
    return found


def is_muons(name, shape):
    return len(shape) == 2 and not re.search(r"embed_tokens|lm_head|mlp\.gate\.|indexer", name)


def blocks(name, split):
    """Slices of rows that are orthogonalised apart."""
    if split and "q_b_proj" in name:
        return [slice(h * (N + R), (h + 1) * (N + R)) for h in range(H)]
    if split and "kv_b_proj" in name:
        edges = [(h * (N + V), h * (N + V) + N, (h + 1) * (N + V)) for h in range(H)]
        return [part for a, b, c in edges for part in (slice(a, b), slice(b, c))]
    return [slice(None)]


def newton_schulz(u):
    x = u / (np.linalg.norm(u) + 1e-7)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if is_tall else x


def muon(w, m, g, rate, parts):
    m = MOMENTUM * m + g
    u, w = g + MOMENTUM * m, w.copy()
    for part in parts:
        x = newton_schulz(u[part])
        w[part] -= rate * (0.2 * np.sqrt(max(x.shape)) * x + DECAY * w[part])
    return w, m


def adamw(w, m, v, g, rate, step):
    m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
    direction = (m / (1 - BETAS[0] ** step)) / (np.sqrt(v / (1 - BETAS[1] ** step)) + EPSILON)
    return w - rate * (direction + (DECAY if w.ndim == 2 else 0) * w), m, v


def main():
    # Before anything else, by hand: GLM-5's reference vector.
    found = newton_schulz(np.array([[1.0, 2, 3], [4, 5, 7]]))
    assert np.abs(found - [[-0.6591772, 0.1996672, 0.5525045], [0.5583653, 0.3184513, 0.3446303]]).max() < 1e-6
    rng, out = np.random.default_rng(5), {}
    initial = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes().items()}
    gradients = [{name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes().items()}
                 for _ in RATES]
    for name in initial:
        out[f"initial.{name}"] = initial[name]
        out.update({f"gradient.{i + 1}.{name}": g[name] for i, g in enumerate(gradients)})
    for kind in ("muon", "muon-split"):
        for name in initial:
            w = initial[name].astype(np.float64)
            m, v = np.zeros_like(w), np.zeros_like(w)
            for i, rate in enumerate(RATES):
                norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients[i].values()))
                assert norm > CLIP
                g = gradients[i][name].astype(np.float64) * CLIP / norm
                if is_muons(name, w.shape):
                    w, m = muon(w, m, g, rate, blocks(name, kind == "muon-split"))
                else:
                    w, m, v = adamw(w, m, v, g, rate, i + 1)
            out[f"{kind}.{name}"] = w.astype(np.float32)
    path = pathlib.Path(__file__).resolve().parent.parent / "Tests" / "Golden" / "muon.safetensors"
    save_file(out, path)
    print(f"{path}: {len(out)} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
