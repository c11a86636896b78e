#!/usr/bin/env python3
"""Holds glim's GGUF files, and its reading of others', against llama.cpp.

    python Tools/check_gguf.py --glim .build/release/glim --model DIR [--read FILE.gguf ...]

DIR is a model's folder. It is exported in each number format; llama.cpp must read the file, and its logits of the numbers
in it (as F32: it rounds what it multiplies with anything else) must be glim's from the same file. Files given by --read
are compared the same way. Prints the largest difference of each, and fails above 1e-3. Tokens are random ids; with keys
that score alike two right implementations may choose differently, which shows as a difference of O(1): --seed draws others.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from safetensors.numpy import load_file

import gguf_golden as golden


def rewritten(source, path):
    """The same file with all numbers in F32."""
    reader = gguf.GGUFReader(source)
    fields = reader.fields
    architecture = fields["general.architecture"].contents()
    w = gguf.GGUFWriter(path, architecture)
    for name, field in fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        if kind == gguf.GGUFValueType.ARRAY:
            w.add_array(name, field.contents())
        else:
            w.add_key_value(name, field.contents(), kind)
    for name, array in golden.held(source).items():
        w.add_tensor(name, array)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def vocabulary(path):
    return next(int(t.shape[1]) for t in gguf.GGUFReader(path).tensors if t.name == "token_embd.weight")


def compare(glim, path, place, length, seed):
    tokens = np.random.default_rng(seed).integers(2, vocabulary(path), length).astype(np.int32)
    golden.load(path)  # as it is, before anything is done to it
    wide = os.path.join(place, "wide.gguf")
    rewritten(path, wide)
    theirs = golden.logits(wide, tokens)
    lines, out = os.path.join(place, "lines.jsonl"), os.path.join(place, "out.safetensors")
    with open(lines, "w") as f:
        f.write(json.dumps({"id": "a", "tokens": tokens.tolist()}) + "\n")
    # Integers would be multiplied as integers: the numbers are asked for.
    subprocess.run([glim, "score", "--model", wide, "--input", lines, "--output", out], check=True)
    ours = load_file(out)["a"]
    subprocess.run([glim, "score", "--model", path, "--input", lines, "--output", out], check=True)
    stored = load_file(out)["a"]
    return np.abs(ours - theirs).max(), np.abs(stored - theirs).max(), theirs.std()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", default=".build/release/glim")
    parser.add_argument("--model", required=True)
    parser.add_argument("--read", nargs="*", default=[])
    parser.add_argument("--types", nargs="*", default=list(golden.TYPES))
    parser.add_argument("--length", type=int, default=96)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as place:
        files = [(path, path) for path in a.read]
        for kind in a.types:
            path = os.path.join(place, f"export-{kind}.gguf")
            subprocess.run([a.glim, "convert", "--model", a.model, "--to", "gguf", "--type", kind, "--out", path],
                           check=True)
            files.append((f"export {kind}", path))
        for name, path in files:
            numbers, stored, spread = compare(a.glim, path, place, a.length, a.seed)
            good = numbers <= 1e-3
            failed |= not good
            print(f"{name}: numbers in f32 differ by {numbers:.2e} at most, as stored by {stored:.2e} "
                  f"(logits spread {spread:.2f}){'' if good else '  FAILED'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
