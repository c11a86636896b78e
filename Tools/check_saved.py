#!/usr/bin/env python3
"""Loads a model folder that glim saved into transformers and compares the logits (f32, eager) with `glim score`.

    python Tools/check_saved.py --model quickstart/model --glim .build/release/glim

Without --glim only the loading is checked: every tensor transformers wants is there, with the right shape, and none
that it does not know, but for the MTP layer (model.layers.N.*, N = num_hidden_layers), which it leaves out.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import tiny_models as tiny
import torch_models as peers

LOGITS = 2e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="DIR")
    parser.add_argument("--glim", help="the binary")
    parser.add_argument("--lengths", default="1,5,64,200", help="lengths of the random token sequences")
    parser.add_argument("--text", help="also this text, through the folder's tokenizer.json")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    peer = peers.Transformers(options.model)
    for kind, keys in peer.strange_keys.items():
        for key in keys[:10]:
            print(f"{kind.replace('_', ' ')[:-1]}: {key}")
    if any(peer.strange_keys.values()):
        print("FAILED: transformers does not take this checkpoint as it is")
        return 1
    ahead = peer.raw.get("num_nextn_predict_layers") or 0
    parameters = sum(p.numel() for p in peer.model.parameters())
    print(f"transformers loads {parameters:,} parameters of {type(peer.model).__name__}; no key missing, none strange, "
          f"{len(peer.mtp_keys)} tensors of {ahead} MTP layer(s) left out")
    if ahead and not peer.mtp_keys and peer.raw["num_hidden_layers"] not in (47, 78):
        print("FAILED: the config announces an MTP layer, the files hold none")
        return 1
    if peer.latent_eps != tiny.LATENT_EPS_OF_TRANSFORMERS:
        print(f"note: latent_norm_eps is {peer.latent_eps:g}; transformers on its own uses 1e-6 and would differ a little")
    if not options.glim:
        return 0

    random = np.random.Generator(np.random.PCG64(options.seed))
    vocabulary = peer.raw["vocab_size"]
    lines = {f"random{n}": random.integers(vocabulary, size=int(n)).tolist() for n in options.lengths.split(",")}
    if options.text:
        from tokenizers import Tokenizer

        lines["text"] = Tokenizer.from_file(os.path.join(options.model, "tokenizer.json")).encode(
            options.text, add_special_tokens=False).ids
    traces = {}
    for line, tokens in lines.items():
        trunk = peer.raw["num_hidden_layers"]
        try:
            lines[line], replaced, traces[line] = peers.steady_tokens(
                peer.trace, tokens, vocabulary, trunk, 3e-6, random, attempts=100)
        except peers.Fragile:
            print(f"{line}: near-ties everywhere, cut to the first index_topk tokens")
            lines[line], replaced, traces[line] = peers.steady_tokens(
                peer.trace, tokens[:peer.raw["index_topk"]], vocabulary, trunk, 1e-7, random, attempts=100)
        if replaced:
            print(f"{line}: {replaced} tokens replaced, near-ties hung on them")
    with tempfile.TemporaryDirectory() as folder:
        source, output = os.path.join(folder, "input.jsonl"), os.path.join(folder, "logits.safetensors")
        tiny.write_lines(source, lines)
        done = subprocess.run(
            [options.glim, "score", "--model", options.model, "--input", source, "--output", output, "--what", "logits",
             "--threads", str(options.threads)], capture_output=True, text=True)
        if done.returncode:
            print(f"FAILED: glim score ended with {done.returncode}: {done.stderr.strip()}")
            return 1
        mine = tiny.load_tensors(output)
    worst = 0.0
    for line, trace in traces.items():
        off = float(np.abs(mine[line] - trace.logits.numpy()).max())
        worst = max(worst, off)
        print(f"{line}: {len(lines[line])} tokens, logits within {off:.1e} "
              f"(standard deviation {trace.logits.std().item():.2f})")
    print(f"{'ok' if worst < LOGITS else 'FAILED'}: largest difference {worst:.1e}, allowed {LOGITS:g}")
    return 0 if worst < LOGITS else 1


if __name__ == "__main__":
    sys.exit(main())
