#!/usr/bin/env python3
"""Is a loss curve with bf16 products within noise of one in f32?

    python Tools/bf16_curve.py --glim .build/release/glim --data python-sources/ --steps 300

Trains a preset in both formats for each seed; a seed draws the initial weights and the order of the text, so the two
runs of a seed differ in rounding alone. Noise is what f32 runs of different seeds differ by; printed beside it is what the
formats differ by, over windows of steps and in the last validation loss, in nats per token.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

WINDOW = 50


def train(options, dtype, seed, out):
    command = [options.glim, "train", "pretrain", "--preset", options.preset, "--data", *options.data, "--out", out,
               "--steps", options.steps, "--batch-tokens", options.batch_tokens, "--compute-dtype", dtype, "--seed", seed,
               "--threads", options.threads]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"glim train ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    with open(os.path.join(out, "metrics.jsonl")) as file:
        rows = [json.loads(line) for line in file]
    losses = [row["loss"] for row in rows]
    validation = [row["val_loss"] for row in rows if row.get("val_loss") is not None][-1]
    windows = [statistics.mean(losses[i:i + WINDOW]) for i in range(0, len(losses), WINDOW)]
    rate = statistics.median(row["tokens_per_second"] for row in rows)
    print(f"seed {seed} {dtype:8s} {rate:6.0f} tokens/s, validation {validation:.4f}, windows of {WINDOW} steps "
          + " ".join(f"{w:.4f}" for w in windows), flush=True)
    return windows, validation


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", required=True, help="the binary")
    parser.add_argument("--data", nargs="+", required=True, help="files or folders to train on")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    plain, halves = [], []
    for seed in options.seeds:
        for dtype, runs in (("float32", plain), ("bfloat16", halves)):
            with tempfile.TemporaryDirectory() as out:
                runs.append(train(options, dtype, seed, out))
    between = [abs(a[1] - b[1]) for i, a in enumerate(plain) for b in plain[i + 1:]]
    change = [b[1] - a[1] for a, b in zip(plain, halves)]
    widest = max(abs(y - x) for a, b in zip(plain, halves) for x, y in zip(a[0], b[0]))
    print("bf16 minus f32, validation: " + ", ".join(f"{c:+.4f}" for c in change)
          + f"; widest window {widest:.4f}; f32 seeds differ by "
          + (f"{max(between):.4f}" if between else "(one seed)"))


if __name__ == "__main__":
    main()
