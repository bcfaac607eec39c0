"""Hugging Face's side of ``benchmarks.train_step``, for an environment without this project."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OPTIONS = json.loads(sys.argv[1])
if OPTIONS["threads"]:
    os.environ["OMP_NUM_THREADS"] = str(OPTIONS["threads"])

import torch  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)


class Rounds(TrainerCallback):
    """A callback that waits for a line before each round and prints a report after it."""

    def __init__(self) -> None:
        """Start with the warm-up."""
        self.done = 0
        self.begin = 0
        self.end = OPTIONS["warm_up_steps"]

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Wait at the first step of a round."""
        if self.done == self.begin:
            sys.stdin.readline()
            self.started = time.perf_counter(), time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Print a report at the last step of a round."""
        self.done += 1
        if self.done < self.end:
            return
        wall, cpu = self.started
        report = {
            "examples": (self.end - self.begin) * OPTIONS["batch_size"],
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        }
        print(json.dumps(report), flush=True)
        self.begin, self.end = self.end, self.end + OPTIONS["steps"]


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Pad to the longest text of the batch."""
    width = max(len(row["input_ids"]) for row in rows)
    padding = [width - len(row["input_ids"]) for row in rows]
    ids = [r["input_ids"] + [0] * p for r, p in zip(rows, padding, strict=True)]
    mask = [[1] * len(r["input_ids"]) + [0] * p for r, p in zip(rows, padding, strict=True)]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def main() -> None:
    """Train one epoch in rounds."""
    if OPTIONS["threads"]:
        torch.set_num_threads(OPTIONS["threads"])
    stored = json.loads(Path(OPTIONS["tokens"]).read_text())
    pairs = zip(stored["token_ids"], stored["labels"], strict=True)
    data = [{"input_ids": ids, "labels": label} for ids, label in pairs]
    model = AutoModelForSequenceClassification.from_pretrained(
        OPTIONS["folder"], num_labels=max(stored["labels"]) + 1
    )
    arguments = TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=OPTIONS["batch_size"],
        num_train_epochs=1,
        learning_rate=5e-5,
        weight_decay=0.01,
        warmup_steps=0.1,
        max_grad_norm=0.0,
        bf16=OPTIONS["bfloat16"],
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    Trainer(
        model, arguments, data_collator=collate, train_dataset=data, callbacks=[Rounds()]
    ).train()


if __name__ == "__main__":
    main()
