"""The classifier: an encoder, the mean of its token vectors, dropout and one dense layer.

Pure Keras, so that it runs on any Keras backend.
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
#: Name of the layer that outputs the vector of a text, which the head classifies.
TEXT_VECTOR = "mean_over_tokens"


def build_classifier(encoder: "Encoder", num_classes: int, hparams: HParams) -> keras.Model:
    """Build the classifier with the encoder's pretrained weights.

    The vector of a text is the mean of its token vectors, without padding. All encoder families
    have token vectors, whereas only BERT has a pooler, which is untrained in sentence encoders.

    Args:
        encoder: the pretrained encoder.
        num_classes: number of classes, at least two.
        hparams: hyper-parameters, of which ``dropout`` and ``freeze_encoder`` are used.

    Returns:
        A model from ``{"token_ids": int32[batch, length], "padding_mask": int32[batch, length]}``
        (mask 1 for tokens, 0 for padding) to float32 logits ``[batch, num_classes]``.

    Raises:
        EncoderError: the weights do not fit the checkpoint's config.
    """
    return add_head(encoder_model(encoder, hparams.dropout), num_classes, hparams)


def add_head(body: keras.Model, num_classes: int, hparams: HParams) -> keras.Model:
    """Add the classification head to an ``encoder_model``; see ``build_classifier``."""
    inputs = _inputs()
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
    """Build a classifier with the same layers in the current dtype policy.

    Its weights are arbitrary and must be set by the caller; the checkpoint is only read if the
    encoder is not a ``modules.network.transformer``.

    Args:
        model: a classifier from ``build_classifier``, in any dtype policy.
        encoder: the encoder that ``model`` was built with.
        hparams: the hyper-parameters that ``model`` was built with.
    """
    num_classes = int(model.output.shape[-1])
    layers = getattr(model.get_layer("encoder"), "layers", ())
    shapes = [layer.shape for layer in layers if isinstance(layer, transformer.Embeddings)]
    if not shapes:
        return build_classifier(encoder, num_classes, hparams)
    return add_head(transformer.transformer(shapes[0]), num_classes, hparams)


def encoder_model(encoder: "Encoder", dropout: float) -> keras.Model:
    """Build the encoder as a model from ``token_ids`` and ``padding_mask`` to token vectors.

    Args:
        encoder: the pretrained encoder.
        dropout: rate inside the encoder.

    Returns:
        A model from two int32 ``[batch, length]`` inputs to ``[batch, length, hidden]``.

    Raises:
        EncoderError: the weights do not fit the checkpoint's config.
    """
    backbone = encoder.backbone(dropout=dropout)
    lean = transformer_weights.from_backbone(backbone, dropout)
    return _backbone_as_model(backbone) if lean is None else lean


def _inputs() -> dict[str, Any]:
    names = ("token_ids", "padding_mask")
    return {name: keras.Input((None,), dtype="int32", name=name) for name in names}


def _backbone_as_model(backbone: keras.Model) -> keras.Model:
    inputs = _inputs()
    # The model ends at the token vectors, because the pooler would get no gradient.
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
    """Mean over the tokens of each text, without padding.

    Takes vectors ``[batch, length, hidden]`` and a mask ``[batch, length]`` and returns
    ``[batch, hidden]`` in the vectors' dtype. Sums in float32 in every dtype policy.
    """

    def call(self, vectors: Any, mask: Any) -> Any:
        """Average ``vectors`` where ``mask`` is 1."""
        weights = ops.expand_dims(ops.cast(mask, "float32"), axis=1)
        total = ops.matmul(weights, ops.cast(vectors, "float32"))
        count = ops.maximum(ops.sum(weights, axis=2), 1.0)
        return ops.cast(ops.squeeze(total, axis=1) / count, self.compute_dtype)

    def compute_output_shape(self, vectors_shape: Any, mask_shape: Any = None) -> Any:
        """Return the shape ``[batch, hidden]``."""
        return (vectors_shape[0], vectors_shape[-1])
