#!/usr/bin/env python3
"""What ten minutes of training are worth: glim and PyTorch on the same model, text, batches and schedule.

    python Tools/time_to_quality.py --glim .build/release/glim --data python-sources/ --minutes 10

glim trains a preset for the given minutes and records its initial weights, its batches and the rows that validate. PyTorch
(transformers' model, torch.compile under bf16 autocast, fused AdamW at a peak that suits it) starts from those weights,
takes those batches in that order and trains for as many minutes; compiling and evaluating are not counted. Both plan their
number of steps from the measured time of one, so both finish the same course of the learning rate. The validation loss is
that of the rows glim validates on, documents kept apart, in nats per token. For AdamW on both sides, end with
`--extra --optimizer adamw`.
"""
import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F

import torch_models as peers


def run_glim(options, out):
    command = [options.glim, "train", "pretrain", "--preset", options.preset, "--data", *options.data, "--out", out,
               "--minutes", options.minutes, "--threads", options.threads, "--seed", options.seed,
               "--record-batches", os.path.join(out, "batches.jsonl"), "--save-initial", os.path.join(out, "initial"),
               *options.extra]
    command = [str(part) for part in command]
    print("$ " + " ".join(command), flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"glim train ended with {done.returncode}: {done.stderr.strip()[-2000:]}")


class Peer:
    def __init__(self, folder, recipe, options):
        self.recipe, self.options = recipe, options
        model = peers.Transformers(folder, attention="sdpa", experts=options.experts).require_exact_keys().model
        model.train()
        self.model = model
        compiled, precision = options.mode.endswith("compile"), options.mode.split("-")[0]
        self.run = torch.compile(model) if compiled else model
        self.cast = ((lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if precision == "bf16"
                     else contextlib.nullcontext)
        learned = [p for n, p in model.named_parameters() if ".indexer." not in n]
        self.optimizer = torch.optim.AdamW(
            [{"params": [p for p in learned if p.ndim >= 2], "weight_decay": recipe["weight_decay"]},
             {"params": [p for p in learned if p.ndim < 2], "weight_decay": 0.0}],
            lr=options.peer_learning_rate, betas=(recipe["beta1"], recipe["beta2"]), eps=recipe["epsilon"], fused=True)
        self.learned = learned

    def step(self, rows, rate):
        tokens = torch.tensor([row["tokens"] for row in rows])
        following = torch.tensor([row["next"] for row in rows])
        with self.cast():
            logits = self.run(tokens, use_cache=False).logits
            loss = F.cross_entropy(logits.float().flatten(0, 1), following.flatten(), ignore_index=-1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learned, self.recipe["clip"] or float("inf"))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    @torch.no_grad()
    def evaluate(self, rows):
        """Mean loss with documents kept apart, in f32."""
        self.model.eval()
        total = count = 0
        for row in rows:
            width = len(row["tokens"])
            owner, positions = torch.full((1, width), -1), torch.zeros(1, width, dtype=torch.long)
            for s, (first, length) in enumerate(row["segments"]):
                owner[0, first:first + length] = s
                positions[0, first:first + length] = torch.arange(length)
            seen = (owner[:, :, None] == owner[:, None, :]) & peers.causal(width)
            mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]
            hidden = self.model.model(torch.tensor([row["tokens"]]), attention_mask=mask, position_ids=positions,
                                      use_cache=False).last_hidden_state[0]
            following = torch.tensor(row["next"])
            wanted = following >= 0
            total += F.cross_entropy(self.model.lm_head(hidden[wanted]), following[wanted], reduction="sum").item()
            count += int(wanted.sum())
        self.model.train()
        return total / max(count, 1)


def rate_at(recipe, peak, step, steps):
    """glim's course, to another peak: linear warmup, then to the last share along the schedule."""
    warmup = recipe.get("warmup_steps")
    warmup = max(10, math.ceil(steps * recipe["warmup_ratio"])) if warmup is None else warmup
    if step <= warmup:
        return peak * step / max(warmup, 1)
    done, last = (step - warmup) / max(steps - warmup, 1), recipe["min_learning_rate_ratio"]
    fall = {"cosine": (1 + math.cos(math.pi * min(done, 1))) / 2, "linear": 1 - done, "constant": 1}[recipe["schedule"]]
    return peak * (last + (1 - last) * fall)


