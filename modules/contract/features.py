"""Names of features, signatures and files of the exported model. Standard library only.

Raw examples (ExampleGen): ``text`` bytes[1], ``label`` bytes[1], and one bytes[1] feature for each
configured slice column. Transformed examples (Transform): ``text`` bytes[1], unchanged,
``token_ids`` int64[length] with the encoder's start and end tokens, ``label_id`` int64[1].
"""

from typing import Final

TEXT: Final = "text"
LABEL: Final = "label"
TOKEN_IDS: Final = "token_ids"
LABEL_ID: Final = "label_id"

#: Name of the vocabulary that Transform learns from the labels.
LABEL_VOCABULARY: Final = "labels"

TRAIN_SPLIT: Final = "train"
EVAL_SPLIT: Final = "eval"
TEST_SPLIT: Final = "test"
SPLITS: Final = (TRAIN_SPLIT, EVAL_SPLIT, TEST_SPLIT)

#: Signatures of the exported model and the names of their tensors.
SERVING_DEFAULT: Final = "serving_default"
SERVING_EXAMPLES: Final = "serving_examples"
SERVING_MONITORING: Final = "serving_monitoring"
#: Suffix of the signatures that multiply matrices in bfloat16. Not every model has them.
BFLOAT16_SUFFIX: Final = "_bfloat16"
EXAMPLES_INPUT: Final = "examples"
SCORES: Final = "scores"
PREDICTED_LABEL: Final = "label"
SCORE: Final = "score"
EMBEDDING: Final = "embedding"
TOKENS: Final = "tokens"
UNKNOWN_TOKENS: Final = "unknown_tokens"

#: Files stored with the exported model, under ``assets.extra/``.
EXTRA_ASSETS: Final = "assets.extra"
LABELS_FILE: Final = "labels.txt"
MODEL_CARD_FILE: Final = "model_card.json"
EXPECTED_ANSWERS_FILE: Final = "expected_answers.jsonl"
#: The file name that TensorFlow Serving expects.
WARMUP_FILE: Final = "tf_serving_warmup_requests"
BATCHING_PARAMETERS_FILE: Final = "batching_parameters.txt"
