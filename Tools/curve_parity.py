#!/usr/bin/env python3
"""Trains the same model twice, with glim and with PyTorch, and compares the learning curves step by step.

    python Tools/curve_parity.py --glim .build/release/glim --data corpus/ --steps 50
    python Tools/curve_parity.py --reuse RUN                                    compare with a run recorded before

glim trains the preset and records its initial weights, its batches, its recipe and its metrics. PyTorch (transformers'
model, torch.optim.AdamW, f32) starts from those weights and takes those batches in that order with the same learning
rates, weight decay (matrices only), clipping and expert-bias updates. Passes if no step's loss differs by more than 1e-3.
Documents packed into one row attend only within themselves: a block-diagonal causal mask, positions restarting.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: threads that spin starve a busy machine

import torch
import torch.nn.functional as F

import torch_models as peers


def run_glim(options, out):
    command = [options.glim, "train", "pretrain", "--preset", options.preset, "--data", *options.data, "--out", out,
               "--steps", options.steps, "--optimizer", "adamw", "--sequence-length", options.sequence_length,
               "--batch-tokens", options.batch_tokens, "--seed", options.seed, "--threads", options.threads,
               "--learning-rate", options.learning_rate, "--warmup-steps", options.warmup_steps, "--mtp-weight", 0, "--sequence-balance-weight", 0,
               "--record-batches", os.path.join(out, "batches.jsonl"), "--save-initial", os.path.join(out, "initial"),
               *options.extra]
    command = [str(part) for part in command]
    print("$ " + " ".join(command), flush=True)
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"glim train ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    print(f"glim: {time.time() - start:.0f} s", flush=True)


def read_jsonl(path):
    with open(path) as file:
        return [json.loads(row) for row in file if row.strip()]


class Twin:
    """transformers' model in training, with the parts of the recipe that PyTorch does not have."""

    def __init__(self, folder, recipe, longest, options):
        self.peer = peers.Transformers(folder, attention=options.attention, experts=options.experts).require_exact_keys()
        self.model, self.recipe = self.peer.model, recipe
        dense = longest <= self.peer.raw.get("index_topk", longest) or recipe.get("attention") == "dense"
        self.routers, self.loads = [], {}
        for number, layer in enumerate(self.model.model.layers):
            indexer = getattr(layer.self_attn, "indexer", None)
            if indexer is not None and dense:
                # Everything visible is selected anyway: spare the scores.
                indexer.forward = lambda x, *rest, **named: torch.arange(
                    x.shape[1], dtype=torch.int32).expand(x.shape[0], x.shape[1], x.shape[1])
            if hasattr(layer.mlp, "gate"):
                self.routers.append(layer.mlp.gate)
                layer.mlp.gate.register_forward_hook(lambda m, i, o: self.count(m, o[2]))
        learned = [p for n, p in self.model.named_parameters() if ".indexer." not in n]
        self.optimizer = torch.optim.AdamW(
            [{"params": [p for p in learned if p.ndim >= 2], "weight_decay": recipe["weight_decay"]},
             {"params": [p for p in learned if p.ndim < 2], "weight_decay": 0.0}],
            lr=recipe["learning_rate"], betas=(recipe["beta1"], recipe["beta2"]), eps=recipe["epsilon"])
        self.learned = learned
        self.real = None

    def count(self, router, chosen):
        counts = torch.bincount(chosen[self.real].flatten(), minlength=router.num_experts)
        self.loads[router] = self.loads.get(router, 0) + counts

    def step(self, rows, rate, micro_rows):
        """(mean cross-entropy over the targets, gradient norm before clipping)."""
        targets = sum(sum(t >= 0 for t in row["next"]) for row in rows)
        self.loads.clear()
        total = 0.0
        for start in range(0, len(rows), micro_rows):
            part = rows[start:start + micro_rows]
            width = max(len(row["tokens"]) for row in part)
            pad = lambda values, filler: values + [filler] * (width - len(values))
            tokens = torch.tensor([pad(row["tokens"], 0) for row in part])
            following = torch.tensor([pad(row["next"], -1) for row in part])
            owner = torch.full((len(part), width), -1)
            positions = torch.zeros(len(part), width, dtype=torch.long)
            for r, row in enumerate(part):
                for s, (first, count) in enumerate(row["segments"]):
                    owner[r, first:first + count] = s
                    positions[r, first:first + count] = torch.arange(count)
            self.real = (owner >= 0).flatten()
            seen = (owner[:, :, None] == owner[:, None, :]) & peers.causal(width)
            mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]
            hidden = self.model.model(tokens, attention_mask=mask, position_ids=positions, use_cache=False)
            wanted = following >= 0
            logits = self.model.lm_head(hidden.last_hidden_state[wanted])
            loss = F.cross_entropy(logits, following[wanted], reduction="sum")
            (loss / targets).backward()
            total += loss.item()
        clip = self.recipe.get("clip") or 0
        norm = torch.nn.utils.clip_grad_norm_(self.learned, clip if clip > 0 else float("inf"))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for router in self.routers:
            load = self.loads[router].float()
            router.e_score_correction_bias += self.recipe["balance_rate"] * torch.sign(load.mean() - load)
        return total / targets, norm.item()


