"""Encoders from a Hugging Face folder: config.json, safetensors weights and tokenizer files."""

import functools
import glob
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modules.contract.errors import EncoderError
from modules.encoders.encoder import (
    Encoder,
    backbone_arguments,
    byte_pair_encoder,
    digest_files,
    wordpiece_encoder,
)

if TYPE_CHECKING:
    import keras

#: Tokenizers, also as Fast variants, whose output WordPieceTokenizer reproduces.
_WORDPIECE: Final = ("BertTokenizer", "DistilBertTokenizer")
#: RoBERTa numbers positions from its padding id + 1, so the first two rows are unused.
_ROBERTA_UNUSED_POSITIONS: Final = 2


def load(name: str, folder: str) -> Encoder:
    """Describe the checkpoint in a folder.

    Args:
        name: its name in the config.
        folder: a folder with config.json, *.safetensors and vocab.txt (BERT, DistilBERT) or
            vocab.json and merges.txt (RoBERTa).

    Raises:
        EncoderError: a file is missing or unreadable, or the model type is not supported.
    """
    config = _read_json(name, folder, "config.json")
    loaders: dict[str, Callable[[str, str, dict[str, Any]], Encoder]] = {
        "bert": _load_wordpiece,
        "distilbert": _load_wordpiece,
        "roberta": _load_roberta,
    }
    if "registered_name" in config:
        raise EncoderError(
            f"encoder {name}: this is a keras-hub folder; write keras://{folder} instead"
        )
    model_type = config.get("model_type")
    if model_type not in loaders:
        raise EncoderError(
            f"encoder {name}: model_type {model_type!r} in config.json is not supported; "
            f"use one of {', '.join(loaders)}"
        )
    if not _weight_files(folder):
        raise EncoderError(
            f"encoder {name}: no *.safetensors in {folder}; save the checkpoint with "
            "safe_serialization=True"
        )
    return loaders[model_type](name, folder, config)


def _load_wordpiece(name: str, folder: str, config: dict[str, Any]) -> Encoder:
    tokenizer = _read_json(name, folder, "tokenizer_config.json")
    vocabulary = _read_text(name, folder, "vocab.txt").split("\n")
    while vocabulary and not vocabulary[-1]:
        vocabulary.pop()
    _check_rows(name, len(vocabulary), config)
    kind = str(tokenizer.get("tokenizer_class") or "BertTokenizer")
    if kind.removesuffix("Fast") not in _WORDPIECE or not tokenizer.get(
        "tokenize_chinese_chars", True
    ):
        raise EncoderError(
            f"encoder {name}: its tokenizer ({kind}) is not supported; use a checkpoint with "
            f"{' or '.join(_WORDPIECE)} and tokenize_chinese_chars"
        )
    lowercase = bool(tokenizer.get("do_lower_case", True))
    strip_accents = tokenizer.get("strip_accents")
    return wordpiece_encoder(
        name,
        vocabulary,
        lowercase=lowercase,
        # null means as in the original BERT: uncased models strip accents, cased ones keep them.
        strip_accents=lowercase if strip_accents is None else bool(strip_accents),
        special_tokens=_special_tokens(tokenizer),
        max_positions=int(config["max_position_embeddings"]),
        make_backbone=functools.partial(_bert_backbone, name, folder, config),
        make_fingerprint=lambda: digest_files(
            [*_weight_files(folder), os.path.join(folder, "vocab.txt")]
        ),
    )


def _check_rows(name: str, tokens: int, config: dict[str, Any]) -> None:
    """Reject a tokenizer with more tokens than the embeddings have rows."""
    if tokens > int(config["vocab_size"]):
        raise EncoderError(
            f"encoder {name}: its tokenizer has {tokens} tokens, but vocab_size in config.json is "
            f"{config['vocab_size']}; the files are of different checkpoints, download it again"
        )


def _special_tokens(tokenizer: dict[str, Any]) -> dict[str, str]:
    """Return special tokens by role. Each is a string or a record with the key "content"."""
    tokens = {role: tokenizer.get(f"{role}_token") for role in ("cls", "sep", "pad", "unk")}
    return {
        role: token["content"] if isinstance(token, dict) else str(token)
        for role, token in tokens.items()
        if token
    }


def _load_roberta(name: str, folder: str, config: dict[str, Any]) -> Encoder:
    vocabulary = _read_json(name, folder, "vocab.json")
    _check_rows(name, len(vocabulary), config)
    merges = _read_text(name, folder, "merges.txt").split("\n")
    tokenizer = (
        _read_json(name, folder, "tokenizer_config.json")
        if os.path.isfile(os.path.join(folder, "tokenizer_config.json"))
        else {}
    )
    return byte_pair_encoder(
        name,
        vocabulary,
        [merge for merge in merges if merge and not merge.startswith("#version")],
        add_prefix_space=bool(tokenizer.get("add_prefix_space", False)),
        max_positions=int(config["max_position_embeddings"]) - _ROBERTA_UNUSED_POSITIONS,
        make_backbone=functools.partial(_roberta_backbone, name, folder, config),
        make_fingerprint=lambda: digest_files(
            [*_weight_files(folder)]
            + [os.path.join(folder, file) for file in ("vocab.json", "merges.txt")]
        ),
    )


