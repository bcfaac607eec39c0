"""Tiny checkpoints of the other families, and a NumPy reference of what they compute."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tests import tiny_bert

Weights = dict[str, np.ndarray]
_ROBERTA_MERGES = ["g o", "o d", "go od", "Ġ good"]
ROBERTA_VOCABULARY = [
    *["<s>", "<pad>", "</s>", "<unk>", "Ġ"],
    *"abcdefghijklmnopqrstuvwxyz.!",
    *(merge.replace(" ", "") for merge in _ROBERTA_MERGES),
]


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def gelu_by_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def encode(
    weights: Weights,
    token_ids: np.ndarray,
    mask: np.ndarray,
    *,
    first_position: int = 0,
    epsilon: float = 1e-12,
    activation: Callable[[np.ndarray], np.ndarray] = gelu_by_tanh,
) -> np.ndarray:
    """Return BERT's sequence output float[batch, length, hidden] with Hugging Face's weights.

    Method: Devlin et al. 2019, with segment id 0 for all tokens.
    """

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def heads(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:2], tiny_bert.HEADS, -1).transpose(0, 2, 1, 3)

    batch, length = token_ids.shape
    positions = np.arange(first_position, first_position + length)
    x = weights["embeddings.word_embeddings.weight"][token_ids]
    x = x + weights["embeddings.position_embeddings.weight"][positions]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(sum(name.endswith("attention.self.query.weight") for name in weights)):
        prefix = f"encoder.layer.{layer}"
        query, key, value = (
            heads(dense(x, f"{prefix}.attention.self.{name}")) for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[-1])
        scores = np.where(mask[:, None, None, :].astype(bool), scores, -1e9)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        context = (shares @ value).transpose(0, 2, 1, 3).reshape(batch, length, -1)
        attended = dense(context, f"{prefix}.attention.output.dense")
        x = norm(x + attended, f"{prefix}.attention.output.LayerNorm")
        inner = activation(dense(x, f"{prefix}.intermediate.dense"))
        x = norm(x + dense(inner, f"{prefix}.output.dense"), f"{prefix}.output.LayerNorm")
    return x


def pool(weights: Weights, sequence_output: np.ndarray) -> np.ndarray:
    first = sequence_output[:, 0]
    return np.tanh(first @ weights["pooler.dense.weight"].T + weights["pooler.dense.bias"])


def write_distilbert(folder: Path) -> Weights:
    """Write a tiny DistilBERT and return its weights under BERT's names, with zero segments."""
    weights = tiny_bert.make_weights(seed=1)
    weights["embeddings.token_type_embeddings.weight"] *= 0
    names = {
        "encoder.layer": "transformer.layer",
        "attention.self.query": "attention.q_lin",
        "attention.self.key": "attention.k_lin",
        "attention.self.value": "attention.v_lin",
        "attention.output.dense": "attention.out_lin",
        "attention.output.LayerNorm": "sa_layer_norm",
        "intermediate.dense": "ffn.lin1",
        "output.dense": "ffn.lin2",
        "output.LayerNorm": "output_layer_norm",
    }
    stored = {}
    for name, value in weights.items():
        if "token_type" in name or "pooler" in name:
            continue
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        stored[f"distilbert.{name}"] = value
    tiny_bert.write_tiny_bert(folder)
    save_file(stored, folder / "model.safetensors")
    config = {
        "model_type": "distilbert",
        "vocab_size": len(tiny_bert.VOCABULARY),
        "dim": tiny_bert.HIDDEN,
        "n_layers": tiny_bert.LAYERS,
        "n_heads": tiny_bert.HEADS,
        "hidden_dim": tiny_bert.INTERMEDIATE,
        "dropout": 0.1,
        "max_position_embeddings": tiny_bert.MAX_POSITIONS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return weights


def write_roberta(folder: Path) -> Weights:
    """Write a tiny RoBERTa and return its weights."""
    os.makedirs(folder, exist_ok=True)
    weights = tiny_bert.make_weights(seed=2)
    weights["embeddings.word_embeddings.weight"] = weights["embeddings.word_embeddings.weight"][
        : len(ROBERTA_VOCABULARY)
    ].copy()
    segment = weights["embeddings.token_type_embeddings.weight"]
    weights["embeddings.token_type_embeddings.weight"] = segment[:1].copy()
    save_file(
        {f"roberta.{name}": value for name, value in weights.items()}, folder / "model.safetensors"
    )
    config = {
        "model_type": "roberta",
        "vocab_size": len(ROBERTA_VOCABULARY),
        "hidden_size": tiny_bert.HIDDEN,
        "num_hidden_layers": tiny_bert.LAYERS,
        "num_attention_heads": tiny_bert.HEADS,
        "intermediate_size": tiny_bert.INTERMEDIATE,
        "max_position_embeddings": tiny_bert.MAX_POSITIONS,
        "type_vocab_size": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    vocabulary = {token: index for index, token in enumerate(ROBERTA_VOCABULARY)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(_ROBERTA_MERGES) + "\n")
    return weights
