#!/usr/bin/env python3
"""Training speed of glim and PyTorch side by side, on the same shape, in one run.

    python Tools/train_speed.py --glim .build/release/glim
    python Tools/train_speed.py --glim .build/release/glim --layouts sparse --modes bf16-compile

Two layouts of about 10M parameters: dense (glm4_moe_lite) at length 512, sparse (glm_moe_dsa) at length 2048; 8,192 tokens
a step. A step is forward, cross-entropy, backward and AdamW. PyTorch runs transformers' model with fused AdamW, eager and
compiled, in f32 and under bf16 autocast, each mode in a process of its own; glim runs before and after each of them. Neither
trains the indexer. Figures are medians of steps; the read bandwidth of the machine stands beside each of glim's.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

MODES = ["f32-eager", "f32-compile", "bf16-eager", "bf16-compile"]
LAYOUTS = {"dense": ("glm4_moe_lite", 512), "sparse": ("glm_moe_dsa", 2048)}

SHAPE = dict(
    vocab_size=4096, hidden_size=256, intermediate_size=512, moe_intermediate_size=96, num_hidden_layers=6,
    first_k_dense_replace=1, n_routed_experts=16, num_experts_per_tok=2, n_shared_experts=1, num_attention_heads=4,
    num_key_value_heads=4, q_lora_rank=128, kv_lora_rank=64, qk_nope_head_dim=48, qk_rope_head_dim=16, v_head_dim=64,
    n_group=1, topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5, rms_norm_eps=1e-5, rope_interleave=True,
    max_position_embeddings=8192, tie_word_embeddings=False, num_nextn_predict_layers=0, attention_bias=False,
    mlp_layer_types=["dense"] + ["sparse"] * 5, rope_parameters=dict(rope_theta=1e6, rope_type="default"),
    bos_token_id=0, eos_token_id=1, pad_token_id=1)
INDEXER = dict(index_n_heads=4, index_head_dim=64, index_topk=256, indexer_rope_interleave=True)


def make(layout, folder):
    """A model of the layout with random weights, saved where glim reads it."""
    import torch
    import transformers

    torch.manual_seed(0)
    kind, _ = LAYOUTS[layout]
    shape = SHAPE | (INDEXER if layout == "sparse" else {})
    config = transformers.AutoConfig.for_model(kind, **shape)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)


def child(options):
    """One mode of PyTorch; prints the tokens per second of its steps."""
    import contextlib

    import torch
    import transformers

    torch.set_num_threads(options.threads)
    precision, how = options.child.split("-")
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32,
                                                              attn_implementation="sdpa")
    model.train()
    run = torch.compile(model) if how == "compile" else model
    cast = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if precision == "bf16" else contextlib.nullcontext
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    rows = options.tokens // options.length
    data = [torch.randint(2, model.config.vocab_size, (rows, options.length)) for _ in range(4)]
    rates, begun = [], time.perf_counter()
    for step in range(options.steps + 2):  # two to warm up
        start = time.perf_counter()
        with cast():
            loss = run(data[step % 4], labels=data[step % 4], use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if step > 1:
            rates.append(rows * options.length / (time.perf_counter() - start))
        if rates and time.perf_counter() - begun > options.budget:
            break
    print("RATES " + json.dumps(rates))


def torch_rates(mode, length, folder, options):
    command = [sys.executable, os.path.abspath(__file__), "--child", mode, "--model", folder, "--length", str(length),
               "--tokens", str(options.tokens), "--threads", str(options.threads), "--steps", str(options.steps),
               "--budget", str(options.budget)]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("RATES "):
            return json.loads(line[6:])
    sys.exit(f"PyTorch {mode} failed: {done.stderr.strip()[-800:]}")


def glim(dtype, length, folder, options):
    command = [options.glim, "bench", "train", "--model", folder, "--sequence-length", str(length), "--batch",
               str(options.tokens // length), "--compute-dtype", dtype, "--threads", str(options.threads), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"glim failed: {done.stderr.strip()[-800:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(layout, options):
    kind, length = LAYOUTS[layout]
    found = {mode: [] for mode in options.modes}
    mine = {"float32": [], "bfloat16": []}
    peak = bandwidth = 0
    with tempfile.TemporaryDirectory() as folder:
        make(layout, folder)
        for mode in options.modes:
            for dtype in mine:
                got = glim(dtype, length, folder, options)
                mine[dtype].append(got["tokens_per_second"])
                peak = max(peak, got["peak_bytes"])
                print(f"  glim {dtype:8s} {got['tokens_per_second']:8.0f} tokens/s, read bandwidth "
                      + "/".join(f"{x / 1e9:.0f}" for x in got["bandwidth_bytes_per_second"]) + " GB/s", flush=True)
            found[mode] = torch_rates(mode, length, folder, options)
            print(f"  PyTorch {mode:12s} {statistics.median(found[mode]):8.0f} tokens/s "
                  f"({min(found[mode]):.0f} to {max(found[mode]):.0f})", flush=True)
    torch_best = {mode: statistics.median(rates) for mode, rates in found.items()}
    glim_best = {dtype: statistics.median(rates) for dtype, rates in mine.items()}
    best = max(torch_best.values())
    print(f"{layout} ({kind}), length {length}, {options.tokens} tokens a step, {options.threads} threads; glim's tensors "
          f"{peak / 1e6:.0f} MB at the highest")
    for dtype, rate in glim_best.items():
        eager = f", {rate / torch_best['f32-eager']:.2f} times f32 eager" if "f32-eager" in torch_best else ""
        print(f"  glim {dtype:8s} {rate:8.0f} tokens/s: {rate / best:.2f} times PyTorch's best{eager}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", help="the binary")
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--tokens", type=int, default=8192, help="tokens a step")
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed, of PyTorch")
    parser.add_argument("--budget", type=float, default=90, help="seconds after which a mode of PyTorch stops early")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)
    if not options.glim:
        parser.error("--glim: which binary?")
    for layout in options.layouts:
        compare(layout, options)


if __name__ == "__main__":
    main()
