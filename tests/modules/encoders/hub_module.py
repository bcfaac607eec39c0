"""A small BERT in TF Hub's SavedModel format, with its own implementation to compare with.

Variable names and shapes, inputs, outputs and assets are those of the public modules, as exported
by ``official/nlp/tools/export_tfhub_lib.py`` of tensorflow/models.
"""

import math
from pathlib import Path

import tensorflow as tf

from tests import tiny_bert

_HEAD_WIDTH = tiny_bert.HIDDEN // tiny_bert.HEADS


class HubBert(tf.train.Checkpoint):
    """``BertEncoder`` of tensorflow/models: einsum attention, tanh-approximated GELU."""

    def __init__(self, vocabulary_file: Path, *, do_lower_case: bool, scope: str) -> None:
        super().__init__()
        self.vocab_file = tf.saved_model.Asset(str(vocabulary_file))
        self.do_lower_case = tf.Variable(do_lower_case, trainable=False)
        self._named: dict[str, tf.Variable] = {}
        generator = tf.random.Generator.from_seed(5)
        for name, shape in _shapes().items():
            value = generator.normal(shape, stddev=0.5)
            if name.endswith("gamma"):
                value += 1
            self._named[name] = tf.Variable(value, name=scope + name)
        # Keras adds this attribute to saved models, and readers of modules rely on it.
        self.variables = [*self._named.values(), self.do_lower_case]

    @tf.function
    def __call__(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        get = self._named
        ids = inputs["input_word_ids"]
        x = tf.gather(get["word_embeddings/embeddings"], ids)
        x += get["position_embedding/embeddings"][: tf.shape(ids)[1]]
        x += tf.gather(get["type_embeddings/embeddings"], inputs["input_type_ids"])
        x = self._norm(x, "embeddings/layer_norm")
        masked = -1e9 * (1 - tf.cast(inputs["input_mask"], tf.float32))[:, None, None, :]
        for layer in range(tiny_bert.LAYERS):
            x = self._block(x, masked, f"transformer/layer_{layer}")
        pooled = tf.tanh(x[:, 0] @ get["pooler_transform/kernel"] + get["pooler_transform/bias"])
        return {"sequence_output": x, "pooled_output": pooled, "default": pooled}

    def _block(self, x: tf.Tensor, masked: tf.Tensor, prefix: str) -> tf.Tensor:
        query, key, value = (
            self._dense("abc,cde->abde", x, f"{prefix}/self_attention/{name}")
            for name in ("query", "key", "value")
        )
        scores = tf.einsum("aecd,abcd->acbe", key, query) / math.sqrt(_HEAD_WIDTH) + masked
        context = tf.einsum("acbe,aecd->abcd", tf.nn.softmax(scores), value)
        name = f"{prefix}/self_attention/attention_output"
        x = self._norm(
            x + self._dense("abcd,cde->abe", context, name), f"{prefix}/self_attention_layer_norm"
        )
        inner = self._dense("abc,cd->abd", x, f"{prefix}/intermediate")
        inner = tf.nn.gelu(inner, approximate=True)
        x += self._dense("abc,cd->abd", inner, f"{prefix}/output")
        return self._norm(x, f"{prefix}/output_layer_norm")

    def _dense(self, equation: str, x: tf.Tensor, name: str) -> tf.Tensor:
        return tf.einsum(equation, x, self._named[f"{name}/kernel"]) + self._named[f"{name}/bias"]

    def _norm(self, x: tf.Tensor, name: str) -> tf.Tensor:
        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        gamma, beta = self._named[f"{name}/gamma"], self._named[f"{name}/beta"]
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)


def _shapes() -> dict[str, tuple[int, ...]]:
    hidden, inner, heads = tiny_bert.HIDDEN, tiny_bert.INTERMEDIATE, tiny_bert.HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "word_embeddings/embeddings": (len(tiny_bert.VOCABULARY), hidden),
        "position_embedding/embeddings": (128, hidden),
        "type_embeddings/embeddings": (2, hidden),
        "embeddings/layer_norm/gamma": (hidden,),
        "embeddings/layer_norm/beta": (hidden,),
        "pooler_transform/kernel": (hidden, hidden),
        "pooler_transform/bias": (hidden,),
    }
    for layer in range(tiny_bert.LAYERS):
        prefix = f"transformer/layer_{layer}"
        for name in ("query", "key", "value"):
            shapes[f"{prefix}/self_attention/{name}/kernel"] = (hidden, heads, _HEAD_WIDTH)
            shapes[f"{prefix}/self_attention/{name}/bias"] = (heads, _HEAD_WIDTH)
        shapes |= {
            f"{prefix}/self_attention/attention_output/kernel": (heads, _HEAD_WIDTH, hidden),
            f"{prefix}/self_attention/attention_output/bias": (hidden,),
            f"{prefix}/self_attention_layer_norm/gamma": (hidden,),
            f"{prefix}/self_attention_layer_norm/beta": (hidden,),
            f"{prefix}/intermediate/kernel": (hidden, inner),
            f"{prefix}/intermediate/bias": (inner,),
            f"{prefix}/output/kernel": (inner, hidden),
            f"{prefix}/output/bias": (hidden,),
            f"{prefix}/output_layer_norm/gamma": (hidden,),
            f"{prefix}/output_layer_norm/beta": (hidden,),
        }
    return shapes


def write_hub_module(folder: Path, *, do_lower_case: bool = True, scope: str = "") -> HubBert:
    """Save a module and return it.

    Args:
        folder: folder of the SavedModel.
        do_lower_case: the module's flag for an uncased vocabulary.
        scope: prefix of the names of all variables, as in some public modules.
    """
    vocabulary_file = folder.parent / "vocab.txt"
    vocabulary_file.write_text("\n".join(tiny_bert.VOCABULARY) + "\n", encoding="utf-8")
    module = HubBert(vocabulary_file, do_lower_case=do_lower_case, scope=scope)
    ids = tf.zeros([1, 4], tf.int32)
    inputs = dict.fromkeys(("input_word_ids", "input_mask", "input_type_ids"), ids)
    module({name: tf.identity(value) for name, value in inputs.items()})
    tf.saved_model.save(module, str(folder))
    return module
