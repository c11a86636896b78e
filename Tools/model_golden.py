#!/usr/bin/env python3
"""Writes the golden models: tiny seeded checkpoints and what transformers computes with them (f32, eager, CPU).

    python Tools/model_golden.py                 all cases into Tests/Golden/models, and Tests/Golden/indexer.safetensors
    python Tools/model_golden.py sparse mtp      only these cases
    python Tools/model_golden.py --check         recompute in a temporary folder and compare with what is committed
    python Tools/model_golden.py --list

A case CASE is a folder with config.json, model.safetensors, input.jsonl ({"id","tokens"} a line) and

expected.safetensors, for every line ID:
    ID                    [T, vocab]   logits
    ID.layer.L            [T, topk]    int32, the keys that full layer L selects, ascending, -1 padded
    ID.experts.L          [T, k]       int32, the experts of MoE layer L, ascending
    ID.expert_weights.L   [T, k]       their weights, in that order
    ID.hidden.L, .norm    [T, hidden]  first line only: after layer L, and after model.norm
gradients.safetensors:
    loss                  scalar       next-token cross-entropy, summed over all lines, divided by the number of targets
    ID.logprobs           [T-1]        of each next token
    NAME                               d loss / d NAME under checkpoint names, per expert; the indexer and the
                                       router's bias have none. Tied embeddings: one tensor, both contributions.
Cases mtp (three steps of one MTP layer, layer N of the checkpoint) and mtp_layers (three layers, two of which share the
selection of the first) add, for each step d from 1 (row i predicts token i + d + 1):
    expected.safetensors       ID.mtp.d [T-d, vocab]; over T-d rows ID.layer.M, ID.experts.M, ID.expert_weights.M, ID.hidden.M,
                               M = N + d - 1 (no ID.layer.M where the selection is shared)
    mtp_gradients.safetensors  loss, the mean over steps of the mean over targets; ID.logprobs.d [T-d-1]; gradients of that
                               loss alone, into the trunk too
    mtp_first_gradients        (mtp only) the same with one step

No choice (keys, experts, groups) in these files hangs on a gap below 1e-4: tokens are replaced until none does.
Every case is recomputed in f64 from the formulas alone (torch_models.Formulas); it must agree.
"""
import argparse
import os
import shutil
import sys
import tempfile

import numpy as np
import torch

import tiny_models as tiny
import torch_models as peers

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "Tests", "Golden")
FLOOR = 1e-4
FILE_LIMIT = 300_000
MTP_STEPS = 3

ODD = dict(hidden_size=44, v_head_dim=20, qk_nope_head_dim=12, qk_rope_head_dim=8, num_attention_heads=3,
           moe_intermediate_size=18, intermediate_size=30, q_lora_rank=20, kv_lora_rank=14, vocab_size=61,
           n_routed_experts=5, num_experts_per_tok=2, index_head_dim=10, first_k_dense_replace=2)

# name -> (config, length of each line, storage)
CASES = {
    "dense": (tiny.make_config(index_topk=64, head_dim=192), [48, 33], {}),
    "sparse": (tiny.make_config(num_hidden_layers=3, **ODD), [80], {}),
    "shared": (tiny.make_config(
        num_hidden_layers=6, hidden_size=24, n_routed_experts=4, moe_intermediate_size=8, q_lora_rank=16,
        index_topk=12, first_k_dense_replace=2, intermediate_size=40, vocab_size=64,
        indexer_types=["full", "full", "shared", "full", "shared", "shared"],
        layer_types=["deepseek_sparse_attention"] * 6, mlp_layer_types=["dense"] * 2 + ["sparse"] * 4), [60, 37], {}),
    "frequency": (tiny.make_config(
        num_hidden_layers=5, hidden_size=24, n_routed_experts=4, moe_intermediate_size=8, q_lora_rank=16,
        intermediate_size=40, vocab_size=64, index_topk_freq=3, index_skip_topk_offset=2), [70], {}),
    "groups": (tiny.make_config(
        num_hidden_layers=3, n_group=4, topk_group=2, num_experts_per_tok=3, n_shared_experts=2,
        moe_intermediate_size=8), [56, 20], {}),
    "lite": (tiny.make_config(tiny.LITE, num_hidden_layers=3), [64, 31], {}),
    "lite_tied": (tiny.make_config(
        tiny.LITE, tie_word_embeddings=True, norm_topk_prob=False, moe_intermediate_size=20,
        routed_scaling_factor=1.0), [50, 9], {}),
    "lite_no_q_lora": (tiny.make_config(tiny.LITE, q_lora_rank=None, v_head_dim=12), [50, 9], {}),
    "topk64": (tiny.make_config(index_topk=64, vocab_size=64), [200, 30], {}),
    "theta": (tiny.make_config(rope_parameters={"rope_theta": 8000000.0, "rope_type": "default"},
                               qk_rope_head_dim=12, index_head_dim=16, index_n_heads=32), [110], {}),
    "legacy_theta": (tiny.make_config(rope_parameters=None, rope_theta=50000), [90], {}),
    "lines": (tiny.make_config(), [1, 2, 17, 40, 23, 64], {}),
    "latent_eps": (tiny.make_config(latent_norm_eps=1e-5), [50, 22], {"latent_gain": 0.03}),
    "bf16_shards": (tiny.make_config(dtype="bfloat16", num_hidden_layers=3), [48], {"shards": 3}),
    "mtp": (tiny.make_config(num_nextn_predict_layers=1, moe_intermediate_size=8, vocab_size=80), [64, 41, 2], {}),
    "mtp_layers": (tiny.make_config(
        num_nextn_predict_layers=3, index_share_for_mtp_iteration=True, num_hidden_layers=1, hidden_size=24,
        first_k_dense_replace=1, n_routed_experts=4, moe_intermediate_size=8, q_lora_rank=16, intermediate_size=40,
        vocab_size=64), [50, 24, 3], {}),
}


