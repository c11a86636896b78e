"""Writes Tests/Golden/checkpoints: small safetensors files made by Hugging Face's own library, and what they mean.

Run from the repository's root with torch, numpy and safetensors installed:  python Tools/checkpoint_golden.py
Every folder holds a checkpoint; `expected.safetensors` beside it has the float32 value of each floating tensor,
converted by torch (and, for FP8 with scales, multiplied block by block in float32).
"""

import json
import math
import pathlib
import shutil

import torch
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent / "Tests" / "Golden" / "checkpoints"


def dequantize(weight, scale, block):
    """weight [..., R, C] float8_e4m3fn, scale [..., ceil(R/block), ceil(C/block)] -> float32."""
    big = scale.repeat_interleave(block, -2).repeat_interleave(block, -1)
    return weight.float() * big[..., : weight.shape[-2], : weight.shape[-1]]


def quantize(weight, block):
    """The published rule: per block, scale = max|W| / 448 (floor 1e-12), then round to nearest even."""
    *lead, rows, columns = weight.shape
    scale = torch.empty(*lead, math.ceil(rows / block), math.ceil(columns / block))
    for r in range(scale.shape[-2]):
        for c in range(scale.shape[-1]):
            part = weight[..., r * block : (r + 1) * block, c * block : (c + 1) * block]
            scale[..., r, c] = (part.abs().amax((-2, -1)) / 448).clamp(min=1e-12)
    big = scale.repeat_interleave(block, -2).repeat_interleave(block, -1)[..., :rows, :columns]
    return (weight / big).to(torch.float8_e4m3fn), scale


def save(folder, shards, index=None, expected=None):
    folder = ROOT / folder
    folder.mkdir(parents=True)
    for name, tensors in shards.items():
        save_file(tensors, folder / name, metadata={"format": "pt"})
    if index is not None:
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    if expected is not None:
        save_file(expected, folder / "expected.safetensors")


def formats():
    """Every format that is read, with all 256 FP8 codes, all 65,536/64 sampled half codes and the special values."""
    halves = torch.arange(0, 65536, 61, dtype=torch.int32).to(torch.int16)
    floating = {
        "f32": torch.tensor([[0.0, -0.0, 1.5], [float("inf"), float("-inf"), 1e-45]]),
        "f64": torch.tensor([0.1, -1e300, 1e-300, 16777217.0], dtype=torch.float64),
        "bf16": halves.view(torch.bfloat16),
        "f16": halves.clone().view(torch.float16),
        "e4m3": torch.arange(256, dtype=torch.int16).to(torch.uint8).view(torch.float8_e4m3fn).reshape(16, 16),
        "e5m2": torch.arange(256, dtype=torch.int16).to(torch.uint8).view(torch.float8_e5m2),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 4),
    }
    other = {
        "i32": torch.tensor([[1, -2, 2**31 - 1]], dtype=torch.int32),
        "i64": torch.tensor([2**40, -1]),
        "u8": torch.tensor([0, 255, 7], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
    }
    save("formats", {"model.safetensors": floating | other}, expected={k: v.float() for k, v in floating.items()})


def fp8():
    """Two shards. 192 x 160 in blocks of 128: the last block row is 64 tall, the last block column 32 wide."""
    generator = torch.Generator().manual_seed(5)
    name = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"
    weight, scale = quantize(torch.randn(192, 160, generator=generator) * 0.02, 128)
    head = torch.randn(5, 7, generator=generator).bfloat16()
    weights = {name: weight, "lm_head.weight": head}
    scales = {name + "_scale_inv": scale, "model.norm.weight": torch.ones(7)}
    files = {"model-00001-of-00002.safetensors": weights, "model-00002-of-00002.safetensors": scales}
    index = {
        "metadata": {"total_size": sum(t.nbytes for f in files.values() for t in f.values())},
        "weight_map": {tensor: file for file, tensors in files.items() for tensor in tensors},
    }
    # The rows on both sides of the block border, and the short last block: the rest would only add bytes.
    expected = {name: dequantize(weight, scale, 128)[120:], "lm_head.weight": head.float()}
    save("fp8", files, index, {k: v.contiguous() for k, v in expected.items()})


def fused():
    """Experts in one tensor each, as transformers holds them: bf16, and FP8 in blocks of 32."""
    generator = torch.Generator().manual_seed(6)
    prefix = "model.layers.3.mlp.experts."
    up, scale = quantize(torch.randn(3, 40, 48, generator=generator), 32)
    down = torch.randn(3, 48, 20, generator=generator).bfloat16()
    tensors = {prefix + "gate_up_proj": up, prefix + "gate_up_proj_scale_inv": scale, prefix + "down_proj": down}
    expected = {prefix + "gate_up_proj": dequantize(up, scale, 32), prefix + "down_proj": down.float()}
    save("fused", {"model.safetensors": tensors}, expected=expected)


if __name__ == "__main__":
    shutil.rmtree(ROOT, ignore_errors=True)
    formats()
    fp8()
    fused()
