"""Small random GLM-5 and GLM-4.7-Flash checkpoints in Hugging Face layout, from a seed.

Every tensor depends on (seed, its name) alone, so two configs that share a tensor share its values, and
adding a layer changes nothing else. The names are those of the release: one tensor per expert.
"""
import json
import math
import os
import zlib

import numpy as np

DSA = "glm_moe_dsa"
LITE = "glm4_moe_lite"
LATENT_EPS_OF_TRANSFORMERS = 1e-6  # it builds q_a_layernorm and kv_a_layernorm without passing rms_norm_eps
LATENT_EPS_DEFAULT = 1e-5  # what training, vLLM and SGLang use: a config without the key means this


def make_config(kind=DSA, **changes):
    """A complete config.json of a model of a few ten thousand parameters; a change to None removes the key,
    except q_lora_rank, where null has a meaning."""
    config = {
        "architectures": ["GlmMoeDsaForCausalLM" if kind == DSA else "Glm4MoeLiteForCausalLM"],
        "model_type": kind,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dtype": "float32",
        "eos_token_id": [1],
        "first_k_dense_replace": 1,
        "hidden_act": "silu",
        "hidden_size": 32,
        "initializer_range": 0.02,
        "intermediate_size": 56,
        "kv_lora_rank": 16,
        "latent_norm_eps": LATENT_EPS_OF_TRANSFORMERS,
        "max_position_embeddings": 4096,
        "moe_intermediate_size": 12,
        "moe_layer_freq": 1,
        "n_group": 1,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "norm_topk_prob": True,
        "num_attention_heads": 2,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 2,
        "num_nextn_predict_layers": 0,
        "q_lora_rank": 24,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "rms_norm_eps": 1e-5,
        "rope_interleave": True,
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
        "routed_scaling_factor": 2.5 if kind == DSA else 1.8,
        "scoring_func": "sigmoid",
        "tie_word_embeddings": False,
        "topk_group": 1,
        "topk_method": "noaux_tc",
        "transformers_version": "5.23.0",
        "use_cache": True,
        "v_head_dim": 16,
        "vocab_size": 96,
    }
    if kind == DSA:
        config |= {"index_head_dim": 12, "index_n_heads": 24, "index_topk": 16, "indexer_rope_interleave": True}
    for key, value in changes.items():
        if value is None and key != "q_lora_rank":
            config.pop(key, None)
        else:
            config[key] = value
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    config["qk_head_dim"] = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    return config


def rope_theta(config):
    return float((config.get("rope_parameters") or {}).get("rope_theta") or config["rope_theta"])


def is_sparse_mlp(config, layer):
    kinds = config.get("mlp_layer_types")
    if layer >= config["num_hidden_layers"]:
        return True  # the MTP layer
    return kinds[layer] == "sparse" if kinds else layer >= config["first_k_dense_replace"]


def has_indexer(config, layer):
    """Whether a layer runs an indexer of its own: the three ways in which a config says so, in order."""
    if config["model_type"] != DSA:
        return False
    if layer >= config["num_hidden_layers"]:
        return True  # the MTP layer
    if config.get("indexer_types"):
        return config["indexer_types"][layer] == "full"
    if config.get("index_topk_pattern"):
        return config["index_topk_pattern"][layer] == "F"
    frequency = max(config.get("index_topk_freq", 1), 1)
    return max(layer - config.get("index_skip_topk_offset", 2) + 1, 0) % frequency == 0


def tensor_plan(config, latent_gain=1.0):
    """name -> (shape, mean, standard deviation). The gains keep attention, index scores and routing far from
    uniform: a wrong selection or a wrong expert moves the logits by O(0.1) or more."""
    plan = {}
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    trunk = config["num_hidden_layers"]

    def linear(name, rows, columns, gain=1.0):
        plan[name + ".weight"] = ((rows, columns), 0.0, gain / math.sqrt(columns))

    def norm(name, width):
        plan[name + ".weight"] = ((width,), 1.0, 0.1)

    def mlp(name, width, gain=1.0):
        linear(name + ".gate_proj", width, hidden)
        linear(name + ".up_proj", width, hidden)
        linear(name + ".down_proj", hidden, width, gain)

    plan["model.embed_tokens.weight"] = ((config["vocab_size"], hidden), 0.0, 1.0)
    for i in range(trunk + config.get("num_nextn_predict_layers", 0)):
        layer = f"model.layers.{i}"
        attention = layer + ".self_attn"
        norm(layer + ".input_layernorm", hidden)
        norm(layer + ".post_attention_layernorm", hidden)
        rank = config["q_lora_rank"]
        if rank is None:
            linear(attention + ".q_proj", heads * (nope + rope), hidden, 2.0)
        else:
            linear(attention + ".q_a_proj", rank, hidden, latent_gain)
            norm(attention + ".q_a_layernorm", rank)
            linear(attention + ".q_b_proj", heads * (nope + rope), rank, 2.0)
        latent = config["kv_lora_rank"]
        linear(attention + ".kv_a_proj_with_mqa", latent + rope, hidden, latent_gain)
        norm(attention + ".kv_a_layernorm", latent)
        linear(attention + ".kv_b_proj", heads * (nope + value), latent)
        linear(attention + ".o_proj", hidden, heads * value)
        if has_indexer(config, i):
            indexer, count, width = attention + ".indexer", config["index_n_heads"], config["index_head_dim"]
            linear(indexer + ".wq_b", count * width, rank)
            linear(indexer + ".wk", width, hidden)
            norm(indexer + ".k_norm", width)
            plan[indexer + ".k_norm.bias"] = ((width,), 0.0, 0.1)
            linear(indexer + ".weights_proj", count, hidden, 3.0)
        if is_sparse_mlp(config, i):
            experts = config["n_routed_experts"]
            linear(layer + ".mlp.gate", experts, hidden, 1.5)
            plan[layer + ".mlp.gate.e_score_correction_bias"] = ((experts,), 0.0, 0.1)
            for e in range(experts):
                mlp(f"{layer}.mlp.experts.{e}", config["moe_intermediate_size"])
            mlp(layer + ".mlp.shared_experts", config["moe_intermediate_size"] * config["n_shared_experts"])
        else:
            mlp(layer + ".mlp", config["intermediate_size"])
        if i >= trunk:
            norm(layer + ".enorm", hidden)
            norm(layer + ".hnorm", hidden)
            linear(layer + ".eh_proj", hidden, 2 * hidden, 1.4)
            norm(layer + ".shared_head.norm", hidden)
    norm("model.norm", hidden)
    if not config["tie_word_embeddings"]:
        linear("lm_head", config["vocab_size"], hidden, 2.0)
    return plan


