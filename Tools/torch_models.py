"""Two PyTorch implementations of the same model to hold against each other and against glim.

`Transformers` drives transformers' own classes (f32, eager attention and experts) and traces what its indexers
and routers chose and by what margin. The functions below it are written from the formulas alone and run in any
precision, f64 included: they cross-check the first and add what transformers leaves out, the MTP layer.
"""
import contextlib
import json
import os
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
warnings.filterwarnings("ignore")

import numpy as np
import torch
import torch.nn.functional as F
import transformers

import tiny_models as tiny

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


class Fragile(Exception):
    """A choice (of keys, experts or groups) hangs on a difference too small to survive another rounding."""


# MARK: transformers

class Transformers:
    def __init__(self, folder, attention="eager", experts="eager"):
        with open(os.path.join(folder, "config.json")) as file:
            self.raw = json.load(file)
        self.model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=attention, experts_implementation=experts,
            output_loading_info=True)
        self.model.eval()
        trunk = self.raw["num_hidden_layers"]
        mtp = tuple(f"model.layers.{trunk + i}." for i in range(self.raw.get("num_nextn_predict_layers") or 0))
        self.mtp_keys = sorted(k for k in info["unexpected_keys"] if k.startswith(mtp)) if mtp else []
        self.strange_keys = {
            kind: sorted(str(k) for k in info.get(kind) or [] if k not in self.mtp_keys)
            for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        # A padding index would drop the gradient of that token's embedding.
        self.model.model.embed_tokens.padding_idx = None
        self.latent_eps = self.raw.get("latent_norm_eps", tiny.LATENT_EPS_DEFAULT)
        for name, module in self.model.named_modules():
            if name.endswith(("q_a_layernorm", "kv_a_layernorm")) and module is not None:
                module.variance_epsilon = self.latent_eps

    def require_exact_keys(self):
        if any(self.strange_keys.values()):
            raise SystemExit(f"transformers does not take this checkpoint as it is: {self.strange_keys}")
        return self

    def logits(self, tokens):
        return self.model(torch.as_tensor([tokens]), use_cache=False).logits[0]

    @contextlib.contextmanager
    def tracing(self, extra_layers=()):
        """Collects a Trace of the forward passes run inside; `extra_layers` are (function that tells the number that a
        pass goes by, decoder layer)."""
        trace, hooks = Trace(), []
        layers = [(lambda number=number: number, layer) for number, layer in enumerate(self.model.model.layers)]
        for number, layer in layers + list(extra_layers):
            hooks.append(layer.register_forward_hook(
                lambda m, i, o, number=number: trace.hidden.__setitem__(
                    number(), (o[0] if isinstance(o, tuple) else o)[0].detach())))
            if getattr(layer.self_attn, "indexer", None) is not None:
                hooks.append(layer.self_attn.indexer.register_forward_hook(
                    lambda m, i, o, number=number: trace.record_indexer(number(), m, i, o)))
            if hasattr(layer.mlp, "gate"):
                hooks.append(layer.mlp.gate.register_forward_hook(
                    lambda m, i, o, number=number: trace.record_router(number(), m, o)))
        hooks.append(self.model.model.norm.register_forward_hook(
            lambda m, i, o: setattr(trace, "normed", o[0].detach())))
        try:
            yield trace
        finally:
            for hook in hooks:
                hook.remove()

    def trace(self, tokens):
        with torch.no_grad(), self.tracing() as trace:
            trace.logits = self.logits(tokens)
        return trace

    def gradients(self, lines):
        """(mean next-token cross-entropy over all lines, id -> logprobs, checkpoint name -> gradient)."""
        self.model.zero_grad(set_to_none=True)
        count = sum(max(len(tokens) - 1, 0) for tokens in lines.values())
        total, logprobs = 0.0, {}
        for name, tokens in lines.items():
            picked = next_logprobs(self.logits(tokens), tokens)
            logprobs[name] = picked.detach().float().numpy().copy()
            if len(tokens) > 1:
                (-picked.sum() / count).backward()
            total -= picked.detach().double().sum().item()
        return total / count, logprobs, named_gradients(self.model)


def named_gradients(module, prefix=""):
    """Gradients under checkpoint names, per expert; what the loss cannot reach (the indexers) is left out."""
    found = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is None:
            if ".indexer." not in name:
                raise SystemExit(f"no gradient reached {prefix + name}")
        else:
            found[prefix + name] = parameter.grad.numpy().copy()
    return tiny.split_experts(found)


def next_logprobs(logits, tokens, ahead=1):
    targets = torch.as_tensor(tokens[ahead:], dtype=torch.long)
    return F.log_softmax(logits[:len(targets)], -1).gather(-1, targets[:, None])[:, 0]


class Trace:
    """What one forward pass of one sequence chose: per layer, and by how much per position."""

    def __init__(self):
        self.hidden, self.selected, self.experts, self.expert_weights = {}, {}, {}, {}
        self.index_margin, self.router_margin = {}, {}
        self.index_deviation = {}

    def record_indexer(self, number, module, inputs, chosen):
        x, q_latent = inputs[0][0], inputs[1][0]
        scores = index_scores(
            x, q_latent, module.wq_b.weight, module.wk.weight, module.k_norm.weight, module.k_norm.bias,
            module.weights_proj.weight, module.qk_rope_head_dim, tiny_theta(module.config))
        length, topk = len(x), min(module.index_topk, len(x))
        visible = scores.masked_fill(~causal(length), float("-inf"))
        margin = torch.full((length,), float("inf"))
        if topk < length:
            ranked = visible.sort(-1, descending=True).values
            margin[topk:] = ranked[topk:, topk - 1] - ranked[topk:, topk]
        self.index_margin[number] = margin.detach()
        self.index_deviation[number] = visible[-1].std().item() if length > 1 else 0.0
        rows = torch.full((length, module.index_topk), -1, dtype=torch.int32)
        for t in range(length):
            row = chosen[0, t][chosen[0, t] <= t].sort().values
            rows[t, :len(row)] = row.int()
        mine = select(scores, module.index_topk)
        if margin.min() > 1e-4 and not torch.equal(rows, as_rows(mine, module.index_topk)):
            raise SystemExit(f"layer {number}: transformers selects other keys than the formulas of this script")
        self.selected[number] = rows

    def record_router(self, number, module, outputs):
        logits, weights, chosen = (o.detach() for o in outputs)
        biased = logits.sigmoid() + module.e_score_correction_bias
        margin = torch.full((len(biased),), float("inf"))
        if module.num_group > module.topk_group:
            groups = biased.view(len(biased), module.num_group, -1)
            score = groups.topk(2, -1).values.sum(-1)
            ranked = score.sort(-1, descending=True).values
            margin = ranked[:, module.topk_group - 1] - ranked[:, module.topk_group]
            kept = torch.zeros_like(score, dtype=torch.bool).scatter_(1, score.topk(module.topk_group).indices, True)
            biased = groups.masked_fill(~kept[..., None], float("-inf")).flatten(1)
        if module.top_k < biased.shape[1]:
            ranked = biased.sort(-1, descending=True).values
            margin = torch.minimum(margin, ranked[:, module.top_k - 1] - ranked[:, module.top_k])
        self.router_margin[number] = margin
        order = chosen.argsort(-1)
        self.experts[number] = chosen.gather(1, order).int()
        self.expert_weights[number] = weights.gather(1, order)

    def margin(self, trunk_layers):
        """Per token of the sequence, the smallest margin among the choices that this token is the first to
        influence: position t in the trunk, t - d in step d of the MTP (numbered trunk_layers + d - 1), whose input at
        t - d includes token t."""
        length = len(self.hidden[0])
        smallest = torch.full((length,), float("inf"))
        for margins in (self.index_margin, self.router_margin):
            for number, values in margins.items():
                shift = max(number - trunk_layers + 1, 0)
                smallest[shift:shift + len(values)] = torch.minimum(
                    smallest[shift:shift + len(values)], values[:length - shift])
        return smallest


def tiny_theta(config):
    return config.rope_parameters["rope_theta"]


def steady_tokens(trace_of, tokens, vocabulary, trunk_layers, floor, random, attempts=300):
    """Replaces tokens, left to right, until every choice in the forward pass has a margin above `floor`.
    A token changes nothing before it, so each repair keeps the earlier ones. (tokens, repairs, trace)."""
    tokens, repairs = list(tokens), 0
    while True:
        trace = trace_of(tokens)
        weak = (trace.margin(trunk_layers) <= floor).nonzero()[:, 0]
        if len(weak) == 0:
            return tokens, repairs, trace
        if repairs == attempts:
            raise Fragile(f"margins stay below {floor:g}")
        tokens[int(weak[0])] = int(random.integers(vocabulary))
        repairs += 1


# MARK: the formulas

def causal(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def rope(x, theta):
    """Interleaved pairs over the last axis of [..., T, d]; the angles are f32 in every precision, as everywhere."""
    length, width = x.shape[-2:]
    frequency = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)


def index_scores(x, q_latent, wq_b, wk, norm_weight, norm_bias, weights_proj, rope_width, theta):
    """I[t, s] for every pair, also s > t: causality is the caller's."""
    heads, width = weights_proj.shape[0], wk.shape[0]
    q = (q_latent @ wq_b.T).view(len(x), heads, width).transpose(0, 1)
    k = F.layer_norm(x @ wk.T, (width,), norm_weight, norm_bias, 1e-6)
    q = torch.cat([rope(q[..., :rope_width], theta), q[..., rope_width:]], -1)
    k = torch.cat([rope(k[..., :rope_width], theta), k[..., rope_width:]], -1)
    weights = (x @ weights_proj.T) * heads ** -0.5
    return torch.einsum("th,hts->ts", weights, F.relu(q @ k.T * width ** -0.5))


def select(scores, topk):
    """Boolean [T, T]: the topk largest visible scores of every row, ties to the lower index."""
    length = len(scores)
    visible = scores.detach().masked_fill(~causal(length), float("-inf"))
    ranked = visible.sort(dim=-1, descending=True, stable=True).indices
    chosen = torch.zeros(length, length, dtype=torch.bool).scatter_(1, ranked[:, :topk], True)
    return chosen & causal(length)


def as_rows(chosen, topk):
    rows = torch.full((len(chosen), topk), -1, dtype=torch.int32)
    for t, row in enumerate(chosen):
        places = row.nonzero()[:, 0]
        rows[t, :len(places)] = places.int()
    return rows


class Formulas:
    """The model as functions of a dictionary of checkpoint tensors."""

    def __init__(self, config, weights, dtype=torch.float64):
        self.c = config
        self.w = {name: torch.tensor(array, dtype=dtype) for name, array in weights.items()}
        self.theta = tiny.rope_theta(config)
        self.eps = config["rms_norm_eps"]
        self.latent_eps = config.get("latent_norm_eps", tiny.LATENT_EPS_DEFAULT)
        self.selected = {}

    def parameters(self):
        return {n: t for n, t in self.w.items() if ".indexer." not in n and not n.endswith("correction_bias")}

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T

    def norm(self, x, name, eps=None):
        return rms_norm(x, self.w[name + ".weight"], self.eps if eps is None else eps)

    def attention(self, x, number, selection, keeps=False):
        c, name, length = self.c, f"model.layers.{number}.self_attn", len(x)
        heads, nope, turn, value = (c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"],
                                    c["v_head_dim"])
        if c["q_lora_rank"] is None:
            q_latent, q = None, self.linear(x, name + ".q_proj")
        else:
            q_latent = self.norm(self.linear(x, name + ".q_a_proj"), name + ".q_a_layernorm", self.latent_eps)
            q = self.linear(q_latent, name + ".q_b_proj")
        q = q.view(length, heads, nope + turn).transpose(0, 1)
        latent, k_rope = self.linear(x, name + ".kv_a_proj_with_mqa").split([c["kv_lora_rank"], turn], -1)
        latent = self.norm(latent, name + ".kv_a_layernorm", self.latent_eps)
        kv = self.linear(latent, name + ".kv_b_proj").view(length, heads, nope + value).transpose(0, 1)
        if tiny.has_indexer(c, number) and not keeps:
            indexer = name + ".indexer."
            with torch.no_grad():
                scores = index_scores(
                    x, q_latent, *(self.w[indexer + part] for part in (
                        "wq_b.weight", "wk.weight", "k_norm.weight", "k_norm.bias", "weights_proj.weight")),
                    turn, self.theta)
            selection = select(scores, c["index_topk"])
            self.selected[number] = selection
        scores = q[..., :nope] @ kv[..., :nope].transpose(1, 2)
        scores = scores + rope(q[..., nope:], self.theta) @ rope(k_rope, self.theta).T
        seen = causal(length) if selection is None else selection
        probabilities = (scores * (nope + turn) ** -0.5).masked_fill(~seen, float("-inf")).softmax(-1)
        mixed = (probabilities @ kv[..., nope:]).transpose(0, 1).reshape(length, heads * value)
        return self.linear(mixed, name + ".o_proj"), selection

    def mlp(self, x, name):
        return self.linear(F.silu(self.linear(x, name + ".gate_proj")) * self.linear(x, name + ".up_proj"),
                           name + ".down_proj")

    def moe(self, x, name):
        c, count = self.c, self.c["n_routed_experts"]
        score = self.linear(x, name + ".gate").sigmoid()
        choice = score.detach() + self.w[name + ".gate.e_score_correction_bias"]
        groups = choice.view(len(x), c["n_group"], count // c["n_group"])
        best = groups.topk(2, -1).values.sum(-1).topk(c["topk_group"], -1).indices
        kept = torch.zeros(len(x), c["n_group"], dtype=torch.bool).scatter_(1, best, True)
        choice = groups.masked_fill(~kept[..., None], float("-inf")).flatten(1)
        chosen = choice.topk(c["num_experts_per_tok"], -1).indices
        gate = score.gather(1, chosen)
        if c["norm_topk_prob"]:
            gate = gate / (gate.sum(-1, keepdim=True) + 1e-20)
        dense = torch.zeros_like(score).scatter(1, chosen, gate * c["routed_scaling_factor"])
        y = self.mlp(x, name + ".shared_experts")
        for e in range(count):
            y = y + dense[:, e:e + 1] * self.mlp(x, f"{name}.experts.{e}")
        return y

    def layer(self, h, number, selection, keeps=False):
        name = f"model.layers.{number}"
        y, selection = self.attention(self.norm(h, name + ".input_layernorm"), number, selection, keeps)
        h = h + y
        x = self.norm(h, name + ".post_attention_layernorm")
        feed = self.moe if tiny.is_sparse_mlp(self.c, number) else self.mlp
        return h + feed(x, name + ".mlp"), selection

    def head(self, x):
        return x @ self.w["model.embed_tokens.weight" if self.c["tie_word_embeddings"] else "lm_head.weight"].T

    def trunk(self, tokens):
        """The hidden state after model.norm."""
        h, selection = self.w["model.embed_tokens.weight"][torch.as_tensor(tokens)], None
        for number in range(self.c["num_hidden_layers"]):
            h, selection = self.layer(h, number, selection)
        return self.norm(h, "model.norm")

    def logits(self, tokens):
        return self.head(self.trunk(tokens))

    def mtp_logits(self, tokens, steps):
        """For each step d, from 1: row i sees tokens 0...i+d and predicts token i + d + 1: [T - d, vocabulary]. Steps
        beyond the last layer use it again."""
        trunk = self.c["num_hidden_layers"]
        hidden, first, logits, selected = self.trunk(tokens), None, [], {}
        for step in range(1, min(steps, len(tokens) - 1) + 1):
            number = trunk + min(step, self.c["num_nextn_predict_layers"]) - 1
            name = f"model.layers.{number}"
            ahead = self.w["model.embed_tokens.weight"][torch.as_tensor(tokens[step:])]
            joined = torch.cat([self.norm(ahead, name + ".enorm"), self.norm(hidden[:-1], name + ".hnorm")], -1)
            shares = step > 1 and self.c.get("index_share_for_mtp_iteration", False)
            m, chosen = self.layer(self.linear(joined, name + ".eh_proj"), number,
                                   first[:len(joined), :len(joined)] if shares else None, keeps=shares)
            first = chosen if step == 1 else first
            selected[trunk + step - 1] = chosen
            hidden = self.norm(m, name + ".shared_head.norm")
            logits.append(self.head(hidden))
        # A layer that ran several times wrote over its own entry.
        self.selected |= selected
        return logits

    def gradients(self, lines, steps=0):
        """Of the next token's loss, or of the mean over so many steps of multi-token prediction."""
        for tensor in self.parameters().values():
            tensor.requires_grad_(True)
            tensor.grad = None
        total = mean_loss(
            {name: self.mtp_logits(t, steps) if steps else [self.logits(t)] for name, t in lines.items()}, lines,
            first=2 if steps else 1, steps=max(steps, 1))
        total.backward()
        return total.item(), {n: t.grad.numpy() for n, t in self.parameters().items() if t.grad is not None}


def mean_loss(logits, lines, first, steps):
    """Cross-entropy of the tokens first, first + 1, ... ahead: the mean over all lines, then over the steps."""
    losses = []
    for step in range(steps):
        ahead = first + step
        count = sum(max(len(t) - ahead, 0) for t in lines.values())
        losses.append(sum(-next_logprobs(logits[name][step], t, ahead).sum()
                          for name, t in lines.items() if len(t) > ahead) / count)
    return sum(losses) / steps


def relative_distance(a, b):
    """|a - b| / |b| in the 2-norm; 0 where both vanish."""
    scale = float(np.linalg.norm(np.asarray(b, np.float64)))
    distance = float(np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b, np.float64)))
    return 0.0 if distance == 0 else distance / max(scale, 1e-30)
