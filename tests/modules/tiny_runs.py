"""Training runs on the tiny BERT, with made-up texts whose last word decides the label."""

import random
from typing import Any

from modules.contract.hparams import HParams, TrainingSettings
from modules.encoders.names import load_encoder
from modules.fit.batches import TokenizedTexts
from modules.fit.training_loop import TrainingRun
from tests.tiny_bert import VOCABULARY

LABELS = ("negative", "positive")
_SUBJECTS = ("film", "movie", "book", "food", "hotel", "room", "story", "plot")


def texts(count: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Return texts of 2 to 12 words and their label ids, which depend on the last word."""
    generator = random.Random(seed)
    labels = [generator.randrange(2) for _ in range(count)]
    words = [generator.choices(_SUBJECTS, k=generator.randint(1, 11)) for _ in range(count)]
    ends = [("awful", "great")[label] for label in labels]
    return [" ".join([*w, end]) for w, end in zip(words, ends, strict=True)], labels


def tokenized(count: int, seed: int = 0) -> TokenizedTexts:
    """Return ``texts`` as token ids, including start and end tokens."""
    sentences, labels = texts(count, seed)
    ids = [[VOCABULARY.index(word) for word in sentence.split()] for sentence in sentences]
    start, end = VOCABULARY.index("[CLS]"), VOCABULARY.index("[SEP]")
    return TokenizedTexts.from_lists([[start, *row, end] for row in ids], labels)


def make_run(tiny_bert: str, **changes: Any) -> TrainingRun:
    """Return a run of two epochs, with changed fields of hparams, settings or the run itself."""
    hparams = {"learning_rate": 3e-3, "batch_size": 8, "epochs": 2}
    settings: dict[str, Any] = {"precision": "float32", "tensorboard": False}
    fields: dict[str, Any] = {"train": tokenized(60), "evaluation": tokenized(24, seed=1)}
    for name, value in changes.items():
        if name in HParams.__dataclass_fields__:
            hparams[name] = value
        elif name in TrainingSettings.__dataclass_fields__ and name != "checkpoint_directory":
            settings[name] = value
        else:
            fields[name] = value
    return TrainingRun(
        encoder=load_encoder(tiny_bert),
        labels=LABELS,
        hparams=HParams(**hparams),
        settings=TrainingSettings(**settings),
        **fields,
    )
