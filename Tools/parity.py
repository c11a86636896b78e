#!/usr/bin/env python3
"""Holds glim against transformers on random models that nobody has seen before.

    python Tools/parity.py --glim .build/release/glim --cases 20
    python Tools/parity.py --glim .build/release/glim --seed 7 --only 13 --keep /tmp/case13

Each case is a new architecture, new weights and new tokens: GLM-5 (DSA) or GLM-4.7-Flash (MLA), 2 to 6 layers,
sequences up to 512 tokens, top-k 16 to 64, shared indexers, expert groups, odd sizes, tied embeddings, MTP layers to be
ignored, bf16 files, shards, fused experts. Checked: logits within 2e-4 of transformers (f32, eager); the same bytes
from --mode train, decode and chunked:7 and from one and two threads; the selected keys of every full layer; loss
within 1e-5 and every gradient within 1e-3 of its norm, none for the indexer; the logprobs of `grad` equal to those of
`score --what logprobs` bit for bit. A failing case also says which side f64 agrees with.

With --bf16 every case computes its products in bf16. Bytes must still be equal; the error, against transformers in f32,
may be at most twice that of transformers under bf16 autocast, for logits and for the gradient as a whole.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import torch

import tiny_models as tiny
import torch_models as peers

LOGITS, LOSS, GRADIENT = 2e-4, 1e-5, 1e-3
TIMES_AUTOCAST, FLOOR = 2, 2e-3
# A gradient that is nothing but rounding (queries that choose among two tokens of a short line) is held against the whole.
FADED = 1e-4


def random_case(random):
    """(config, line lengths, storage)."""
    pick = lambda *choices: choices[int(random.integers(len(choices)))]
    within = lambda low, high: int(random.integers(low, high + 1))
    chance = lambda p: bool(random.random() < p)
    layers, turn = within(2, 6), pick(4, 6, 8, 10, 16)
    kind = pick(tiny.DSA, tiny.DSA, tiny.DSA, tiny.LITE)
    groups = pick(1, 1, 1, 2, 4)
    experts = groups * within(2, 4) if groups > 1 else within(2, 9)
    kept = within(1, groups)
    chosen = within(1, min(4, kept * experts // groups))
    config = dict(
        num_hidden_layers=layers, first_k_dense_replace=1 if kind == tiny.LITE else within(0, layers),
        hidden_size=within(18, 64), intermediate_size=within(20, 90), moe_intermediate_size=within(5, 40),
        num_attention_heads=within(1, 5), qk_nope_head_dim=within(6, 24), qk_rope_head_dim=turn,
        v_head_dim=within(6, 28), q_lora_rank=within(10, 40), kv_lora_rank=within(8, 40),
        n_routed_experts=experts, n_group=groups, topk_group=kept,
        num_experts_per_tok=chosen, n_shared_experts=within(1, 2),
        # One normalised expert always weighs 1: the router's gradient would be nothing but rounding.
        norm_topk_prob=chosen > 1 and chance(0.8), routed_scaling_factor=pick(1.0, 1.8, 2.5), vocab_size=within(50, 300),
        latent_norm_eps=pick(1e-6, 1e-6, 1e-5), rms_norm_eps=pick(1e-5, 1e-5, 1e-6), tie_word_embeddings=chance(0.25),
        num_nextn_predict_layers=int(chance(0.15)), dtype=pick("float32", "float32", "float32", "bfloat16"))
    theta = pick(10000.0, 1000000.0, 8000000.0)
    if chance(0.25):
        config |= {"rope_parameters": None, "rope_theta": theta}
    else:
        config["rope_parameters"] = {"rope_theta": theta, "rope_type": "default"}
    if kind == tiny.LITE:
        if chance(0.3):
            config["q_lora_rank"] = None
        if layers > 2 and chance(0.3):
            dense = within(0, layers)
            config["mlp_layer_types"] = ["dense"] * dense + ["sparse"] * (layers - dense)
            config["first_k_dense_replace"] = dense
    else:
        config |= {"index_topk": within(16, 64), "index_n_heads": within(24, 40),
                   "index_head_dim": turn + within(0, 10), "head_dim": pick(None, turn, 192)}
        kinds = ["full"] + [pick("full", "shared") for _ in range(layers - 1)]
        sharing = pick("none", "list", "list", "pattern", "frequency")
        if sharing == "list":
            config["indexer_types"] = kinds
        elif sharing == "pattern":
            config["index_topk_pattern"] = "".join(k[0].upper() for k in kinds)
        elif sharing == "frequency":
            config |= {"index_topk_freq": within(2, 4), "index_skip_topk_offset": within(1, 3)}
    short = kind == tiny.DSA and chance(0.2)
    longest = within(2, config["index_topk"]) if short else pick(within(70, 200), within(200, 512), 512)
    lengths = [longest] + [within(1, min(longest, 150)) for _ in range(within(0, 3))]
    storage = {"shards": pick(1, 1, 1, 2, 4), "fused": chance(0.2)}
    return tiny.make_config(kind, **config), lengths, storage


def describe(config, lengths, storage):
    words = [f"{config['num_hidden_layers']} layers", f"hidden {config['hidden_size']}",
             f"tokens {'+'.join(map(str, lengths))}"]
    if config["model_type"] == tiny.DSA:
        full = [tiny.has_indexer(config, i) for i in range(config["num_hidden_layers"])]
        words += [f"top {config['index_topk']} of {config['index_n_heads']} heads",
                  "".join("F" if f else "S" for f in full)]
    else:
        words.append("lite" if config["q_lora_rank"] else "lite, no q latent")
    if config["n_group"] > 1:
        words.append(f"{config['topk_group']}/{config['n_group']} groups")
    words += [label for label, is_so in (
        ("tied", config["tie_word_embeddings"]), ("MTP", config["num_nextn_predict_layers"]),
        ("bf16", config["dtype"] == "bfloat16"), (f"{storage['shards']} shards", storage["shards"] > 1),
        ("fused", storage["fused"])) if is_so]
    return ", ".join(words)


class Mismatch(Exception):
    pass


def require(truth, what):
    if not truth:
        raise Mismatch(what)


class Glim:
    def __init__(self, binary, timeout):
        self.binary, self.timeout = os.path.abspath(binary), timeout

    def __call__(self, *arguments):
        done = subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True, timeout=self.timeout)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Mismatch(f"glim {arguments[0]} ended with {done.returncode}: {last}")
        return done.stdout


def same_bytes(a, b):
    with open(a, "rb") as x, open(b, "rb") as y:
        return x.read() == y.read()


def relative(a, b):
    """Norm of a - b by the norm of b, over dictionaries of arrays."""
    norm = lambda arrays: np.sqrt(sum(float(np.square(x.astype(np.float64)).sum()) for x in arrays))
    return norm([a[k] - b[k] for k in b]) / max(norm(b.values()), 1e-30)


def require_like_autocast(mine, exact, rounded, what):
    """Errors of two ways to round, held against each other."""
    off, allowed = relative(mine, exact), max(TIMES_AUTOCAST * relative(rounded, exact), FLOOR)
    require(off <= allowed, f"{what} off by {off:.1e} of the norm, allowed {allowed:.1e}")
    return off


def check_scores(glim, folder, lines, traces, peer=None):
    """With a `peer`, products are in bf16."""
    model, source = os.path.join(folder, "model"), os.path.join(folder, "input.jsonl")

    def score(name, *options):
        path = os.path.join(folder, name + ".safetensors")
        glim("score", "--model", model, "--input", source, "--output", path, *options)
        return path

    first = score("train1", "--what", "logits", "--mode", "train", "--threads", 1)
    for name, *options in (("train2", "--mode", "train", "--threads", 2), ("decode", "--mode", "decode"),
                           ("chunked", "--mode", "chunked:7")):
        require(same_bytes(first, score(name, "--what", "logits", *options)),
                f"logits of {' '.join(map(str, options))} are not the bytes of --mode train --threads 1")
    mine = tiny.load_tensors(first)
    require(set(mine) == set(lines), f"score wrote {sorted(mine)}, not {sorted(lines)}")
    if peer:
        exact = {line: trace.logits.numpy() for line, trace in traces.items()}
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = {line: peer.logits(tokens).float().numpy() for line, tokens in lines.items()}
        off = require_like_autocast(mine, exact, rounded, "logits")
        return off, tiny.load_tensors(score("logprobs", "--what", "logprobs"))
    worst = 0.0
    for line, trace in traces.items():
        require(mine[line].shape == tuple(trace.logits.shape), f"logits of {line}: shape {mine[line].shape}")
        worst = max(worst, float(np.abs(mine[line] - trace.logits.numpy()).max()))
    if any(trace.selected for trace in traces.values()):
        chosen = tiny.load_tensors(score("selection", "--what", "selection"))
        for line, trace in traces.items():
            for layer, rows in trace.selected.items():
                name = f"{line}.layer.{layer}"
                require(name in chosen, f"score --what selection lacks {name}")
                require(np.array_equal(chosen[name], rows.numpy()), f"{name}: other keys than transformers")
    require(worst < LOGITS, f"logits differ by {worst:.1e}")
    return worst, tiny.load_tensors(score("logprobs", "--what", "logprobs"))


def check_gradients(glim, folder, peer, lines, logprobs, bf16=False):
    files = [os.path.join(folder, f"grad{threads}.safetensors") for threads in (1, 2)]
    for threads, path in enumerate(files, 1):
        glim("grad", "--model", os.path.join(folder, "model"), "--input", os.path.join(folder, "input.jsonl"),
             "--output", path, "--threads", threads)
    require(same_bytes(*files), "gradients depend on --threads")
    mine = tiny.load_tensors(files[0])
    loss, expected_logprobs, expected = peer.gradients(lines)
    for line in lines:
        name = f"{line}.logprobs"
        require(name in mine and line in logprobs, f"no logprobs of {line}")
        from_grad = mine.pop(name)
        require(np.array_equal(from_grad.view(np.int32), logprobs[line].view(np.int32)),
                f"logprobs of {line}: grad and score differ")
        if from_grad.size and not bf16:
            off = float(np.abs(from_grad - expected_logprobs[line]).max())
            require(off < LOGITS, f"logprobs of {line} differ by {off:.1e}")
    require("loss" in mine, "grad wrote no loss")
    loss_off = abs(float(mine.pop("loss").reshape(())) - loss)
    mine = tiny.split_experts(mine)
    require(not any(".indexer." in name for name in mine), "grad wrote gradients of the indexer")
    missing, extra = sorted(set(expected) - set(mine)), sorted(set(mine) - set(expected))
    require(not missing, f"no gradient of {', '.join(missing[:3])} ({len(missing)} in all)")
    require(not extra, f"unasked gradient of {', '.join(extra[:3])} ({len(extra)} in all)")
    if bf16:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded_loss, _, rounded = peer.gradients(lines)
        require(loss_off <= max(TIMES_AUTOCAST * abs(rounded_loss - loss), 2e-2), f"loss differs by {loss_off:.1e}")
        return loss_off, require_like_autocast(mine, expected, rounded, "gradients")
    whole = np.sqrt(sum(float(np.square(g.astype(np.float64)).sum()) for g in expected.values()))
    worst, worst_name = 0.0, ""
    for name, gradient in expected.items():
        require(mine[name].shape == gradient.shape, f"gradient of {name}: shape {mine[name].shape}")
        distance = float(np.linalg.norm(mine[name].astype(np.float64) - gradient))
        off = distance / max(float(np.linalg.norm(gradient)), FADED * whole)
        if off > worst or not np.isfinite(off):
            worst, worst_name = off, name
    require(loss_off < LOSS, f"loss differs by {loss_off:.1e}")
    require(worst < GRADIENT, f"gradient of {worst_name} differs by {worst:.1e} of its norm")
    return loss_off, worst


def verdict_of_f64(folder, config, weights, lines, traces):
    """Which side an f64 computation takes, when the two disagree."""
    path = os.path.join(folder, "train1.safetensors")
    if not os.path.exists(path):
        return ""
    mine, formulas = tiny.load_tensors(path), peers.Formulas(config, weights)
    with torch.no_grad():
        exact = {line: formulas.logits(tokens).numpy() for line, tokens in lines.items()}
    off = lambda side: max(float(np.abs(side[line] - exact[line]).max()) for line in exact)
    return (f" (from f64: glim {off(mine):.1e}, "
            f"transformers {off({line: t.logits.numpy() for line, t in traces.items()}):.1e})")


def make_case(number, seed, folder, floor):
    """A model folder, its lines, and transformers with a trace of every line."""
    redrawn = 0
    while True:
        random = np.random.Generator(np.random.PCG64([seed, number, redrawn]))
        config, lengths, storage = random_case(random)
        weights = tiny.make_weights(config, int(random.integers(1 << 31)))
        if config["dtype"] == "bfloat16":
            weights = {n: a if n.endswith("correction_bias") else tiny.rounded_to_bf16(a) for n, a in weights.items()}
        shutil.rmtree(folder, ignore_errors=True)
        tiny.write_checkpoint(os.path.join(folder, "model"), config, weights, **storage)
        peer = peers.Transformers(os.path.join(folder, "model")).require_exact_keys()
        lines, traces, replaced = {}, {}, 0
        try:
            for line, length in zip("abcd", lengths):
                tokens = random.integers(config["vocab_size"], size=length).tolist()
                lines[line], count, traces[line] = peers.steady_tokens(
                    peer.trace, tokens, config["vocab_size"], config["num_hidden_layers"], floor, random, attempts=60)
                replaced += count
        except peers.Fragile:
            redrawn += 1
            continue
        tiny.write_lines(os.path.join(folder, "input.jsonl"), lines)
        notes = ([f"{replaced} degenerate tokens resampled"] if replaced else []) + (
            [f"case redrawn {redrawn} times"] if redrawn else [])
        return config, weights, storage, peer, lines, traces, notes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", required=True, help="the binary")
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--seed", type=int, help="default: a new one, printed")
    parser.add_argument("--only", type=int, help="run this case of the seed alone")
    parser.add_argument("--bf16", action="store_true", help="products in bf16")
    parser.add_argument("--keep", metavar="DIR", help="keep the files of every case there")
    parser.add_argument("--margin", type=float, default=3e-5,
                        help="tokens are resampled until no choice hangs on a smaller gap (default 3e-5; below 1e-5 "
                             "rounding alone decides)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds a command may take")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not os.access(options.glim, os.X_OK):
        parser.error(f"{options.glim} is not an executable file")
    seed = int.from_bytes(os.urandom(3), "little") if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    glim, passed, failed = Glim(options.glim, options.timeout), 0, 0
    with tempfile.TemporaryDirectory() as temporary:
        for number in range(options.cases) if options.only is None else [options.only]:
            folder = os.path.join(options.keep or temporary, f"case{number}")
            config, weights, storage, peer, lines, traces, notes = make_case(number, seed, folder, options.margin)
            if options.bf16:
                path = os.path.join(folder, "model", "config.json")
                with open(path) as file:
                    changed = json.load(file) | {"compute_dtype": "bfloat16"}
                with open(path, "w") as file:
                    json.dump(changed, file)
            label = f"{number:3d}  {describe(config, [len(t) for t in lines.values()], storage)}"
            try:
                logits, logprobs = check_scores(glim, folder, lines, traces, peer if options.bf16 else None)
                loss, gradient = check_gradients(glim, folder, peer, lines, logprobs, options.bf16)
                passed += 1
                result = f"ok: logits {logits:.1e}, loss {loss:.1e}, gradients {gradient:.1e}"
            except (Mismatch, subprocess.TimeoutExpired) as problem:
                failed += 1
                result = f"FAILED: {problem}" + verdict_of_f64(folder, config, weights, lines, traces)
            print("; ".join([f"{label}: {result}", *notes]), flush=True)
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