class WithMTP:
    """transformers' trunk and, out of its own decoder layers and norms, the MTP layers that it leaves out."""

    def __init__(self, folder, weights, steps):
        self.base, self.steps, self.step = peers.Transformers(folder).require_exact_keys(), steps, 0
        from transformers.models.glm_moe_dsa import modeling_glm_moe_dsa as modules

        raw, config = self.base.raw, self.base.model.config
        self.trunk, count = raw["num_hidden_layers"], raw["num_nextn_predict_layers"]
        self.shares = raw.get("index_share_for_mtp_iteration", False)
        longer = type(config)(**{
            **config.to_dict(), "num_hidden_layers": self.trunk + count, "layer_types": None,
            "indexer_types": list(config.indexer_types) + [
                "shared" if i and self.shares else "full" for i in range(count)],
            "mlp_layer_types": list(config.mlp_layer_types) + ["sparse"] * count})
        longer._attn_implementation = "eager"
        longer._experts_implementation = "eager"
        self.layers = [self.make_layer(modules, longer, self.trunk + i, weights) for i in range(count)]

    def make_layer(self, modules, config, number, weights):
        width, eps = config.hidden_size, config.rms_norm_eps
        parts = torch.nn.ModuleDict({
            "layer": modules.GlmMoeDsaDecoderLayer(config, number),
            **{name: modules.GlmMoeDsaRMSNorm(width, eps) for name in ("enorm", "hnorm")},
            "shared_head": torch.nn.ModuleDict({"norm": modules.GlmMoeDsaRMSNorm(width, eps)}),
            "eh_proj": torch.nn.Linear(2 * width, width, bias=False)})
        for norm in ("q_a_layernorm", "kv_a_layernorm"):
            getattr(parts["layer"].self_attn, norm).variance_epsilon = self.base.latent_eps
        prefix = f"model.layers.{number}."
        outside = ("enorm.", "hnorm.", "shared_head.", "eh_proj.")
        state = {}
        for name, array in tiny.fused_experts({n: a for n, a in weights.items() if n.startswith(prefix)}).items():
            name = name.removeprefix(prefix)
            # An indexer that no step runs.
            if ".indexer." not in name or parts["layer"].self_attn.indexer is not None:
                state[name if name.startswith(outside) else "layer." + name] = torch.tensor(array)
        parts.load_state_dict(state, strict=True)
        return parts

    def logits(self, tokens):
        """Of each step that the tokens are enough for."""
        model = self.base.model
        tokens = torch.as_tensor([tokens])
        hidden, first, logits = model.model(tokens, use_cache=False).last_hidden_state, None, []
        for step in range(1, min(self.steps, tokens.shape[1] - 1) + 1):
            self.step = step
            parts = self.layers[min(step, len(self.layers)) - 1]
            joined = parts["eh_proj"](torch.cat([
                parts["enorm"](model.model.embed_tokens(tokens[:, step:])), parts["hnorm"](hidden[:, :-1])], -1))
            length = joined.shape[1]
            positions = torch.arange(length)[None]
            mask = torch.zeros(1, 1, length, length).masked_fill(
                ~peers.causal(length), torch.finfo(torch.float32).min)
            # What the first step chose among keys that this one has too: earlier rows choose no later keys, but where
            # they see fewer than they may choose.
            given = None if first is None else first[:, :length].clamp(max=length - 1)
            out, chosen = parts["layer"](
                joined, attention_mask=mask, position_ids=positions, prev_topk_indices=given,
                position_embeddings=model.model.rotary_emb(joined, position_ids=positions))
            first = chosen if step == 1 else first
            hidden = parts["shared_head"]["norm"](out)
            logits.append(model.lm_head(hidden)[0])
        return logits

    def trace(self, tokens):
        extra = [(lambda: self.trunk + self.step - 1, parts["layer"]) for parts in self.layers]
        with torch.no_grad(), self.base.tracing(extra) as trace:
            trace.logits = self.base.logits(tokens)
            # The trunk runs once more in here; the hooks record the same values again.
            trace.mtp_logits = self.logits(tokens)
        return trace

    def gradients(self, lines):
        for module in [self.base.model, *self.layers]:
            module.zero_grad(set_to_none=True)
        logits = {name: self.logits(tokens) for name, tokens in lines.items()}
        loss = peers.mean_loss(logits, lines, first=2, steps=self.steps)
        loss.backward()
        logprobs = {
            f"{name}.logprobs.{d}": peers.next_logprobs(rows, lines[name], ahead=d + 1).detach().numpy().copy()
            for name, steps in logits.items() for d, rows in enumerate(steps, 1)}
        found = peers.named_gradients(self.base.model)
        for i, parts in enumerate(self.layers):
            for name, array in peers.named_gradients(parts).items():
                found[f"model.layers.{self.trunk + i}." + name.removeprefix("layer.")] = array
        return loss.item(), logprobs, found


