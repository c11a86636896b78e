#!/usr/bin/env python3
"""Holds folders that `glim quantize` wrote against the compressed-tensors library.

    python Tools/check_quantized.py --glim .build/release/glim [--models DIR...] [--keep DIR] [--written DIR...]

Each model is quantised by both schemes, rounded to nearest. Then, with the library's own code:

  - its classes read `quantization_config`; each matrix is named by the targets of one group, or by none and ignored;
  - each matrix is decompressed, and is integer times scale as read by NumPy, to the bit;
  - the matrix of the source, quantised by the library with scales of its own, gives the same integers and scales.

Of folders that are --written, calibrated or trained, whose scales nothing but glim can tell, the first two.

Without --models a few random ones are made. Tools/integer_golden.py holds what glim reads against the library.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors import safe_open

from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.quantization.utils import calculate_qparams
from compressed_tensors.utils.match import match_name

import tiny_models as tiny


def tensors_of(folder):
    """All tensors of a folder, one file or shards."""
    index = os.path.join(folder, "model.safetensors.index.json")
    names = ["model.safetensors"]
    if os.path.exists(index):
        names = sorted(set(json.load(open(index))["weight_map"].values()))
    found = {}
    for name in names:
        with safe_open(os.path.join(folder, name), "pt") as file:
            for key in file.keys():
                found[key] = file.get_tensor(key)
    return found


def glim(options, *arguments):
    done = subprocess.run([options.glim, *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"FAILED: glim {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def same(a, b):
    """Shape, type and every bit."""
    return a.shape == b.shape and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def group_of(config, module):
    """The one scheme that names a module; None for none."""
    found = [s for s in config.config_groups.values() if any(match_name(module, t) for t in s.targets)]
    if len(found) > 1:
        sys.exit(f"FAILED: {module} is named by {len(found)} groups")
    if found and any(match_name(module, t) for t in config.ignore):
        sys.exit(f"FAILED: {module} is named by a group and ignored")
    return found[0] if found else None


def check(options, source, scheme, work):
    out = os.path.join(work, scheme)
    glim(options, "quantize", "--model", source, "--out", out, "--scheme", scheme)
    return check_written(out, f"{os.path.basename(source)} {scheme}", tensors_of(source))


def check_written(folder, title, plain=None):
    """A quantised folder; with the tensors that it was rounded from also that the library rounds so."""
    stored = tensors_of(folder)
    raw = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]
    config = QuantizationConfig.model_validate(raw)
    count, matched = {4: 0, 8: 0}, set()
    ends = (".weight", ".weight_packed")
    modules = {n.rsplit(".", 1)[0] for n, t in stored.items() if n.endswith(ends) and t.ndim == 2}
    if plain is not None:
        modules |= {n.removesuffix(".weight") for n, t in plain.items() if n.endswith(".weight") and t.ndim == 2}
    for module in sorted(modules):
        name, group = f"{module}.weight", group_of(config, module)
        if group is None:
            if "embed_tokens" not in module and not any(match_name(module, t) for t in config.ignore):
                sys.exit(f"FAILED: {module} is neither named by a group nor ignored")
            if plain is not None and not same(stored[name].float(), plain[name].float()):
                sys.exit(f"FAILED: {name} is not quantised and was changed")
            continue
        compressor = BaseCompressor.get_value_from_registry(group.format)
        parts = {p: stored[f"{module}.{p}"] for p in compressor.compression_param_names(group)}
        matched.update(f"{module}.{p}" for p in parts)
        bits = group.weights.num_bits
        # Our own reading of the layout.
        shape = parts["weight_shape"].tolist() if bits == 4 else parts["weight"].shape
        integers, scales = mine(parts, bits, shape)
        width = shape[1] // scales.shape[1]
        ours = torch.from_numpy(integers.astype(np.float32) * np.repeat(scales, width, axis=1))
        if not same(compressor.decompress(dict(parts), group)["weight"], ours):
            sys.exit(f"FAILED: {name} decompresses to other numbers")
        count[bits] += 1
        if plain is None:
            continue
        # The library's own rule of rounding.
        weight = plain[name].float()
        grouped = weight.unflatten(-1, (scales.shape[1], width))
        qparams, _ = calculate_qparams(grouped.amin(-1), grouped.amax(-1), group.weights)
        if not same(qparams, torch.from_numpy(scales)):
            sys.exit(f"FAILED: {name} has other scales than the library's")
        again = compressor.compress({"weight": weight, "weight_scale": qparams}, group)
        for part, tensor in parts.items():
            if not same(again[part], tensor):
                sys.exit(f"FAILED: {name}: the library compresses to another {part}")
    strange = [n for n in stored if n not in matched and stored[n].dtype in (torch.int8, torch.int32, torch.int64)]
    strange += [n for n in stored if plain is not None and n not in matched and n not in plain]
    if strange:
        sys.exit(f"FAILED: tensors that nobody names: {strange[:5]}")
    done = "decompressed" if plain is None else "decompressed, scaled and compressed"
    print(f"{title}: {count[8]} matrices of 8 bits and {count[4]} of 4, {done} as the library does, to the bit; "
          f"{len(config.config_groups)} groups")
    return count


def mine(parts, bits, shape):
    scales = parts["weight_scale"].numpy()
    if bits == 8:
        return parts["weight"].numpy(), scales
    words = parts["weight_packed"].numpy().view(np.uint32)
    nibbles = (words[..., None] >> np.arange(0, 32, 4, dtype=np.uint32)) & 15
    return nibbles.reshape(shape[0], -1)[:, :shape[1]].astype(np.int8) - 8, scales


def make_models(work):
    """Three shapes: groups of every size, whole rows, an MTP layer."""
    folders = []
    for name, changes in {
        "groups": dict(hidden_size=128, moe_intermediate_size=64, intermediate_size=192, q_lora_rank=96, v_head_dim=32),
        "rows": dict(hidden_size=52, moe_intermediate_size=20, intermediate_size=44, q_lora_rank=36),
        "mtp": dict(hidden_size=96, moe_intermediate_size=32, num_nextn_predict_layers=1),
    }.items():
        config = tiny.make_config(num_hidden_layers=3, **changes)
        folder = os.path.join(work, name)
        tiny.write_checkpoint(folder, config, tiny.make_weights(config, seed=len(folders) + 1))
        folders.append(folder)
    return folders


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", required=True, help="the binary")
    parser.add_argument("--models", nargs="*", default=[], metavar="DIR", help="folders in float32 or bfloat16")
    parser.add_argument("--written", nargs="*", default=[], metavar="DIR", help="folders that are quantised already")
    parser.add_argument("--keep", metavar="DIR", help="keep what was written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.keep or folder
        total = {4: 0, 8: 0}
        for out in options.written:
            found = check_written(out, os.path.basename(os.path.normpath(out)))
            total = {bits: total[bits] + found[bits] for bits in total}
        for source in options.models or ([] if options.written else make_models(work)):
            for scheme in ("w8a8", "w4a8"):
                place = os.path.join(work, "quantised", os.path.basename(os.path.normpath(source)))
                os.makedirs(place, exist_ok=True)
                found = check(options, source, scheme, place)
                total = {bits: total[bits] + found[bits] for bits in total}
    print(f"ok: {total[8]} matrices of 8 bits and {total[4]} of 4")
    return 0 if total[4] and total[8] else 1


if __name__ == "__main__":
    sys.exit(main())
