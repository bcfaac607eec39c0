"""Fixtures for tests of worker code: a tiny checkpoint and real texts."""

import csv
import os
import sys
from pathlib import Path

import pytest

from tests.tiny_bert import write_tiny_bert

REAL_DATA_VARIABLE = "BERT_REAL_DATA"


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a tiny BERT in Hugging Face format and return its folder."""
    folder = tmp_path_factory.mktemp("tiny_bert")
    write_tiny_bert(folder)
    return str(folder)


@pytest.fixture(scope="session")
def real_texts() -> list[str]:
    """Return every text of the CSV files in the folder BERT_REAL_DATA."""
    folder = os.environ.get(REAL_DATA_VARIABLE)
    if not folder:
        pytest.skip(f"{REAL_DATA_VARIABLE} is not set to a folder with CSV files")
    csv.field_size_limit(sys.maxsize)
    texts = []
    for path in sorted(Path(folder).glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    return texts