def make_case(name, folder):
    config, lengths, storage = CASES[name]
    trunk = config["num_hidden_layers"]
    options = {k: v for k, v in storage.items() if k != "latent_gain"}
    for seed in range(20):
        weights = tiny.make_weights(config, seed, storage.get("latent_gain", 1.0))
        if config["dtype"] == "bfloat16":
            weights = {n: a if n.endswith("correction_bias") else tiny.rounded_to_bf16(a) for n, a in weights.items()}
        shutil.rmtree(folder, ignore_errors=True)
        tiny.write_checkpoint(folder, config, weights, **options)
        peer = WithMTP(folder, weights, MTP_STEPS) if config["num_nextn_predict_layers"] else None
        base = peer.base if peer else peers.Transformers(folder).require_exact_keys()
        random = np.random.Generator(np.random.PCG64([seed, len(name)]))
        lines, traces, repairs = {}, {}, 0
        try:
            for k, length in enumerate(lengths):
                line = "abcdefghij"[k]
                start = random.integers(config["vocab_size"], size=length).tolist()
                lines[line], fixed, traces[line] = peers.steady_tokens(
                    (peer or base).trace if length > 1 else base.trace, start, config["vocab_size"], trunk, FLOOR, random)
                repairs += fixed
            break
        except peers.Fragile:
            continue
    else:
        raise SystemExit(f"{name}: no seed gives clear margins")

    tiny.write_lines(os.path.join(folder, "input.jsonl"), lines)
    expected = {}
    for k, (line, trace) in enumerate(traces.items()):
        expected[line] = trace.logits.numpy()
        for number, rows in trace.selected.items():
            expected[f"{line}.layer.{number}"] = rows.numpy()
        for number, rows in trace.experts.items():
            expected[f"{line}.experts.{number}"] = rows.numpy()
            expected[f"{line}.expert_weights.{number}"] = trace.expert_weights[number].numpy()
        if k == 0:
            for number, hidden in trace.hidden.items():
                expected[f"{line}.hidden.{number}"] = hidden.numpy()
            expected[f"{line}.hidden.norm"] = trace.normed.numpy()
        if peer:
            for d, logits in enumerate(trace.mtp_logits, 1):
                expected[f"{line}.mtp.{d}"] = logits.numpy()
    tiny.save_tensors(os.path.join(folder, "expected.safetensors"), expected)

    def save_gradients(file_name, loss, logprobs, gradients):
        tiny.save_tensors(os.path.join(folder, file_name), {
            "loss": np.float32(loss), **logprobs, **gradients})

    loss, logprobs, gradients = base.gradients(lines)
    save_gradients(
        "gradients.safetensors", loss, {f"{line}.logprobs": a for line, a in logprobs.items()}, gradients)
    report = [cross_check(name, config, weights, lines, traces, loss, gradients)]
    if peer:
        loss, logprobs, gradients = peer.gradients(lines)
        save_gradients("mtp_gradients.safetensors", loss, logprobs, gradients)
        report.append("MTP: " + cross_check(name, config, weights, lines, traces, loss, gradients, peer.steps))
        if config["num_nextn_predict_layers"] == 1:
            peer.steps = 1
            loss, logprobs, gradients = peer.gradients(lines)
            save_gradients("mtp_first_gradients.safetensors", loss, logprobs, gradients)
            report.append("one step: " + cross_check(name, config, weights, lines, traces, loss, gradients, peer.steps))

    sizes = {f: os.path.getsize(os.path.join(folder, f)) for f in sorted(os.listdir(folder))}
    if max(sizes.values()) >= FILE_LIMIT:
        raise SystemExit(f"{name}: a file is too large: {sizes}")
    margin = min(t.margin(trunk).min().item() for t in traces.values())
    influence = sensitivity(base, lines) if config["model_type"] == tiny.DSA else 0.0
    print(f"{name:15s} seed {seed}, {sum(a.size for a in weights.values()):6d} parameters, "
          f"{sum(sizes.values()) // 1000:4d} KB, {repairs} tokens replaced, margin {margin:.1e}, loss {loss:.3f}, "
          f"dense attention moves logits by {influence:.2f}; " + "; ".join(report), flush=True)


