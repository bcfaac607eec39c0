import dataclasses
import os

import pytest
from google.protobuf import text_format

from serving.protocol import protos
from serving.rollout import model_config_file
from serving.rollout.state import CANARY, LOADING, Change, RolloutState, RolloutStore
from serving.server.versions import model_config
from serving.server.versions.version_policy import Specific

STATE = RolloutState("default", 4, stable=3, previous=1, candidate=5, stage=CANARY)


def parse(words: str) -> model_config.ModelConfig:
    message = text_format.Parse(words, protos.model_server_config_pb2.ModelServerConfig())
    (model,) = model_config.from_proto(message).values()
    return model


def test_protocol_buffers_parse_the_file() -> None:
    model = parse(model_config_file.text(STATE, "/models/reviews"))
    assert model.name == "default"
    assert model.base_path == "/models/reviews"
    assert model.policy == Specific(frozenset({1, 3, 5}))
    assert model.labels == {"stable": 3, "canary": 5}


def test_canary_label_exists_only_for_a_canary() -> None:
    state = dataclasses.replace(STATE, stage=LOADING)
    assert parse(model_config_file.text(state, "/models")).labels == {"stable": 3}


@pytest.mark.parametrize("words", ['a "quoted" \\ folder', "it's", "Größe/模型", "line\nbreak"])
def test_names_with_special_characters_are_escaped(words) -> None:
    state = dataclasses.replace(STATE, model=words)
    model = parse(model_config_file.text(state, f"/{words}"))
    assert (model.name, model.base_path) == (words, f"/{words}")


def test_file_is_replaced_atomically_and_only_if_it_differs(tmp_path) -> None:
    file = model_config_file.path(tmp_path)
    assert model_config_file.write(STATE, tmp_path)
    first = os.stat(file)
    assert first.st_mode & 0o777 == 0o644
    assert not model_config_file.write(STATE, tmp_path)
    same = os.stat(file)  # except the time of the last read
    assert (same.st_ino, same.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert model_config_file.write(dataclasses.replace(STATE, revision=5, stable=1), tmp_path)
    assert os.stat(file).st_ino != first.st_ino
    assert [entry.name for entry in file.parent.iterdir()] == ["models.txt"]


def test_truncated_file_is_rewritten(tmp_path) -> None:
    model_config_file.write(STATE, tmp_path)
    file = model_config_file.path(tmp_path)
    file.write_bytes(b"model_config_list { \xff")
    assert model_config_file.write(STATE, tmp_path)
    assert parse(file.read_text("utf-8")).labels["stable"] == 3


def test_concurrent_change_is_not_overwritten(tmp_path, database, monkeypatch) -> None:
    store = RolloutStore(database)
    first = RolloutState("default", 1, stable=1)
    store.change(Change(first, "adopt", 1, "first"), now=1.0, by="a")
    second = dataclasses.replace(first, revision=2, stable=2, previous=1)
    write = model_config_file.write

    def change_meanwhile(state, directory):
        if store.read("default") == first:
            store.change(Change(second, "promote", 2, "faster"), now=2.0, by="b")
        return write(state, directory)

    monkeypatch.setattr(model_config_file, "write", change_meanwhile)
    assert model_config_file.synchronise(store, "default", tmp_path) == second
    assert parse(model_config_file.path(tmp_path).read_text("utf-8")).labels == {"stable": 2}
