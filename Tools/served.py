"""Shared: `glim serve` on a free port, with a key, and a model of one training step for it to serve."""
import contextlib
import json
import pathlib
import subprocess
import tempfile

KEY = "a-key-of-the-tour"
CONFIG = {
    "model_type": "glm4_moe_lite", "vocab_size": 400, "hidden_size": 48, "intermediate_size": 64,
    "moe_intermediate_size": 24, "num_hidden_layers": 2, "first_k_dense_replace": 1, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "norm_topk_prob": True,
    "routed_scaling_factor": 1.8, "scoring_func": "sigmoid", "num_attention_heads": 4, "num_key_value_heads": 4,
    "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 12,
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "max_position_embeddings": 4096, "tie_word_embeddings": False, "initializer_range": 0.02,
}


def made_model(glim, folder):
    (folder / "config.json").write_text(json.dumps(CONFIG))
    text = "".join(f"def f{i}(x):\n    return x + {i * 7 % 31}\n\n" for i in range(3000))
    (folder / "text.py").write_text(text)
    subprocess.run(
        [glim, "train", "pretrain", "--config", folder / "config.json", "--data", folder / "text.py", "--out",
         folder / "run", "--steps", "1", "--sequence-length", "64", "--batch-tokens", "1024"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "run"


class Served:
    """A server that runs: its address, its model's folder, and once it has ended its exit status."""

    def __init__(self, address, model):
        self.address, self.model, self.status = address, model, None


@contextlib.contextmanager
def serving(glim, model=None, name="tour"):
    """Yields a `Served`; without a model one is made, and what it says is noise."""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        model = model or made_model(glim, folder)
        keys = folder / "keys"
        keys.write_text(KEY + "\n")
        process = subprocess.Popen(
            [glim, "serve", "--model", model, "--port", "0", "--name", name, "--api-key-file", keys],
            stdout=subprocess.PIPE, text=True)
        try:
            served = Served(process.stdout.readline().split()[-1], model)
            yield served
        finally:
            process.terminate()
            status = process.wait(timeout=60)
        served.status = status
