from pathlib import Path

import pytest

from cli.screens.predictions import one_line
from modules.contract.errors import UserError
from modules.contract.pushed_model import find_version
from runners.predict.local import Predictor
from runners.predict.text_lines import read_texts

LABELS = ["no", "yés"]


def save_model(folder: Path) -> None:
    """Export a model with the project's signature: texts with an "!" get the second label."""
    import tensorflow as tf

    class Shouting(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
        def serve(self, text):
            loud = tf.cast(tf.strings.regex_full_match(text, ".*!.*"), tf.float32)
            scores = tf.stack([0.75 - 0.5 * loud, 0.25 + 0.5 * loud], axis=1)
            label = tf.gather(tf.constant(LABELS), tf.argmax(scores, axis=1))
            return {"scores": scores, "label": label, "score": tf.reduce_max(scores, axis=1)}

    module = Shouting()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "labels.txt").write_text("\n".join(LABELS) + "\n", "utf-8")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    save_model(folder / "7")
    return folder


def test_predictions_are_in_order_and_complete(base: Path) -> None:
    texts = [f"text {number}{'!' * (number % 2)}" for number in range(70)]
    predictions = Predictor(find_version(base)).predict(texts)
    assert [prediction.text for prediction in predictions] == texts
    assert [prediction.label for prediction in predictions] == LABELS * 35
    assert predictions[1].scores == {"no": 0.25, "yés": 0.75}
    assert predictions[1].score == 0.75
    assert Predictor(find_version(base)).predict([]) == []


def test_command_prints_a_line_or_json_per_text(
    base: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from cli import main as cli

    option = f"pusher.base_directory={base}"
    with pytest.raises(SystemExit) as caught:
        cli.main(["predict", "so\nwhat", "hey!", "--set", option])
    assert caught.value.code in (0, None)
    out, err = capfd.readouterr()
    assert out == "no\t0.7500\tso what\nyés\t0.7500\they!\n"
    assert err == ""
    with pytest.raises(SystemExit):
        cli.main(["predict", "hey!", "--json", "--version", "7", "--set", option])
    assert '"scores": {"no": 0.25, "yés": 0.75}' in capfd.readouterr().out


def test_command_finds_a_version_with_leading_zeros(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from cli import main as cli

    (tmp_path / "00000002").symlink_to(base / "7")
    option = f"pusher.base_directory={tmp_path}"
    with pytest.raises(SystemExit) as caught:
        cli.main(["predict", "hey!", "--version", "2", "--set", option])
    assert caught.value.code in (0, None)
    assert capfd.readouterr().out == "yés\t0.7500\they!\n"


def test_texts_come_from_arguments_and_file(tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("one\n\n  \nzwei ü\n", "utf-8")
    assert list(read_texts(["zero"], str(tmp_path / "texts"))) == ["zero", "one", "zwei ü"]


def test_texts_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    assert list(read_texts([], "-")) == ["one", "two"]


def test_unreadable_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"na\xefve")
    with pytest.raises(UserError, match="cannot be read as UTF-8"):
        read_texts([], str(tmp_path / "latin"))
    with pytest.raises(UserError, match="cannot be read: No such file or directory"):
        read_texts([], str(tmp_path / "missing"))


def test_empty_input_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n \n")
    with pytest.raises(UserError, match="nothing to classify"):
        read_texts([], str(tmp_path / "empty"))


def test_file_is_read_as_texts_are_consumed() -> None:
    import os

    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8") as stream:
        stream.write("first\nsecond\n")
        stream.flush()
        texts = read_texts([], f"/dev/fd/{reader}")
        assert next(texts) == "first"
    assert list(texts) == ["second"]
    os.close(reader)


def test_one_line_has_no_control_characters() -> None:
    assert one_line("a\tb\n\x1b[31mc\u2028d  e") == "a b [31mc d e"
