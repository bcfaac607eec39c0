"""Encoders from TF Hub: BERT modules in TF2 SavedModel format.

No operation of the module runs: the variables are read from its checkpoint, because loading a
SavedModel runs its initialisers, which can write files. They are mapped to keras-hub's
BertBackbone, so that training, export and serving handle a single kind of model.

Source of names and shapes: ``official/nlp/modeling/networks/bert_encoder.py`` and
``official/nlp/tools/export_tfhub_lib.py`` of tensorflow/models, with which the public modules
were exported (``tensorflow/bert_*/2`` and later, ``small_bert``, ``experts/bert``).
"""

import functools
import glob
import os
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modules.contract.errors import EncoderError
from modules.encoders import saved_variables
from modules.encoders.encoder import Encoder, backbone_arguments, digest_files, wordpiece_encoder

if TYPE_CHECKING:
    import keras

_WORD_EMBEDDINGS: Final = "word_embeddings/embeddings"
_POSITION_EMBEDDINGS: Final = "position_embedding/embeddings"
_SEGMENT_EMBEDDINGS: Final = "type_embeddings/embeddings"
_QUERY_KERNEL: Final = "transformer/layer_{}/self_attention/query/kernel"
_INTERMEDIATE_KERNEL: Final = "transformer/layer_{}/intermediate/kernel"

#: Sublayer of a keras-hub TransformerEncoder -> its name in the TF Hub module.
_DENSE: Final = {
    "_self_attention_layer.query_dense": "self_attention/query",
    "_self_attention_layer.key_dense": "self_attention/key",
    "_self_attention_layer.value_dense": "self_attention/value",
    "_self_attention_layer.output_dense": "self_attention/attention_output",
    "_feedforward_intermediate_dense": "intermediate",
    "_feedforward_output_dense": "output",
}
_LAYER_NORM: Final = {
    "_self_attention_layer_norm": "self_attention_layer_norm",
    "_feedforward_layer_norm": "output_layer_norm",
}
#: Matches the module's own part of a variable name, after the scope it was saved under.
_NAME: Final = re.compile(
    r"(?:^|/)((?:word_embeddings|position_embedding|type_embeddings|embeddings/layer_norm"
    r"|transformer/layer_\d+|pooler_transform)/.+?)(?::\d+)?$"
)


def load(name: str, handle: str) -> Encoder:
    """Describe a TF Hub module.

    Args:
        name: its name in the config.
        handle: a URL or a local SavedModel folder; tensorflow-hub resolves and caches it.

    Raises:
        EncoderError: the module cannot be loaded, or is not a BERT encoder.
    """
    module = _read_module(name, handle)
    variables = module.variables
    for needed in (_WORD_EMBEDDINGS, _POSITION_EMBEDDINGS, _QUERY_KERNEL.format(0)):
        if needed not in variables:
            raise EncoderError(
                f"encoder {name}: this module has no variable {needed!r}; use a BERT encoder in "
                "TF2 SavedModel format, e.g. tfhub://https://tfhub.dev/tensorflow/small_bert/"
                "bert_en_uncased_L-2_H-128_A-2/2"
            )
    vocabulary_file = _vocabulary_file(name, module)
    with open(vocabulary_file, encoding="utf-8") as file:
        vocabulary = file.read().rstrip("\n").split("\n")
    # Modules without the flag have "cased" or "uncased" in their name.
    lowercase = "uncased" in handle if module.lowercase is None else module.lowercase
    variable_files = glob.glob(os.path.join(glob.escape(module.folder), "variables", "*"))
    return wordpiece_encoder(
        name,
        vocabulary,
        lowercase=lowercase,
        strip_accents=lowercase,
        max_positions=variables[_POSITION_EMBEDDINGS].shape[0],
        make_backbone=functools.partial(_backbone, name, variables),
        make_fingerprint=lambda: digest_files([*variable_files, vocabulary_file]),
    )


def _read_module(name: str, handle: str) -> saved_variables.SavedVariables:
    import tensorflow_hub

    try:
        return saved_variables.read(tensorflow_hub.resolve(handle), _own_name)
    # Of the network, of the file system, of TensorFlow, or of a damaged protocol buffer.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise EncoderError(
            f"encoder {name}: the module cannot be read ({type(error).__name__}: {reason}); "
            "give a handle that can be downloaded, or a folder with saved_model.pb"
        ) from error


def _own_name(variable: str) -> str | None:
    """Return a variable's name in tensorflow/models, without scope; None if it has none."""
    match = _NAME.search(variable)
    return match.group(1) if match else None


def _vocabulary_file(name: str, module: saved_variables.SavedVariables) -> str:
    for path in (module.vocabulary_file, os.path.join(module.folder, "assets", "vocab.txt")):
        if os.path.isfile(path):
            return path
    raise EncoderError(
        f"encoder {name}: the module has no vocabulary (neither vocab_file nor assets/vocab.txt); "
        "use a WordPiece module, because SentencePiece modules such as ALBERT are not supported"
    )


def _backbone(name: str, variables: dict[str, np.ndarray], dropout: float | None) -> "keras.Model":
    import keras_hub

    vocabulary_size, width = variables[_WORD_EMBEDDINGS].shape
    layers = sum(1 for variable in variables if variable.endswith("self_attention/query/kernel"))
    try:
        backbone = keras_hub.models.BertBackbone(
            vocabulary_size=vocabulary_size,
            num_layers=layers,
            # The kernel's shape is [width, heads, width per head].
            num_heads=variables[_QUERY_KERNEL.format(0)].shape[1],
            hidden_dim=width,
            intermediate_dim=variables[_INTERMEDIATE_KERNEL.format(0)].shape[1],
            max_sequence_length=variables[_POSITION_EMBEDDINGS].shape[0],
            num_segments=variables[_SEGMENT_EMBEDDINGS].shape[0],
            **backbone_arguments(dropout),
        )
        _assign(backbone, variables)
    except (KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EncoderError(
            f"encoder {name}: the module's variables are not those of a BERT encoder "
            f"({type(error).__name__}: {reason})"
        ) from error
    return backbone


def _assign(backbone: "keras.Model", variables: dict[str, np.ndarray]) -> None:
    """Copy the variables, which have the same shapes in both models."""
    backbone.token_embedding.embeddings.assign(variables[_WORD_EMBEDDINGS])
    backbone.position_embedding.position_embeddings.assign(variables[_POSITION_EMBEDDINGS])
    backbone.segment_embedding.embeddings.assign(variables[_SEGMENT_EMBEDDINGS])
    _assign_norm(backbone.embeddings_layer_norm, variables, "embeddings/layer_norm")
    for index, layer in enumerate(backbone.transformer_layers):
        prefix = f"transformer/layer_{index}"
        for path, module_name in _DENSE.items():
            dense = functools.reduce(getattr, path.split("."), layer)
            _assign_dense(dense, variables, f"{prefix}/{module_name}")
        for path, module_name in _LAYER_NORM.items():
            _assign_norm(getattr(layer, path), variables, f"{prefix}/{module_name}")
    _assign_dense(backbone.pooled_dense, variables, "pooler_transform")


def _assign_dense(layer: Any, variables: dict[str, np.ndarray], name: str) -> None:
    layer.kernel.assign(variables[f"{name}/kernel"])
    layer.bias.assign(variables[f"{name}/bias"])


def _assign_norm(layer: Any, variables: dict[str, np.ndarray], name: str) -> None:
    layer.gamma.assign(variables[f"{name}/gamma"])
    layer.beta.assign(variables[f"{name}/beta"])