def make_weights(config, seed, latent_gain=1.0):
    weights = {}
    for name, (shape, mean, deviation) in tensor_plan(config, latent_gain).items():
        random = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
        weights[name] = (mean + deviation * random.standard_normal(shape)).astype(np.float32)
    if config["tie_word_embeddings"]:
        weights["model.embed_tokens.weight"] *= np.float32(2.0 / math.sqrt(config["hidden_size"]))
    return weights


def rounded_to_bf16(array):
    """Nearest even; the values of a bf16 file as f32."""
    bits = array.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16
    return bits.astype(np.uint32).view(np.float32)


def save_tensors(path, tensors):
    """safetensors with the names in ascending order: the same tensors always make the same bytes."""
    kinds = {"float32": "F32", "int32": "I32", "uint16": "BF16", "float64": "F64"}
    header, blobs, offset = {}, [], 0
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name]).reshape(np.shape(tensors[name]))
        header[name] = {"dtype": kinds[array.dtype.name], "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        blobs.append(array.tobytes())
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for blob in blobs:
            file.write(blob)


def load_tensors(path):
    """name -> float32 or int32 array."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    return {name: (t.float() if t.is_floating_point() else t).numpy() for name, t in tensors.items()}


def fused_experts(weights):
    """The layout transformers keeps in memory: mlp.experts.gate_up_proj [E, 2I, H] and down_proj [E, H, I]."""
    fused, groups = {}, {}
    for name, array in weights.items():
        head, mark, tail = name.partition(".mlp.experts.")
        if mark:
            number, part = tail.removesuffix(".weight").split(".")
            groups.setdefault(head + mark, {})[int(number), part] = array
        else:
            fused[name] = array
    for prefix, parts in groups.items():
        count = 1 + max(number for number, _ in parts)
        fused[prefix + "gate_up_proj"] = np.stack(
            [np.concatenate([parts[e, "gate_proj"], parts[e, "up_proj"]]) for e in range(count)])
        fused[prefix + "down_proj"] = np.stack([parts[e, "down_proj"] for e in range(count)])
    return fused


def split_experts(tensors):
    """The inverse of fused_experts; tensors that are per expert already pass through."""
    split = {}
    for name, array in tensors.items():
        prefix, mark, part = name.partition(".mlp.experts.")
        if mark and part == "gate_up_proj":
            width = array.shape[1] // 2
            for e in range(array.shape[0]):
                split[f"{prefix}{mark}{e}.gate_proj.weight"] = array[e, :width]
                split[f"{prefix}{mark}{e}.up_proj.weight"] = array[e, width:]
        elif mark and part == "down_proj":
            for e in range(array.shape[0]):
                split[f"{prefix}{mark}{e}.down_proj.weight"] = array[e]
        else:
            split[name] = array
    return split


def write_checkpoint(folder, config, weights, shards=1, fused=False):
    """config.json and model.safetensors, or several shards with their index. config["dtype"] decides what is
    stored; the router's bias stays f32, as in the release."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=2, sort_keys=True)
        file.write("\n")
    stored = fused_experts(weights) if fused else dict(weights)
    if config["dtype"] == "bfloat16":
        for name, array in stored.items():
            if not name.endswith("e_score_correction_bias"):
                stored[name] = (rounded_to_bf16(array).view(np.uint32) >> 16).astype(np.uint16)
    if shards == 1:
        save_tensors(os.path.join(folder, "model.safetensors"), stored)
        return
    names = list(stored)
    place = {name: f"model-{1 + k * shards // len(names):05d}-of-{shards:05d}.safetensors"
             for k, name in enumerate(names)}
    for file_name in sorted(set(place.values())):
        save_tensors(os.path.join(folder, file_name), {n: stored[n] for n in names if place[n] == file_name})
    index = {"metadata": {"total_size": sum(a.nbytes for a in stored.values())}, "weight_map": place}
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
        json.dump(index, file, indent=2, sort_keys=True)
        file.write("\n")


def write_lines(path, lines):
    with open(path, "w") as file:
        for name, tokens in lines.items():
            file.write(json.dumps({"id": name, "tokens": [int(t) for t in tokens]}, separators=(",", ":")) + "\n")


def read_lines(path):
    with open(path) as file:
        return {row["id"]: row["tokens"] for row in map(json.loads, filter(str.strip, file))}
