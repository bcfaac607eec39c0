"""Conversion of keras-hub backbones to ``modules.network.transformer``."""

from typing import Any

import keras
import numpy as np

from modules.network import transformer


def from_backbone(backbone: Any, dropout: float) -> keras.Model | None:
    """Convert a backbone to a ``modules.network.transformer`` model.

    Args:
        backbone: a keras-hub backbone with its weights.
        dropout: dropout rate of the new model.

    Returns:
        The model, or None if the backbone is not BERT, DistilBERT or RoBERTa.
    """
    if type(backbone).__name__ not in ("BertBackbone", "DistilBertBackbone", "RobertaBackbone"):
        return None
    tokens, positions = _embeddings(backbone)
    layer = backbone.get_layer("transformer_layer_0")
    model = transformer.transformer(
        transformer.Shape(
            vocabulary=tokens.shape[0],
            positions=positions.shape[0],
            hidden=tokens.shape[1],
            heads=backbone.num_heads,
            intermediate=backbone.intermediate_dim,
            layers=backbone.num_layers,
            exact_gelu=layer.activation is keras.activations.gelu,
            epsilon=layer.layer_norm_epsilon,
            dropout=dropout,
        )
    )
    norm = backbone.get_layer("embeddings_layer_norm")
    model.get_layer("embeddings").set_weights([tokens, positions, *norm.get_weights()])
    for index in range(backbone.num_layers):
        source = backbone.get_layer(f"transformer_layer_{index}")
        model.get_layer(f"layer_{index}").set_weights(_layer_weights(source, tokens.shape[1]))
    return model


def _embeddings(backbone: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return token and position tables, with the vector of segment 0 added to each position."""
    tokens = np.asarray(backbone.token_embedding.get_weights()[0])
    if hasattr(backbone, "embeddings"):
        return tokens, np.asarray(backbone.embeddings.position_embedding.get_weights()[0])
    positions = np.asarray(backbone.position_embedding.get_weights()[0])
    return tokens, positions + backbone.segment_embedding.get_weights()[0][:1]


def _layer_weights(layer: Any, hidden: int) -> list[np.ndarray]:
    """Return a keras-hub ``TransformerEncoder``'s weights in ``TransformerLayer``'s order."""
    attention = layer._self_attention_layer
    dense = [attention.query_dense, attention.key_dense, attention.value_dense]
    weights = [part.get_weights() for part in dense]
    kernel, bias = attention.output_dense.get_weights()
    return [
        np.concatenate([w[0].reshape(hidden, hidden) for w in weights], axis=1),
        np.concatenate([w[1].reshape(hidden) for w in weights]),
        kernel.reshape(hidden, hidden),
        bias,
        *layer._self_attention_layer_norm.get_weights(),
        *layer._feedforward_intermediate_dense.get_weights(),
        *layer._feedforward_output_dense.get_weights(),
        *layer._feedforward_layer_norm.get_weights(),
    ]