def write_svg(path, mine, theirs):
    width, height, margin = 640, 360, 48
    low, high = min(mine + theirs), max(mine + theirs)
    place = lambda k, y: (f"{margin + k * (width - 2 * margin) / max(len(mine) - 1, 1):.1f},"
                          f"{margin + (high - y) * (height - 2 * margin) / max(high - low, 1e-9):.1f}")
    line = lambda values, style: (f'<polyline fill="none" {style} points="'
                                  + " ".join(place(k, y) for k, y in enumerate(values)) + '"/>')
    worst = max(abs(a - b) for a, b in zip(mine, theirs))
    with open(path, "w") as file:
        file.write(f'''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">
<rect width="{width}" height="{height}" fill="white"/>
<text x="{margin}" y="24">Training loss over {len(mine)} steps: glim (line) and PyTorch (dots); largest difference {worst:.1e}</text>
<text x="8" y="{margin + 4}">{high:.2f}</text><text x="8" y="{height - margin + 4}">{low:.2f}</text>
<text x="{margin}" y="{height - 16}">step 1</text><text x="{width - margin}" y="{height - 16}" text-anchor="end">step {len(mine)}</text>
{line(mine, 'stroke="#1f6feb" stroke-width="2"')}
{line(theirs, 'stroke="#d1242f" stroke-width="4" stroke-linecap="round" stroke-dasharray="0 8"')}
</svg>
''')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glim", help="the binary")
    parser.add_argument("--data", nargs="+", help="files or folders to train on")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--sequence-length", type=int, default=512)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--learning-rate", type=float, default=5e-4,
                        help="low enough that 50 steps are not chaotic: routing is discrete, and where two experts tie to "
                        "the seventh digit the engines may choose differently; a steep course then magnifies that")
    parser.add_argument("--warmup-steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--micro-rows", type=int, default=4, help="rows per forward pass of PyTorch")
    parser.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    parser.add_argument("--experts", default="grouped_mm", choices=["eager", "grouped_mm", "batched_mm"])
    parser.add_argument("--out", metavar="DIR", help="where the run goes; default: a temporary folder")
    parser.add_argument("--reuse", metavar="DIR", help="a folder that such a run has filled: do not run glim")
    parser.add_argument("--csv"), parser.add_argument("--svg")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="the rest goes to glim train")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.reuse or options.out or temporary
        if not options.reuse:
            if not (options.glim and options.data):
                parser.error("--glim and --data, or --reuse")
            os.makedirs(out, exist_ok=True)
            run_glim(options, out)
        return compare(options, out)


def compare(options, out):
    with open(os.path.join(out, "recipe.json")) as file:
        recipe = json.load(file)
    for key in ("mtp_weight", "sequence_balance_weight"):
        if recipe.get(key, 0) != 0:
            sys.exit(f"{key} is {recipe[key]}: this comparison is of the next-token loss alone, pass 0")
    metrics = {row["step"]: row for row in read_jsonl(os.path.join(out, "metrics.jsonl")) if "loss" in row}
    # Step 0 has the rows that validate.
    batches = [b for b in read_jsonl(os.path.join(out, "batches.jsonl")) if b["step"] > 0][:options.steps]
    longest = max(count for batch in batches for row in batch["rows"] for _, count in row["segments"])
    twin = Twin(os.path.join(out, "initial"), recipe, longest, options)
    print(f"PyTorch: {sum(p.numel() for p in twin.model.parameters()):,} parameters, {len(batches)} steps of "
          f"{sum(len(r['tokens']) for r in batches[0]['rows'])} tokens")
    print("step        lr   loss glim  loss torch    difference   norm glim  norm torch", flush=True)
    table, start, tokens = [], time.time(), 0
    for batch in batches:
        row = metrics.get(batch["step"])
        if row is None:
            sys.exit(f"metrics.jsonl has no step {batch['step']}")
        loss, norm = twin.step(batch["rows"], row["lr"], options.micro_rows)
        tokens += sum(len(r["tokens"]) for r in batch["rows"])
        table.append((batch["step"], row["lr"], row["loss"], loss, row.get("grad_norm", float("nan")), norm))
        print(f"{batch['step']:4d} {row['lr']:9.2e} {row['loss']:11.6f} {loss:11.6f} {row['loss'] - loss:13.2e} "
              f"{table[-1][4]:11.5f} {norm:11.5f}", flush=True)
    differences = [abs(mine - theirs) for _, _, mine, theirs, _, _ in table]
    worst = max(range(len(table)), key=differences.__getitem__)
    passed = differences[worst] <= options.tolerance and len(table) >= min(options.steps, len(metrics))
    print(f"{'ok' if passed else 'FAILED'}: over {len(table)} steps the losses differ by at most {differences[worst]:.2e} "
          f"(step {table[worst][0]}), allowed {options.tolerance:g}; PyTorch {tokens / (time.time() - start):.0f} tokens/s")
    if options.csv:
        with open(options.csv, "w") as file:
            file.write("step,lr,loss_glim,loss_torch,grad_norm_glim,grad_norm_torch\n")
            file.writelines(",".join(f"{v:.9g}" for v in row) + "\n" for row in table)
    if options.svg:
        write_svg(options.svg, [row[2] for row in table], [row[3] for row in table])
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
