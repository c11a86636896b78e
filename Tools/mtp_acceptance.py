#!/usr/bin/env python3
"""What training multi-token prediction for three steps through one shared layer is worth: how many drafts are accepted.

    python Tools/mtp_acceptance.py --glim .build/release/glim --data python-sources/ --held-out other-sources/ --steps 340

Two arms of equal tokens, one MTP step and three through the same layer, over seeds: a seed draws the initial weights and the
order of the text, which both arms of it see alike. Each model then continues prompts cut from --held-out, text that it was
not trained on, with --drafts drafts. Printed is for each position of a draft the share accepted of those whose predecessors
were, and the tokens that a pass of the trunk gave (1 without a right draft): pooled over prompts, by seed, and at last the
mean difference of the arms. `--keep DIR` keeps the runs, and a run that is there already is not made again: those of
Tools/optimizers.py with the same options serve as the first arm with --one-step-pattern muon-split-{seed}.
"""
import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile

ARMS = {"one step": [], "three steps": ["--mtp-steps", 3]}


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(str(part) for part in command[:3])} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def train(options, out, arm, seed):
    run([options.glim, "train", "pretrain", "--preset", options.preset, "--data", *options.data, "--out", out,
         "--steps", options.steps, "--batch-tokens", options.batch_tokens, "--compute-dtype", options.compute_dtype,
         "--optimizer", "muon-split", "--seed", seed, "--threads", options.threads, "--resume", *ARMS[arm]])
    with open(os.path.join(out, "metrics.jsonl")) as file:
        rows = [json.loads(line) for line in file]
    validation = [row["val_loss"] for row in rows if row.get("val_loss") is not None][-1]
    print(f"{arm:11s} seed {seed}: validation {validation:.4f} after {rows[-1]['tokens']} tokens", flush=True)


def held_out_prompts(options):
    """Pieces of --prompt-bytes at even distances of all held-out text, cut at the beginning of a line."""
    paths = []
    for path in options.held_out:
        inside = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
        paths += inside if os.path.isdir(path) else [path]
    text = ""
    for path in sorted(paths):
        with open(path, encoding="utf-8", errors="replace") as file:
            text += file.read()
    if len(text) < options.prompts * options.prompt_bytes:
        sys.exit(f"--held-out has {len(text)} characters, too few for {options.prompts} prompts of {options.prompt_bytes}")
    prompts = []
    for i in range(options.prompts):
        start = text.find("\n", i * (len(text) - options.prompt_bytes) // options.prompts) + 1
        prompts.append(text[start:start + options.prompt_bytes].replace("\0", ""))
    return prompts


def accepted(options, out, prompts, temperature):
    """Drafts compared and accepted at each position, over all prompts."""
    tried, right = [0] * options.drafts, [0] * options.drafts
    for i, prompt in enumerate(prompts):
        reply = json.loads(run([
            options.glim, "generate", "--model", out, "--prompt", prompt, "--max-tokens", options.tokens, "--drafts",
            options.drafts, "--temperature", temperature, "--seed", i, "--threads", options.threads, "--json"]))
        tried = [a + b for a, b in zip(tried, reply["drafts_tried"])]
        right = [a + b for a, b in zip(right, reply["drafts_accepted"])]
    return tried, right


def figures(tried, right):
    """Acceptance by position, then tokens of a step: each step compares a first draft and gives one token more than it accepts."""
    return [b / max(1, a) for a, b in zip(tried, right)] + [1 + sum(right) / max(1, tried[0])]


def row(numbers):
    return "  ".join(f"{number:6.3f}" for number in numbers)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", required=True, help="the binary")
    parser.add_argument("--data", nargs="+", required=True, help="files or folders to train on")
    parser.add_argument("--held-out", nargs="+", required=True, help="files or folders to cut prompts from")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--steps", type=int, default=340)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--compute-dtype", default="bfloat16")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--drafts", type=int, default=4)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0, 1])
    parser.add_argument("--prompts", type=int, default=32, help="how many")
    parser.add_argument("--prompt-bytes", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=128, help="drawn after each prompt")
    parser.add_argument("--jobs", type=int, default=2, help="runs beside each other")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--keep", help="folder for the runs")
    parser.add_argument("--one-step-pattern", default="one-step-{seed}", help="name of the first arm's runs in --keep")
    options = parser.parse_args()
    prompts = held_out_prompts(options)
    names = {"one step": options.one_step_pattern, "three steps": "three-steps-{seed}"}
    with tempfile.TemporaryDirectory() as temporary, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        def measure(arm, seed):
            out = os.path.join(options.keep or temporary, names[arm].format(seed=seed))
            train(options, out, arm, seed)
            return {t: figures(*accepted(options, out, prompts, t)) for t in options.temperatures}

        # Seed after seed, so that what is there after an hour compares.
        jobs = {(arm, seed): pool.submit(measure, arm, seed) for seed in options.seeds for arm in ARMS}
        found = {key: job.result() for key, job in jobs.items()}
    head = "  ".join(f"draft{i + 1}" for i in range(options.drafts)) + "  tokens/step"
    for temperature in options.temperatures:
        print(f"\ntemperature {temperature:g}{' ' * 8}{head}")
        for (arm, seed), numbers in found.items():
            print(f"{arm:11s} seed {seed:<3d}  {row(numbers[temperature])}")
        differences = [[b - a for a, b in zip(found["one step", seed][temperature], found["three steps", seed][temperature])]
                       for seed in options.seeds]
        print(f"{'difference':21s}{row(statistics.mean(column) for column in zip(*differences))}")


if __name__ == "__main__":
    main()
