#!/usr/bin/env python3
"""Writes Tests/Golden/integers: a model in bf16, the same quantised by the compressed-tensors library, and what that
library makes of it again.

    python Tools/integer_golden.py

plain/      config.json and model.safetensors: random, BF16, rows of 128, 64 and 32 numbers, and rows of none of these
w4a8/       the same with routed experts in 4 bits and other matrices in 8, packed by the library's own code, and the
            quantization_config that its classes write
expected.safetensors    each of those matrices, decompressed by the library: float32
"""
import json
import os
import re
import shutil

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams

import tiny_models as tiny

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Tests", "Golden", "integers")
KEPT = re.compile(r"embed_tokens|kv_b_proj|\.mlp\.gate$|\.indexer\.(wk|weights_proj)$")


def group_size(columns):
    """128, 64 or 32, the most that divides a row; None: one scale for all of it."""
    return next((size for size in (128, 64, 32) if columns % size == 0), None)


def scheme(bits, size, targets):
    strategy, token = ("group", "group") if size else ("channel", "token")
    return QuantizationScheme(
        targets=targets, format="int-quantized" if bits == 8 else "pack-quantized",
        weights=QuantizationArgs(num_bits=bits, strategy=strategy, group_size=size, symmetric=True),
        input_activations=QuantizationArgs(num_bits=8, strategy=token, group_size=size, symmetric=True, dynamic=True))


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    config = tiny.make_config(
        dtype="bfloat16", hidden_size=32, intermediate_size=128, moe_intermediate_size=64, n_routed_experts=4,
        q_lora_rank=20, v_head_dim=16, vocab_size=40)
    tiny.write_checkpoint(os.path.join(FOLDER, "plain"), config, tiny.make_weights(config, seed=11))
    with safe_open(os.path.join(FOLDER, "plain", "model.safetensors"), "pt") as file:
        plain = {name: file.get_tensor(name) for name in file.keys()}
    targets = {}
    for name, tensor in plain.items():
        module = name.removesuffix(".weight")
        if tensor.ndim == 2 and not KEPT.search(module):
            key = (4 if ".mlp.experts." in module else 8, group_size(tensor.shape[1]))
            targets.setdefault(key, []).append(module)
    stored, expected, groups = {}, {}, {}
    for i, ((bits, size), modules) in enumerate(sorted(targets.items(), key=str)):
        groups[f"group_{i}"] = group = scheme(bits, size, modules)
        compressor = BaseCompressor.get_value_from_registry(group.format)
        for module in modules:
            weight = plain.pop(f"{module}.weight").float()
            grouped = weight.unflatten(-1, (-1, size or weight.shape[1]))
            scales, _ = calculate_qparams(grouped.amin(-1), grouped.amax(-1), group.weights)
            parts = compressor.compress({"weight": weight, "weight_scale": scales}, group)
            stored |= {f"{module}.{part}": tensor.contiguous() for part, tensor in parts.items()}
            expected[f"{module}.weight"] = compressor.decompress(parts, group)["weight"].contiguous()
    config["quantization_config"] = json.loads(
        QuantizationConfig(
            config_groups=groups, format="mixed-precision", quantization_status="compressed",
            ignore=[n.removesuffix(".weight") for n, t in plain.items() if t.ndim == 2]).model_dump_json())
    out = os.path.join(FOLDER, "w4a8")
    os.makedirs(out)
    save_file(stored | plain, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(config, file, indent=2, sort_keys=True)
        file.write("\n")
    save_file(expected, os.path.join(FOLDER, "expected.safetensors"))
    print(f"{len(expected)} matrices in {len(groups)} groups")


if __name__ == "__main__":
    main()
