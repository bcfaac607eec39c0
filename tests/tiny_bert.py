"""A two-layer BERT with random weights, small enough for every test: offline, 70 kB, fast to load.

The folder has the Hugging Face format, so ``encoder=str(folder)`` takes the same path as a real
checkpoint. Only NumPy and safetensors are needed: a test that only needs the folder does not
import TensorFlow.
"""

import json
import os
import string

import numpy as np
from safetensors.numpy import save_file

HIDDEN = 16
LAYERS = 2
HEADS = 2
INTERMEDIATE = 32
MAX_POSITIONS = 512

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
#: Whole words; any other ASCII word is split into its letters.
_WORDS = """
    a an the this that it i we you they he she is was were be are am not no never nothing and or
    but so very too of to in on at for with from as by my our your its had has have do did would
    film movie book food hotel room product story plot acting service staff phone battery price
    good great excellent wonderful amazing love loved best nice happy perfect recommend
    bad terrible awful boring hate hated worst poor sad broken waste disappointing
    one two day time again more much really just all what when how ##ing ##ed ##ly ##er ##est
"""
VOCABULARY = (
    *SPECIAL_TOKENS,
    *string.punctuation,
    *string.digits,
    *string.ascii_lowercase,
    *(f"##{character}" for character in string.digits + string.ascii_lowercase),
    *(word for word in _WORDS.split() if len(word) > 1),
)


def write_tiny_bert(folder: str | os.PathLike[str], *, seed: int = 0, layers: int = LAYERS) -> None:
    """Write the checkpoint: config, tokenizer config, vocabulary and weights.

    The same ``seed`` gives the same bytes and so the same encoder fingerprint.

    Args:
        folder: folder to write to; created if it does not exist.
        seed: seed of the weights.
        layers: number of transformer layers.
    """
    folder = os.fspath(folder)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
        file.writelines(f"{token}\n" for token in VOCABULARY)
    _write_json(folder, "config.json", _config(layers))
    _write_json(folder, "tokenizer_config.json", _tokenizer_config())
    save_file(make_weights(seed=seed, layers=layers), os.path.join(folder, "model.safetensors"))


def _write_json(folder: str, name: str, value: dict[str, object]) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)


def _config(layers: int) -> dict[str, object]:
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "hidden_size": HIDDEN,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "intermediate_size": INTERMEDIATE,
        "hidden_act": "gelu",
        "max_position_embeddings": MAX_POSITIONS,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }


def _tokenizer_config() -> dict[str, object]:
    return {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": None}


def make_weights(*, seed: int = 0, layers: int = LAYERS) -> dict[str, np.ndarray]:
    """Return random float32 weights, named as in Hugging Face's BertModel."""
    generator = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}

    def normal(name: str, *shape: int, scale: float) -> None:
        weights[name] = generator.normal(0.0, scale, shape).astype(np.float32)

    def dense(name: str, outputs: int, inputs: int) -> None:
        normal(f"{name}.weight", outputs, inputs, scale=inputs**-0.5)
        normal(f"{name}.bias", outputs, scale=0.02)

    def layer_norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(HIDDEN, np.float32)
        weights[f"{name}.bias"] = np.zeros(HIDDEN, np.float32)

    # Words have larger weights than positions, so that few training steps separate texts.
    normal("embeddings.word_embeddings.weight", len(VOCABULARY), HIDDEN, scale=1.0)
    normal("embeddings.position_embeddings.weight", MAX_POSITIONS, HIDDEN, scale=0.1)
    normal("embeddings.token_type_embeddings.weight", 2, HIDDEN, scale=0.1)
    layer_norm("embeddings.LayerNorm")
    for index in range(layers):
        prefix = f"encoder.layer.{index}"
        for name in ("query", "key", "value"):
            dense(f"{prefix}.attention.self.{name}", HIDDEN, HIDDEN)
        dense(f"{prefix}.attention.output.dense", HIDDEN, HIDDEN)
        layer_norm(f"{prefix}.attention.output.LayerNorm")
        dense(f"{prefix}.intermediate.dense", INTERMEDIATE, HIDDEN)
        dense(f"{prefix}.output.dense", HIDDEN, INTERMEDIATE)
        layer_norm(f"{prefix}.output.LayerNorm")
    dense("pooler.dense", HIDDEN, HIDDEN)
    return weights