def train_peer(options, out, recipe):
    with open(os.path.join(out, "batches.jsonl")) as file:
        recorded = sum(1 for _ in file) - 1
    lines = open(os.path.join(out, "batches.jsonl"))
    validation = json.loads(next(lines))["rows"]
    peer = Peer(os.path.join(out, "initial"), recipe, options)
    # Compile and warm up on copies of the weights, then plan as glim does.
    before = {k: v.clone() for k, v in peer.model.state_dict().items()}
    trial = json.loads(next(lines))["rows"]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        peer.step(trial, 0.0)
        times.append(time.perf_counter() - start)
    peer.model.load_state_dict(before)
    peer.optimizer.state.clear()
    steps = max(1, int(options.minutes * 60 / sorted(times[2:])[1]))
    if steps > recorded:
        print(f"PyTorch has time for {steps} steps, and glim recorded {recorded}: it trains those", flush=True)
        steps = recorded
    tokens_each = sum(len(row["tokens"]) for row in trial)
    print(f"PyTorch {options.mode}: {steps} steps of {tokens_each} tokens planned", flush=True)
    curve, spent, rows = [(0.0, peer.evaluate(validation))], 0.0, trial
    for step in range(1, steps + 1):
        if step > 1:
            rows = json.loads(next(lines))["rows"]
        start = time.perf_counter()
        loss = peer.step(rows, rate_at(recipe, options.peer_learning_rate, step, steps))
        spent += time.perf_counter() - start
        if step % max(1, steps // 10) == 0 or step == steps:
            curve.append((spent / 60, peer.evaluate(validation)))
            print(f"PyTorch step {step}: {spent:.0f} s, {step * tokens_each / spent:.0f} tokens/s, loss {loss:.3f}, "
                  f"validation {curve[-1][1]:.4f}", flush=True)
    return curve, steps * tokens_each / spent


def glim_curve(out):
    metrics = [json.loads(line) for line in open(os.path.join(out, "metrics.jsonl"))]
    spent, curve, before = 0.0, [], 0
    for row in metrics:
        spent += (row["tokens"] - before) / row["tokens_per_second"]
        before = row["tokens"]
        if row.get("val_loss") is not None:
            curve.append((spent / 60, row["val_loss"]))
    return curve, before / spent


def write_svg(path, curves):
    width, height, margin = 640, 360, 48
    points = [p for _, curve in curves for p in curve if p[0] > 0]
    right, low, high = max(x for x, _ in points), min(y for _, y in points), max(y for _, y in points)
    place = lambda x, y: (f"{margin + x * (width - 2 * margin) / right:.1f},"
                          f"{margin + (high - y) * (height - 2 * margin) / max(high - low, 1e-9):.1f}")
    with open(path, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
                   f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>\n')
        for k, ((name, curve), colour) in enumerate(zip(curves, ("#1f6feb", "#d1242f"))):
            line = " ".join(place(x, y) for x, y in curve if x > 0)
            file.write(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>'
                       f'<text x="{width - margin}" y="{24 + 16 * k}" text-anchor="end" fill="{colour}">{name}: '
                       f'{curve[-1][1]:.3f}</text>\n')
        file.write(f'<text x="8" y="{margin + 4}">{high:.2f}</text><text x="8" y="{height - margin}">{low:.2f}</text>'
                   f'<text x="{margin}" y="{height - 16}">minutes of training: 0 to {right:.1f}; validation loss, nats per '
                   f'token</text></svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", help="the binary")
    parser.add_argument("--data", nargs="+", help="files or folders to train on")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--mode", default="bf16-compile", choices=["f32-eager", "f32-compile", "bf16-eager", "bf16-compile"])
    parser.add_argument("--experts", default="grouped_mm", choices=["eager", "grouped_mm", "batched_mm"])
    parser.add_argument("--peer-learning-rate", type=float, default=2e-3, help="AdamW's peak in PyTorch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", metavar="DIR", help="where glim's run goes; default: a temporary folder")
    parser.add_argument("--reuse", metavar="DIR", help="a folder that such a run has filled: do not run glim")
    parser.add_argument("--svg", help="draw both curves")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="the rest goes to glim train")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.reuse or options.out or temporary
        if not options.reuse:
            if not (options.glim and options.data):
                parser.error("--glim and --data, or --reuse")
            run_glim(options, out)
        with open(os.path.join(out, "recipe.json")) as file:
            recipe = json.load(file)
        mine, my_rate = glim_curve(out)
        for minutes, loss in mine:
            print(f"glim after {minutes:5.2f} minutes: validation {loss:.4f}")
        theirs, their_rate = train_peer(options, out, recipe)
    print(f"glim {mine[-1][1]:.4f} ({my_rate:.0f} tokens/s), PyTorch {options.mode} {theirs[-1][1]:.4f} "
          f"({their_rate:.0f} tokens/s): {theirs[-1][1] - mine[-1][1]:.4f} nats per token lower in the same time")
    if options.svg:
        write_svg(options.svg, [("glim", mine), (f"PyTorch {options.mode}", theirs)])


if __name__ == "__main__":
    main()
