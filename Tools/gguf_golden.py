#!/usr/bin/env python3
"""Writes Tests/Golden/gguf: small models as GGUF files by the gguf package, and what llama.cpp computes with them.

    python Tools/gguf_golden.py

sparse/     config.json and model.safetensors: random, F32; the same as NAME.gguf (glm-dsa) in each number format by the
            gguf package's own code; NAME.logits.safetensors with input_ids and logits [T, vocabulary] by llama.cpp, in
            F32, of the numbers that the file holds: llama.cpp rounds what it multiplies with F16, BF16 and integers, so
            it is given those numbers as an F32 file
dense/      the same of a model without an indexer (deepseek2), F32 only; its kv_b_proj also whole, as older files have
            it (whole.gguf)
tokens/     the tokenizer Tests/Golden/tokenizers/glm.json as metadata alone, and glm.ids.json: the ids that llama.cpp
            gives to Tests/Golden/tokenizers/samples.json

Needs gguf, llama-cpp-python, numpy and safetensors.
"""
import ctypes
import json
import os
import shutil
import tempfile

import gguf
import llama_cpp as lc
import numpy as np
from gguf import GGMLQuantizationType as Q

import tiny_models as tiny

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Tests", "Golden")
FOLDER = os.path.join(GOLDEN, "gguf")
TYPES = {"f32": Q.F32, "f16": Q.F16, "bf16": Q.BF16, "q8_0": Q.Q8_0, "q4_0": Q.Q4_0}
FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7, "q4_0": 2}
TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
       "lm_head.weight": "output.weight"}
PARTS = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.o_proj": "attn_output", "self_attn.indexer.wq_b": "indexer.attn_q_b",
    "self_attn.indexer.wk": "indexer.attn_k", "self_attn.indexer.k_norm": "indexer.k_norm",
    "self_attn.indexer.weights_proj": "indexer.proj", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp", "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp", "mlp.shared_experts.down_proj": "ffn_down_shexp",
}


def tensors(config, weights, whole=False):
    """GGUF name -> array, as llama.cpp's own converter arranges them."""
    heads, nope, value = config["num_attention_heads"], config["qk_nope_head_dim"], config["v_head_dim"]
    out = {TOP[name]: array for name, array in weights.items() if name in TOP}
    for i in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{i}."
        for name, array in weights.items():
            if not name.startswith(prefix):
                continue
            part, _, end = name[len(prefix):].rpartition(".")
            if end == "e_score_correction_bias":
                out[f"blk.{i}.exp_probs_b.bias"] = array
            elif part in PARTS:
                out[f"blk.{i}.{PARTS[part]}.{end}"] = array
        both = weights[prefix + "self_attn.kv_b_proj.weight"]
        if whole:
            out[f"blk.{i}.attn_kv_b.weight"] = both
        else:
            both = both.reshape(heads, nope + value, -1)
            out[f"blk.{i}.attn_k_b.weight"] = both[:, :nope].transpose(0, 2, 1)
            out[f"blk.{i}.attn_v_b.weight"] = both[:, nope:]
        if tiny.is_sparse_mlp(config, i):
            for part in ("gate", "up", "down"):
                names = [f"{prefix}mlp.experts.{e}.{part}_proj.weight" for e in range(config["n_routed_experts"])]
                out[f"blk.{i}.ffn_{part}_exps.weight"] = np.stack([weights[n] for n in names])
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in out.items()}