def _bert_backbone(
    name: str, folder: str, config: dict[str, Any], dropout: float | None
) -> "keras.Model":
    import keras_hub  # takes seconds to import, and Transform does not need it

    arguments = backbone_arguments(dropout)
    if config["model_type"] == "bert":
        # keras-hub ignores the config's value and assumes two segments.
        arguments["num_segments"] = int(config.get("type_vocab_size", 2))
    try:
        return keras_hub.models.Backbone.from_preset(folder, **arguments)
    except Exception as error:
        raise _broken(name, error) from error


def _roberta_backbone(
    name: str, folder: str, config: dict[str, Any], dropout: float | None
) -> "keras.Model":
    """Create RoBERTa's backbone; keras-hub cannot read Hugging Face RoBERTa checkpoints."""
    import keras_hub

    backbone = keras_hub.models.RobertaBackbone(
        vocabulary_size=config["vocab_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        hidden_dim=config["hidden_size"],
        intermediate_dim=config["intermediate_size"],
        max_sequence_length=config["max_position_embeddings"] - _ROBERTA_UNUSED_POSITIONS,
        **{"dropout": config.get("hidden_dropout_prob", 0.1), **backbone_arguments(dropout)},
    )
    try:
        _assign_roberta(backbone, _read_weights(folder))
    except Exception as error:
        raise _broken(name, error) from error
    return backbone


def _assign_roberta(backbone: "keras.Model", weights: dict[str, np.ndarray]) -> None:
    """Copy the weights. PyTorch stores dense kernels as [outputs, inputs]."""
    # In checkpoints with a task head, the names start with "roberta.".
    weights = {name.removeprefix("roberta."): value for name, value in weights.items()}

    def dense(layer: Any, name: str) -> None:
        layer.kernel.assign(weights[f"{name}.weight"].T.reshape(layer.kernel.shape))
        layer.bias.assign(weights[f"{name}.bias"].reshape(layer.bias.shape))

    def layer_norm(layer: Any, name: str) -> None:
        layer.gamma.assign(weights[f"{name}.weight"])
        layer.beta.assign(weights[f"{name}.bias"])

    embeddings = backbone.embeddings
    embeddings.token_embedding.embeddings.assign(weights["embeddings.word_embeddings.weight"])
    embeddings.position_embedding.position_embeddings.assign(
        weights["embeddings.position_embeddings.weight"][_ROBERTA_UNUSED_POSITIONS:]
        # All tokens are in one segment, so its embedding is folded into the positions.
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    layer_norm(backbone.embeddings_layer_norm, "embeddings.LayerNorm")
    for index, layer in enumerate(backbone.transformer_layers):
        prefix = f"encoder.layer.{index}"
        attention = layer._self_attention_layer
        dense(attention.query_dense, f"{prefix}.attention.self.query")
        dense(attention.key_dense, f"{prefix}.attention.self.key")
        dense(attention.value_dense, f"{prefix}.attention.self.value")
        dense(attention.output_dense, f"{prefix}.attention.output.dense")
        layer_norm(layer._self_attention_layer_norm, f"{prefix}.attention.output.LayerNorm")
        dense(layer._feedforward_intermediate_dense, f"{prefix}.intermediate.dense")
        dense(layer._feedforward_output_dense, f"{prefix}.output.dense")
        layer_norm(layer._feedforward_layer_norm, f"{prefix}.output.LayerNorm")


def _weight_files(folder: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(folder), "*.safetensors")))


def _read_weights(folder: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    weights: dict[str, np.ndarray] = {}
    for path in _weight_files(folder):
        weights |= load_file(path)
    return weights


def _broken(name: str, error: Exception) -> EncoderError:
    reason = " ".join(str(error).split()) or "no reason given"
    return EncoderError(
        f"encoder {name}: its weights do not fit its config.json "
        f"({type(error).__name__}: {reason[:200]}); download the checkpoint again"
    )


def _read_text(name: str, folder: str, file_name: str) -> str:
    path = os.path.join(folder, file_name)
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            return file.read().replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EncoderError(
            f"encoder {name}: cannot read {path} ({type(error).__name__}); a Hugging Face folder "
            "holds config.json, model.safetensors and the tokenizer's files"
        ) from error


def _read_json(name: str, folder: str, file_name: str) -> dict[str, Any]:
    text = _read_text(name, folder, file_name)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise EncoderError(
            f"encoder {name}: {os.path.join(folder, file_name)} is not JSON ({error}); "
            "download the checkpoint again"
        ) from error
    if not isinstance(value, dict):
        raise EncoderError(
            f"encoder {name}: {os.path.join(folder, file_name)} must be a JSON object, "
            f"received {type(value).__name__}; download the checkpoint again"
        )
    return value
