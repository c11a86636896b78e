#!/usr/bin/env python3
"""AdamW, Muon and Muon Split at equal tokens: the validation loss each ends with, over seeds.

    python Tools/optimizers.py --glim .build/release/glim --data python-sources/ --steps 340

A seed draws the initial weights and the order of the text, so the runs of a seed see the same tokens in the same order; each
optimizer has its own default learning rate. Printed are the runs, then for each pair of optimizers the mean difference in
nats per token, with each seed's. `--keep DIR` keeps the runs, and a run that is there already is not made again.
"""
import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile


def train(options, folder, optimizer, seed):
    out = os.path.join(folder, f"{optimizer}-{seed}")
    command = [options.glim, "train", "pretrain", "--preset", options.preset, "--data", *options.data, "--out", out,
               "--steps", options.steps, "--batch-tokens", options.batch_tokens, "--compute-dtype", options.compute_dtype,
               "--optimizer", optimizer, "--seed", seed, "--threads", options.threads, "--resume"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"glim train ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    with open(os.path.join(out, "metrics.jsonl")) as file:
        rows = [json.loads(line) for line in file]
    validation = [row["val_loss"] for row in rows if row.get("val_loss") is not None][-1]
    logits = max(row["attention_logit_max"] for row in rows)
    print(f"{optimizer:10s} seed {seed}: validation {validation:.4f} after {rows[-1]['tokens']} tokens, "
          f"largest attention logit {logits:.1f}", flush=True)
    return validation


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", required=True, help="the binary")
    parser.add_argument("--data", nargs="+", required=True, help="files or folders to train on")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--optimizers", nargs="+", default=["muon-split", "adamw", "muon"])
    parser.add_argument("--steps", type=int, default=340)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--compute-dtype", default="bfloat16")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs beside each other")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--keep", help="folder for the runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        folder = options.keep or temporary
        # Seed after seed, so that what is there after an hour compares.
        runs = {(optimizer, seed): pool.submit(train, options, folder, optimizer, seed)
                for seed in options.seeds for optimizer in options.optimizers}
        ends = {run: job.result() for run, job in runs.items()}
    for i, a in enumerate(options.optimizers):
        for b in options.optimizers[i + 1:]:
            differences = [ends[b, seed] - ends[a, seed] for seed in options.seeds]
            print(f"{b} minus {a}: {statistics.mean(differences):+.4f} nats; by seed "
                  + ", ".join(f"{d:+.4f}" for d in differences))


if __name__ == "__main__":
    main()
