"""Encoders from keras-hub: a preset by name, or a folder written by ``save_to_preset``."""

import difflib
import hashlib
import os
from typing import TYPE_CHECKING, Any, Final

from modules.contract.errors import EncoderError
from modules.encoders.encoder import (
    Encoder,
    backbone_arguments,
    byte_pair_encoder,
    wordpiece_encoder,
)

if TYPE_CHECKING:
    import keras

_FAMILIES: Final = ("Bert", "DistilBert", "Roberta")


def load(name: str, preset: str) -> Encoder:
    """Describe a keras-hub preset.

    Args:
        name: its name in the config.
        preset: name of a preset, a local folder, or a handle that keras-hub resolves
            ("kaggle://...").

    Raises:
        EncoderError: the preset does not exist, cannot be loaded or is not of the BERT family.
    """
    import keras_hub

    presets = _preset_names(keras_hub)
    if "/" not in preset and preset not in presets and not os.path.isdir(preset):
        nearest = difflib.get_close_matches(preset, presets, n=1)
        hint = f'; did you mean "keras://{nearest[0]}"?' if nearest else ""
        raise EncoderError(
            f"encoder {name}: {preset!r} is neither a BERT, DistilBERT or RoBERTa preset of "
            f"keras-hub nor a folder{hint}"
        )
    try:
        tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(preset)
        sketch = keras_hub.models.Backbone.from_preset(preset, load_weights=False)
    except Exception as error:
        raise _unreadable(name, error) from error

    def make_backbone(dropout: float | None) -> "keras.Model":
        try:
            return keras_hub.models.Backbone.from_preset(preset, **backbone_arguments(dropout))
        except Exception as error:
            raise _unreadable(name, error) from error

    def make_fingerprint() -> str:
        return _fingerprint(make_backbone(None), tokenizer)

    if isinstance(tokenizer, keras_hub.models.RobertaTokenizer):
        return byte_pair_encoder(
            name,
            tokenizer.vocabulary,
            list(tokenizer.merges),
            add_prefix_space=tokenizer.add_prefix_space,
            max_positions=sketch.max_sequence_length,
            make_backbone=make_backbone,
            make_fingerprint=make_fingerprint,
        )
    if isinstance(tokenizer, keras_hub.models.BertTokenizer | keras_hub.models.DistilBertTokenizer):
        return wordpiece_encoder(
            name,
            tokenizer.vocabulary,
            lowercase=tokenizer.lowercase,
            # Off by default in keras-hub, although uncased BERTs were trained without accents.
            strip_accents=tokenizer.lowercase or tokenizer.strip_accents,
            max_positions=sketch.max_sequence_length,
            make_backbone=make_backbone,
            make_fingerprint=make_fingerprint,
        )
    raise EncoderError(
        f"encoder {name}: {type(tokenizer).__name__} is not supported; "
        "use a BERT, DistilBERT or RoBERTa preset"
    )


def _preset_names(keras_hub: Any) -> list[str]:
    return [
        preset
        for family in _FAMILIES
        for preset in getattr(keras_hub.models, f"{family}Backbone").presets
    ]


def _fingerprint(backbone: "keras.Model", tokenizer: Any) -> str:
    """Return a digest of the loaded weights, because a named preset has no folder to digest."""
    import numpy as np

    total = hashlib.sha256()
    for weight in backbone.weights:
        total.update(f"{weight.path} {weight.shape}\n".encode())
        total.update(np.ascontiguousarray(weight.numpy()).tobytes())
    total.update("\n".join(tokenizer.get_vocabulary()).encode())
    return total.hexdigest()


def _unreadable(name: str, error: Exception) -> EncoderError:
    reason = " ".join(str(error).split())[:200]
    return EncoderError(
        f"encoder {name}: keras-hub cannot load it ({type(error).__name__}: {reason}); give a "
        "preset's name with network access for the first download, or a folder written by "
        "backbone.save_to_preset and tokenizer.save_to_preset"
    )