def cross_check(name, config, weights, lines, traces, loss, gradients, steps=0):
    formulas = peers.Formulas(config, weights)
    off = 0.0
    for line, tokens in lines.items():
        formulas.selected = {}
        with torch.no_grad():
            mine = formulas.mtp_logits(tokens, steps) if steps else [formulas.logits(tokens)]
        theirs = traces[line].mtp_logits if steps else [traces[line].logits]
        for one, other in zip(mine, theirs):
            off = max(off, (one - other).abs().max().item())
        for number, chosen in formulas.selected.items():
            # A selection that a step shares is recorded where it was made.
            if number in traces[line].selected and not torch.equal(
                    peers.as_rows(chosen, config["index_topk"]), traces[line].selected[number]):
                raise SystemExit(f"{name}: line {line}, layer {number}: f64 selects other keys")
    my_loss, mine = formulas.gradients(lines, steps)
    if set(mine) != set(gradients):
        raise SystemExit(f"{name}: gradient names differ: {sorted(set(mine) ^ set(gradients))[:4]}")
    worst = max(mine, key=lambda n: peers.relative_distance(gradients[n], mine[n]))
    worst_off = peers.relative_distance(gradients[worst], mine[worst])
    if off > 5e-5 or abs(my_loss - loss) > 1e-5 or worst_off > 1e-4:
        raise SystemExit(f"{name}: f32 and f64 disagree: logits {off:.1e}, loss {abs(my_loss - loss):.1e}, "
                         f"gradient of {worst} {worst_off:.1e}")
    return f"f64 agrees to {off:.0e} (logits), {worst_off:.0e} (gradients)"


def sensitivity(base, lines):
    """How far the logits move if the selection is ignored: what a wrong sparse attention would look like."""
    indexers = [m for m in base.model.modules() if type(m).__name__ == "GlmMoeDsaIndexer"]
    tokens = max(lines.values(), key=len)
    with torch.no_grad():
        sparse = base.logits(tokens)
        for indexer in indexers:
            indexer.index_topk = 1 << 30
        return (sparse - base.logits(tokens)).abs().max().item()


