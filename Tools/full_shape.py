"""A model of a full shape with random weights, as `glim quantize --scheme w4a8` would write it: for measuring speed
and memory where the real checkpoint is not at hand. The shape is GLM-4.7-Flash's, 18.2 GB; or, with --shape glm-5-slice,
GLM-5's widths in one dense layer and two with 256 experts, 13.9 GB; or that of --config.

    python Tools/full_shape.py --out flash-w4a8
    glim bench decode --model flash-w4a8 --context 512 --tokens 16
    python Tools/full_shape.py --shape glm-5-slice --out slice && python Tools/memory_limit.py --model slice --memory 4GiB

Numbers are cut from a few random blocks, so that writing takes as long as the disk does. Their sizes are those of an
initialisation (a matrix keeps the size of what it is given, and what 2 L sublayers add to the stream is as large as the
embedding), so that nothing vanishes or overflows on the way through the layers. The text that it writes is noise.
"""
import argparse
import json
import math
import os
import shutil
import sys

import numpy as np

FLASH = {
    "architectures": ["Glm4MoeLiteForCausalLM"],
    "model_type": "glm4_moe_lite",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "dtype": "bfloat16",
    "eos_token_id": [154820, 154827, 154829],
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 10240,
    "kv_lora_rank": 512,
    "max_position_embeddings": 202752,
    "moe_intermediate_size": 1536,
    "moe_layer_freq": 1,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 20,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 47,
    "num_key_value_heads": 20,
    "num_nextn_predict_layers": 1,
    "pad_token_id": 154820,
    "q_lora_rank": 768,
    "qk_nope_head_dim": 192,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-5,
    "rope_interleave": True,
    "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
    "routed_scaling_factor": 1.8,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "use_cache": True,
    "v_head_dim": 256,
    "vocab_size": 154880,
}
SLICE = FLASH | {
    "architectures": ["GlmMoeDsaForCausalLM"],
    "model_type": "glm_moe_dsa",
    "hidden_size": 6144,
    "index_head_dim": 128,
    "index_key_dtype": "int8",  # as glim quantize has keys kept
    "index_n_heads": 32,
    "index_topk": 2048,
    "indexer_rope_interleave": True,
    "intermediate_size": 12288,
    "latent_dtype": "bfloat16",
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "num_attention_heads": 64,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 3,
    "num_key_value_heads": 64,
    "num_nextn_predict_layers": 0,
    "q_lora_rank": 2048,
    "routed_scaling_factor": 2.5,
}
SHAPES = {"glm-4.7-flash": FLASH, "glm-5-slice": SLICE}
# What a config.json need not have.
OPTIONAL = {
    "eos_token_id", "index_key_dtype", "indexer_rope_interleave", "latent_dtype", "pad_token_id", "use_cache"}
SHARD_BYTES = 2_000_000_000
SPARE_BYTES = 1 << 30  # left free for everything else on the disk
BYTES = {"I64": 8, "I32": 4, "F32": 4, "BF16": 2, "I8": 1}


def fail(message):
    sys.exit(f"error: {message}")


class Tensor:
    """One tensor of the file: `numbers` draws its bytes, which nothing else decides."""

    def __init__(self, name, dtype, shape, kind, size=1.0):
        self.name, self.dtype, self.shape, self.kind, self.size = name, dtype, shape, kind, size
        self.bytes = BYTES[dtype] * math.prod(shape)


