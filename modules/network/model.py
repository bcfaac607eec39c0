"""The classifier: an encoder, the mean of its token vectors, dropout and one dense layer.

Pure Keras: the same code runs on any Keras backend.
"""

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from modules.contract.hparams import HParams
from modules.network import transformer, transformer_weights

if TYPE_CHECKING:
    from modules.encoders.names import Encoder

#: Name of the classification head, the only trained layer when the encoder is frozen.
HEAD = "logits"
#: Name of the layer that gives the vector of a text, which the head classifies.
TEXT_VECTOR = "mean_over_tokens"


def build_classifier(encoder: "Encoder", num_classes: int, hparams: HParams) -> keras.Model:
    """Make the classifier with the encoder's pre-trained weights.

    The text vector is the mean of the token vectors, padding left out. Every encoder family has
    token vectors, while the pooler is BERT's alone and untrained in sentence encoders.

    Args:
        encoder: where the weights come from.
        num_classes: classes, two or more.
        hparams: ``dropout`` and ``freeze_encoder`` shape the model.

    Returns:
        A model of ``{"token_ids": int32[batch, length], "padding_mask": int32[batch, length]}``
        (mask 1 for tokens, 0 for padding) to float32 logits ``[batch, num_classes]``.
    """
    return add_head(encoder_model(encoder, hparams.dropout), num_classes, hparams)


def add_head(body: keras.Model, num_classes: int, hparams: HParams) -> keras.Model:
    """The classifier on top of an ``encoder_model``; see ``build_classifier``."""
    inputs = {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "padding_mask": keras.Input((None,), dtype="int32", name="padding_mask"),
    }
    body.trainable = not hparams.freeze_encoder
    vectors = body(inputs)
    text_vector = MeanOverTokens(name=TEXT_VECTOR)(vectors, inputs["padding_mask"])
    text_vector = keras.layers.Dropout(hparams.dropout, name="head_dropout")(text_vector)
    logits = keras.layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        dtype="float32",
        name=HEAD,
    )(text_vector)
    return keras.Model(inputs, logits, name="classifier")


def build_like(model: keras.Model, encoder: "Encoder", hparams: HParams) -> keras.Model:
    """Another classifier of the same layers, of the dtype policy that holds now.

    Its weights mean nothing: where the encoder's layout is ours, no checkpoint is read.

    Args:
        model: from ``build_classifier``, of any dtype policy.
        encoder: that ``model`` was made with.
        hparams: that ``model`` was made with.
    """
    num_classes = int(model.output.shape[-1])
    layers = getattr(model.get_layer("encoder"), "layers", ())
    shapes = [layer.shape for layer in layers if isinstance(layer, transformer.Embeddings)]
    if not shapes:
        return build_classifier(encoder, num_classes, hparams)
    return add_head(transformer.transformer(shapes[0]), num_classes, hparams)


def encoder_model(encoder: "Encoder", dropout: float) -> keras.Model:
    """The encoder as a model of ``token_ids`` and ``padding_mask`` to token vectors.

    Returns:
        A model from two int32 ``[batch, length]`` inputs to ``[batch, length, hidden]``.
    """
    backbone = encoder.backbone(dropout=dropout)
    lean = transformer_weights.from_backbone(backbone, dropout)
    return _backbone_as_model(backbone) if lean is None else lean


def _backbone_as_model(backbone: keras.Model) -> keras.Model:
    inputs = {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "padding_mask": keras.Input((None,), dtype="int32", name="padding_mask"),
    }
    # A model cut at the token vectors leaves out the pooler, which would get no gradient.
    outputs = backbone.output
    if isinstance(outputs, dict):
        outputs = outputs["sequence_output"]
    trunk = keras.Model(backbone.input, outputs, name="trunk")
    features = dict(inputs)
    if "segment_ids" in backbone.input:
        features["segment_ids"] = ops.zeros_like(inputs["token_ids"])
    return keras.Model(inputs, trunk(features), name="encoder")


@keras.saving.register_keras_serializable(package="bert_tfx")
class MeanOverTokens(keras.layers.Layer):
    """Mean over the tokens of each text, padding left out.

    Call with vectors ``[batch, length, hidden]`` and mask ``[batch, length]``; gives
    ``[batch, hidden]`` of the vectors' dtype. Sums in float32 whatever the policy.
    """

    def call(self, vectors: Any, mask: Any) -> Any:
        """Average ``vectors`` where ``mask`` is 1."""
        weights = ops.expand_dims(ops.cast(mask, "float32"), axis=1)
        total = ops.matmul(weights, ops.cast(vectors, "float32"))
        count = ops.maximum(ops.sum(weights, axis=2), 1.0)
        return ops.cast(ops.squeeze(total, axis=1) / count, self.compute_dtype)

    def compute_output_shape(self, vectors_shape: Any, mask_shape: Any = None) -> Any:
        """Shape ``[batch, hidden]``."""
        return (vectors_shape[0], vectors_shape[-1])