def make_indexer(path):
    """The index losses of DSA training, dense and restricted to a selection, with their gradients by autograd.

    Tensors: x [T, hidden], q_latent [T, q_rank], wq_b, wk, k_norm.weight, k_norm.bias, weights_proj; rope [2] = (rope
    dims, theta); attention [heads, T, T] (probabilities, rows sum to 1); scores [T, T] = I (0 where s > t);
    selection [T, topk] int32 (ascending, -1 padded).
    dense: target p = mean of attention over heads; loss = sum over t of KL(p[t] || softmax I[t, ...t]).
    sparse: both restricted to the selection, p renormalised. WHICH.target, WHICH.loss, WHICH.kl [T],
    WHICH.grad.scores [T, T], WHICH.grad.{wq_b, wk, k_norm.weight, k_norm.bias, weights_proj}. Sums, not means.
    """
    length, hidden, rank, heads, index_heads, width, turn, topk, theta = 40, 36, 20, 3, 24, 12, 8, 10, 1e6
    for seed in range(100):
        random = np.random.Generator(np.random.PCG64([seed, 77]))
        normal = lambda *shape, scale=1.0: torch.tensor(
            (scale * random.standard_normal(shape)).astype(np.float32))
        x, q_latent = normal(length, hidden), normal(length, rank)
        weights = {
            "wq_b": normal(index_heads * width, rank, scale=rank ** -0.5),
            "wk": normal(width, hidden, scale=hidden ** -0.5),
            "k_norm.weight": 1 + normal(width, scale=0.1), "k_norm.bias": normal(width, scale=0.1),
            "weights_proj": normal(index_heads, hidden, scale=3 * hidden ** -0.5)}
        attention = normal(heads, length, length, scale=2.0).masked_fill(
            ~peers.causal(length), float("-inf")).softmax(-1)
        ranked = peers.index_scores(x, q_latent, *weights.values(), turn, theta).masked_fill(
            ~peers.causal(length), float("-inf")).sort(-1, descending=True).values[topk:]
        if (ranked[:, topk - 1] - ranked[:, topk]).min() > FLOOR:
            break
    else:
        raise SystemExit("indexer: no seed gives clear margins")
    saved = {"x": x, "q_latent": q_latent, "attention": attention, "rope": torch.tensor([turn, theta]), **weights}
    for which in ("dense", "sparse"):
        leaves = {n: w.double().requires_grad_(True) for n, w in weights.items()}
        scores = peers.index_scores(x.double(), q_latent.double(), *leaves.values(), turn, theta)
        scores.retain_grad()
        selected = peers.select(scores, topk)
        seen = peers.causal(length) if which == "dense" else selected
        target = attention.double().mean(0).masked_fill(~seen, 0)
        target = target / target.sum(-1, keepdim=True)
        log_q = scores.masked_fill(~seen, float("-inf")).log_softmax(-1).masked_fill(~seen, 0)
        kl = (torch.special.xlogy(target, target) - target * log_q).sum(-1)
        kl.sum().backward()
        by_hand = scores.detach().masked_fill(~seen, float("-inf")).softmax(-1) - target
        if (scores.grad - by_hand).abs().max() > 1e-10:
            raise SystemExit("indexer: the gradient of the scores is not softmax(I) - p")
        saved |= {f"{which}.target": target, f"{which}.kl": kl.detach(), f"{which}.loss": kl.detach().sum(),
                  f"{which}.grad.scores": scores.grad, **{f"{which}.grad.{n}": w.grad for n, w in leaves.items()}}
    saved["scores"] = scores.detach().masked_fill(~peers.causal(length), 0)
    saved["selection"] = peers.as_rows(selected, topk)
    tiny.save_tensors(path, {n: (t if t.dtype == torch.int32 else t.float()).numpy() for n, t in saved.items()})
    print(f"indexer         seed {seed}, {os.path.getsize(path) // 1000} KB, "
          f"KL dense {saved['dense.loss']:.3f}, sparse {saved['sparse.loss']:.3f}")


def compare(old, new):
    """Inputs must be the same bytes; results may differ by the rounding of another processor."""
    problems = 0
    for folder, _, files in sorted(os.walk(new)):
        for file in sorted(files):
            a, b = (os.path.join(base, os.path.relpath(folder, new), file) for base in (old, new))
            label = os.path.relpath(b, new)
            if not os.path.exists(a):
                verdict = "is not committed"
            elif open(a, "rb").read() == open(b, "rb").read():
                continue
            elif "gradients" not in file and file not in ("expected.safetensors", "indexer.safetensors"):
                verdict = "differs"
            else:
                x, y = tiny.load_tensors(a), tiny.load_tensors(b)
                if set(x) != set(y) or any(x[n].shape != y[n].shape for n in x):
                    verdict = "holds other tensors"
                else:
                    off = max(float(np.abs(x[n].astype(np.float64) - y[n]).max()) if x[n].size else 0.0 for n in x)
                    if off <= 2e-5:
                        print(f"{label}: equal to {off:.1e}, other rounding")
                        continue
                    verdict = f"differs by {off:.1e}"
            print(f"{label}: {verdict}")
            problems += 1
    print("the committed files are what this script makes" if problems == 0 else f"{problems} files differ")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all, and the indexer file")
    parser.add_argument("--out", default=ROOT, help="folder that gets models/ and indexer.safetensors")
    parser.add_argument("--check", action="store_true", help="write nothing; compare with --out")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        print("\n".join([*CASES, "indexer"]))
        return 0
    unknown = set(options.cases) - set(CASES) - {"indexer"}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        out = temporary if options.check else options.out
        os.makedirs(os.path.join(out, "models"), exist_ok=True)
        for name in options.cases or [*CASES, "indexer"]:
            if name == "indexer":
                make_indexer(os.path.join(out, "indexer.safetensors"))
            else:
                make_case(name, os.path.join(out, "models", name))
        return 1 if options.check and compare(options.out, temporary) else 0


if __name__ == "__main__":
    sys.exit(main())