def write(path, config, arrays, kind, whole=False):
    sparse = config["model_type"] == tiny.DSA
    w = gguf.GGUFWriter(path, "glm-dsa" if sparse else "deepseek2")
    w.add_name("golden")
    w.add_block_count(config["num_hidden_layers"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(config["num_attention_heads"])
    w.add_head_count_kv(config["num_attention_heads"] if whole else 1)
    w.add_rope_freq_base(tiny.rope_theta(config))
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_vocab_size(config["vocab_size"])
    w.add_q_lora_rank(config["q_lora_rank"])
    w.add_kv_lora_rank(config["kv_lora_rank"])
    key, value = config["qk_head_dim"], config["v_head_dim"]
    if whole:
        w.add_key_length(key)
        w.add_value_length(value)
    else:
        w.add_key_length(config["kv_lora_rank"] + config["qk_rope_head_dim"])
        w.add_value_length(config["kv_lora_rank"])
        w.add_key_length_mla(key)
        w.add_value_length_mla(value)
    w.add_rope_dimension_count(config["qk_rope_head_dim"])
    w.add_leading_dense_block_count(config["first_k_dense_replace"])
    w.add_expert_count(config["n_routed_experts"])
    w.add_expert_used_count(config["num_experts_per_tok"])
    w.add_expert_feed_forward_length(config["moe_intermediate_size"])
    w.add_expert_shared_count(config["n_shared_experts"])
    w.add_expert_weights_scale(config["routed_scaling_factor"])
    w.add_expert_weights_norm(config["norm_topk_prob"])
    w.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    if sparse:
        w.add_indexer_head_count(config["index_n_heads"])
        w.add_indexer_key_length(config["index_head_dim"])
        w.add_indexer_top_k(config["index_topk"])
        kinds = [tiny.has_indexer(config, i) for i in range(config["num_hidden_layers"])]
        w.add_array("glm-dsa.attention.indexer.types", kinds)
    w.add_eos_token_id(config["eos_token_id"][0])
    w.add_tokenizer_model("none")
    w.add_file_type(FILE_TYPES[kind])
    for name, array in arrays.items():
        narrow = array.ndim > 1 and not name.endswith("ffn_gate_inp.weight")
        type = TYPES[kind] if narrow else Q.F32
        w.add_tensor(name, array if type == Q.F32 else gguf.quants.quantize(array, type), raw_dtype=type)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def held(path):
    """The numbers that a file holds, in F32."""
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape(t.shape[::-1])
            for t in gguf.GGUFReader(path).tensors}


quiet = lc.llama_log_callback(lambda level, text, data: None)


def load(path, **values):
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    lc.llama_backend_init()
    params = lc.llama_model_default_params()
    for name, value in values.items():
        setattr(params, name, value)
    model = lc.llama_model_load_from_file(path.encode(), params)
    if not model:
        raise SystemExit(f"llama.cpp does not load {path}")
    return model


def logits(path, tokens):
    """By llama.cpp, one batch, an F32 cache, without the fused attention that rounds."""
    model = load(path)
    params = lc.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 256, 256, 256, 1
    params.n_threads = params.n_threads_batch = 1
    params.flash_attn_type = lc.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.type_k = params.type_v = 0
    context = lc.llama_init_from_model(model, params)
    if not context:
        raise SystemExit(f"llama.cpp makes no context of {path}")
    batch = lc.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = int(token), i, 1, 1
        batch.seq_id[i][0] = 0
    if lc.llama_decode(context, batch) != 0:
        raise SystemExit(f"llama.cpp cannot compute with {path}")
    width = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    rows = [np.ctypeslib.as_array(lc.llama_get_logits_ith(context, i), (width,)).copy() for i in range(len(tokens))]
    lc.llama_batch_free(batch)
    lc.llama_free(context)
    lc.llama_model_free(model)
    return np.stack(rows)


def models(folder, config, kinds):
    folder = os.path.join(FOLDER, folder)
    os.makedirs(folder)
    weights = tiny.make_weights(config, 7)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)
        f.write("\n")
    tiny.save_tensors(os.path.join(folder, "model.safetensors"), weights)
    random = np.random.Generator(np.random.PCG64(11))
    tokens = random.integers(2, config["vocab_size"], 48).astype(np.int32)
    for kind in kinds:
        path = os.path.join(folder, f"{kind}.gguf")
        write(path, config, tensors(config, weights), kind)
        with tempfile.TemporaryDirectory() as place:
            wide = os.path.join(place, "wide.gguf")
            write(wide, config, held(path), "f32")
            result = logits(wide, tokens)
        tiny.save_tensors(os.path.join(folder, f"{kind}.logits.safetensors"), {"input_ids": tokens, "logits": result})
    return config, weights


def tokens():
    folder = os.path.join(FOLDER, "tokens")
    os.makedirs(folder)
    with open(os.path.join(GOLDEN, "tokenizers", "glm.json")) as f:
        tokenizer = json.load(f)
    with open(os.path.join(GOLDEN, "tokenizers", "samples.json")) as f:
        samples = json.load(f)
    names = {i: (text, gguf.TokenType.NORMAL) for text, i in tokenizer["model"]["vocab"].items()}
    for token in tokenizer["added_tokens"]:
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        names[token["id"]] = (token["content"], kind)
    count = len(names)
    for i in range(count, count + 5):
        names[i] = (f"[PAD{i}]", gguf.TokenType.UNUSED)
    path = os.path.join(folder, "glm.gguf")
    w = gguf.GGUFWriter(path, "glm-dsa")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("glm4")
    w.add_token_list([names[i][0] for i in range(len(names))])
    w.add_token_types([names[i][1] for i in range(len(names))])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
    model = load(path, vocab_only=True)
    vocab = lc.llama_model_get_vocab(model)
    ids = []
    for text in samples:
        data = text.encode()
        buffer = (lc.llama_token * (len(data) + 8))()
        n = lc.llama_tokenize(vocab, data, len(data), buffer, len(buffer), False, True)
        ids.append(list(buffer[:n]))
    with open(os.path.join(folder, "glm.ids.json"), "w") as f:
        json.dump(ids, f, separators=(",", ":"))
        f.write("\n")
    with open(os.path.join(GOLDEN, "tokenizers", "glm.ids.json")) as f:
        same = [a == b for a, b in zip(ids, json.load(f))]
    print(f"tokens: {sum(same)} of {len(same)} samples get the ids that Hugging Face's library gives")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    common = dict(hidden_size=32, intermediate_size=64, moe_intermediate_size=32, n_routed_experts=4, q_lora_rank=32,
                  kv_lora_rank=32, qk_nope_head_dim=32, v_head_dim=32, latent_norm_eps=1e-5)
    models("sparse", tiny.make_config(index_head_dim=64, indexer_types=["full", "shared"], **common), TYPES)
    config, weights = models("dense", tiny.make_config(tiny.LITE, **common), ["f32"])
    write(os.path.join(FOLDER, "dense", "whole.gguf"), config, tensors(config, weights, whole=True), "f32", whole=True)
    tokens()


if __name__ == "__main__":
    main()