class Layout:
    """The tensors of a model, and which of its modules are stored in what."""

    def __init__(self, config):
        self.config, self.tensors = config, []
        self.groups, self.ignored = {}, set()
        c = config
        width, layers = c["hidden_size"], c["num_hidden_layers"]
        # What a sublayer adds, next to an embedding of size 1.
        self.added = 1 / math.sqrt(2 * layers)
        self.plain("model.embed_tokens.weight", c["vocab_size"], width, 1.0)
        for i in range(layers):
            self.layer(f"model.layers.{i}", is_dense=i < c["first_k_dense_replace"], bits=4)
        self.vector("model.norm.weight", width)
        if not c["tie_word_embeddings"]:
            self.integers("lm_head.weight", c["vocab_size"], width, 8)
        for i in range(layers, layers + c["num_nextn_predict_layers"]):
            self.vector(f"model.layers.{i}.enorm.weight", width)
            self.vector(f"model.layers.{i}.hnorm.weight", width)
            self.integers(f"model.layers.{i}.eh_proj.weight", width, 2 * width, 8)
            self.layer(f"model.layers.{i}", is_dense=False, bits=8)  # MTP layers keep eight bits
            self.vector(f"model.layers.{i}.shared_head.norm.weight", width)

    def layer(self, prefix, is_dense, bits):
        c, own = self.config, f"{prefix}.self_attn"
        width, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
        plain, rotated, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
        self.vector(f"{prefix}.input_layernorm.weight", width)
        self.vector(f"{prefix}.post_attention_layernorm.weight", width)
        self.integers(f"{own}.q_a_proj.weight", c["q_lora_rank"], width, 8)
        self.vector(f"{own}.q_a_layernorm.weight", c["q_lora_rank"])
        self.integers(f"{own}.q_b_proj.weight", heads * (plain + rotated), c["q_lora_rank"], 8)
        self.integers(f"{own}.kv_a_proj_with_mqa.weight", latent + rotated, width, 8)
        self.vector(f"{own}.kv_a_layernorm.weight", latent)
        self.plain(f"{own}.kv_b_proj.weight", heads * (plain + value), latent)
        self.integers(f"{own}.o_proj.weight", width, heads * value, 8, self.added)
        if "index_n_heads" in c:
            index_heads, index_width = c["index_n_heads"], c["index_head_dim"]
            self.integers(f"{own}.indexer.wq_b.weight", index_heads * index_width, c["q_lora_rank"], 8)
            self.plain(f"{own}.indexer.wk.weight", index_width, width)
            self.vector(f"{own}.indexer.k_norm.weight", index_width)
            self.tensors.append(Tensor(f"{own}.indexer.k_norm.bias", "BF16", [index_width], "zero"))
            self.plain(f"{own}.indexer.weights_proj.weight", index_heads, width)
        if is_dense:
            return self.mlp(f"{prefix}.mlp", c["intermediate_size"], 8)
        self.plain(f"{prefix}.mlp.gate.weight", c["n_routed_experts"], width)
        self.tensors.append(
            Tensor(f"{prefix}.mlp.gate.e_score_correction_bias", "F32", [c["n_routed_experts"]], "zero"))
        for e in range(c["n_routed_experts"]):
            self.mlp(f"{prefix}.mlp.experts.{e}", c["moe_intermediate_size"], bits)
        if c["n_shared_experts"]:
            self.mlp(f"{prefix}.mlp.shared_experts", c["moe_intermediate_size"] * c["n_shared_experts"], 8)

    def mlp(self, prefix, inner, bits):
        width = self.config["hidden_size"]
        self.integers(f"{prefix}.gate_proj.weight", inner, width, bits)
        self.integers(f"{prefix}.up_proj.weight", inner, width, bits)
        self.integers(f"{prefix}.down_proj.weight", width, inner, bits, self.added)

    def vector(self, name, width):
        self.tensors.append(Tensor(name, "BF16", [width], "one"))

    def plain(self, name, outputs, inputs, size=None):
        self.tensors.append(Tensor(name, "BF16", [outputs, inputs], "normal", size or 1 / math.sqrt(inputs)))
        if "embed_tokens" not in name:
            self.ignored.add(self.pattern(name))

    def integers(self, name, outputs, inputs, bits, gain=1.0):
        group = next((g for g in (128, 64, 32) if inputs % g == 0), None)
        if bits == 4:
            self.tensors.append(Tensor(f"{name}_packed", "I32", [outputs, (inputs + 7) // 8], "int4"))
            self.tensors.append(Tensor(f"{name}_shape", "I64", [2], "shape", [outputs, inputs]))
        else:
            self.tensors.append(Tensor(name, "I8", [outputs, inputs], "int8"))
        # Even draws from -7...7 and -127...127 have this spread; the scale brings it to that of the weight.
        spread = math.sqrt(((15 if bits == 4 else 255) ** 2 - 1) / 12)
        size = gain / math.sqrt(inputs) / spread
        self.tensors.append(Tensor(f"{name}_scale", "F32", [outputs, inputs // (group or inputs)], "scale", size))
        self.groups.setdefault((bits, group), set()).add(self.pattern(name))

    def pattern(self, name):
        """A regular expression for the module of any layer; of one layer's experts, which have other bits in MTP."""
        words = name.split(".")[:-1]
        for i in range(1, len(words)):
            if words[i].isdigit() and (words[i - 1] != "layers" or ".experts." not in name):
                words[i] = "[0-9]+"
        return "re:^" + r"\.".join(words) + "$"

    def quantization(self):
        def arguments(bits, group, whole_row, dynamic):
            return {"dynamic": dynamic, "group_size": group, "num_bits": bits,
                    "strategy": "group" if group else whole_row, "symmetric": True, "type": "int"}

        groups = {}
        for (bits, group), targets in sorted(self.groups.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
            groups[f"group_{len(groups)}"] = {
                "format": "int-quantized" if bits == 8 else "pack-quantized",
                "input_activations": arguments(8, group, "token", True),
                "output_activations": None,
                "targets": sorted(targets),
                "weights": arguments(bits, group, "channel", False),
            }
        return {"config_groups": groups, "format": "mixed-precision", "global_compression_ratio": None,
                "ignore": sorted(self.ignored), "kv_cache_scheme": None, "quant_method": "compressed-tensors",
                "quantization_status": "compressed"}

    def shards(self):
        shards, bytes_ = [[]], 0
        for tensor in self.tensors:
            if shards[-1] and bytes_ + tensor.bytes > SHARD_BYTES:
                shards.append([])
                bytes_ = 0
            shards[-1].append(tensor)
            bytes_ += tensor.bytes
        # Wider elements first, so that every tensor is aligned.
        return [sorted(shard, key=lambda t: -BYTES[t.dtype]) for shard in shards]


class Blocks:
    """Random blocks, each drawn once, of which tensors are cut. Their lengths are primes: rows of no matrix repeat."""

    LONG, SHORT = 33_554_393, 4_194_301

    def __init__(self, seed):
        self.random, self.made = np.random.default_rng(seed), {}

    def draw(self, kind, size):
        if kind == "int4":  # two numbers a byte, each plus 8
            low, high = self.random.integers(1, 16, (2, self.LONG), np.uint8)
            return low | high << 4
        if kind == "int8":
            return self.random.integers(-127, 128, self.LONG, np.int8)
        if kind == "scale":
            return self.random.uniform(0.75 * size, 1.25 * size, self.SHORT).astype(np.float32)
        normal = self.random.standard_normal(self.SHORT, np.float32) * np.float32(size)
        return (normal.view(np.uint32) >> 16).astype(np.uint16)  # bf16

    def write(self, tensor, file):
        if tensor.kind == "shape":
            return file.write(np.array(tensor.size, np.int64).tobytes())
        if tensor.kind == "zero":
            return file.write(bytes(tensor.bytes))
        if tensor.kind == "one":
            return file.write(np.full(tensor.shape, 0x3F80, np.uint16).tobytes())
        key = (tensor.kind, tensor.size)
        if key not in self.made:
            self.made[key] = self.draw(*key)
        block = self.made[key]
        at, left = int(self.random.integers(block.size)), tensor.bytes // block.itemsize
        while left > 0:
            piece = block[at:at + left]
            file.write(piece.data)
            at, left = 0, left - piece.size


def write_shard(path, tensors, blocks):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, offset + tensor.bytes]}
        offset += tensor.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            blocks.write(tensor, file)


def read_config(path):
    try:
        with open(path) as file:
            config = {key: value for key, value in json.load(file).items() if key != "quantization_config"}
        kind = config.get("model_type")
        shape = SLICE if kind == "glm_moe_dsa" else FLASH
        missing = sorted(set(shape) - OPTIONAL - set(config))
    except (OSError, ValueError, AttributeError) as error:
        fail(f"{path} is no config.json: {error}")
    if kind not in ("glm4_moe_lite", "glm_moe_dsa") or config.get("q_lora_rank") is None:
        fail(f"{path} is of {kind}; shapes of glm4_moe_lite and glm_moe_dsa with q_lora_rank are made here")
    if missing:
        fail(f"{path} has no {', '.join(missing)}; take a complete config.json")
    return config | {"dtype": "bfloat16"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True, help="folder to write, new")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="glm-4.7-flash")
    parser.add_argument("--config", help="config.json of another shape of glm4_moe_lite or glm_moe_dsa")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    config = read_config(options.config) if options.config else dict(SHAPES[options.shape])
    layout = Layout(config)
    if os.path.exists(options.out):
        fail(f"{options.out} exists; give a new folder")
    parent = os.path.dirname(os.path.abspath(options.out))
    if not os.path.isdir(parent):
        fail(f"there is no folder {parent}; make it first")
    need, free = sum(t.bytes for t in layout.tensors), shutil.disk_usage(parent).free
    if need + SPARE_BYTES > free:
        fail(f"{options.out} would take {need / 1e9:.1f} GB, with 1 GB to spare, and {free / 1e9:.1f} GB are free on "
             "its disk; free some, or write elsewhere")

    os.mkdir(options.out)
    blocks, places = Blocks(options.seed), {}
    shards = layout.shards()
    for i, shard in enumerate(shards):
        name = "model.safetensors" if len(shards) == 1 else f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        write_shard(os.path.join(options.out, name), shard, blocks)
        places |= {tensor.name: name for tensor in shard}
        print(f"{i + 1} of {len(shards)} files written", file=sys.stderr)
    if len(shards) > 1:
        with open(os.path.join(options.out, "model.safetensors.index.json"), "w") as file:
            json.dump({"metadata": {"total_size": need}, "weight_map": places}, file, indent=0)
    # Last: with it the folder is a model.
    with open(os.path.join(options.out, "config.json"), "w") as file:
        json.dump(config | {"quantization_config": layout.quantization()}, file, indent=2, sort_keys=True)
    print(f"{options.out}: {need} bytes in {len(layout.tensors)} tensors")


if __name__ == "__main__":
    main()
