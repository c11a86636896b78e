/// The names of tensors in llama.cpp's files, and those that the same tensors have in Hugging Face's layout.
///
/// Three kinds of tensors differ in more than their name: a layer's experts lie in stacks; `kv_b_proj` is two stacks of
/// heads, of which the keys' lies transposed; and older files have it whole.
enum GGUFNames {
    static let top = [
        ("token_embd.weight", "model.embed_tokens.weight"), ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
    ]

    /// After `blk.N.` and `model.layers.N.`.
    static let layer = [
        ("attn_norm.weight", "input_layernorm.weight"), ("ffn_norm.weight", "post_attention_layernorm.weight"),
        ("attn_q.weight", "self_attn.q_proj.weight"), ("attn_q_a.weight", "self_attn.q_a_proj.weight"),
        ("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"), ("attn_q_b.weight", "self_attn.q_b_proj.weight"),
        ("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"),
        ("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"), (wholeKeyValue, keyValue),
        ("attn_output.weight", "self_attn.o_proj.weight"), ("indexer.attn_q_b.weight", "self_attn.indexer.wq_b.weight"),
        ("indexer.attn_k.weight", "self_attn.indexer.wk.weight"),
        ("indexer.k_norm.weight", "self_attn.indexer.k_norm.weight"),
        ("indexer.k_norm.bias", "self_attn.indexer.k_norm.bias"),
        ("indexer.proj.weight", "self_attn.indexer.weights_proj.weight"), ("ffn_gate.weight", "mlp.gate_proj.weight"),
        ("ffn_up.weight", "mlp.up_proj.weight"), ("ffn_down.weight", "mlp.down_proj.weight"),
        (router, "mlp.gate.weight"), (routerBias, "mlp.gate.e_score_correction_bias"),
        ("ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"),
        ("ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"),
        ("ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"), ("nextn.enorm.weight", "enorm.weight"),
        ("nextn.hnorm.weight", "hnorm.weight"), ("nextn.eh_proj.weight", "eh_proj.weight"),
        ("nextn.shared_head_norm.weight", "shared_head.norm.weight"),
        ("nextn.embed_tokens.weight", "embed_tokens.weight"),
        ("nextn.shared_head_head.weight", "shared_head.head.weight"),
    ]

    /// Stacks `[experts, rows, columns]` of `mlp.experts.E.X.weight`.
    static let experts = [
        ("ffn_gate_exps.weight", "gate_proj"), ("ffn_up_exps.weight", "up_proj"), ("ffn_down_exps.weight", "down_proj"),
    ]

    /// One stack of both, the rows of the gate first.
    static let gateUpExperts = "ffn_gate_up_exps.weight"

    static let keyValue = "self_attn.kv_b_proj.weight"
    static let wholeKeyValue = "attn_kv_b.weight"
    /// `[heads, latent, key without rotation]`
    static let keyUp = "attn_k_b.weight"
    /// `[heads, value, latent]`
    static let valueUp = "attn_v_b.weight"
    static let router = "ffn_gate_inp.weight"
    static let routerBias = "exp_probs_b.bias"
}
