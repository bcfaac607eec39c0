"""Versions are complete or absent, their numbers ascend, and no model is pushed twice."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from tfx import types
from tfx.types import standard_artifacts

from components.blessing import why_not_blessed
from components.publishing import local, remote
from components.pusher import PusherExecutor, make_pusher
from modules.contract.errors import UserError
from modules.contract.pushed_model import MANIFEST_FILE

REPOSITORY = Path(__file__).parents[2]
FILES = {
    "saved_model.pb": "graph",
    "variables/variables.index": "index",
    "variables/variables.data-00000-of-00001": "weights",
    "assets.extra/labels.txt": "negative\npositive\n",
    "fingerprint.pb": "1",
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "serving"


@pytest.fixture(params=[local, remote], ids=["local", "remote"])
def destination(request: pytest.FixtureRequest) -> Any:
    """Both ways of pushing; TFX's fileio also accepts a local path."""
    return request.param


def export(folder: Path, content: str = "", **files: str) -> str:
    for name, text in {**FILES, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + content)
    return str(folder)


def visible(base: Path) -> list[int]:
    """Return what a model server sees: folders whose name is a number."""
    return sorted(int(p.name) for p in base.iterdir() if p.is_dir() and p.name.isdecimal())


def is_whole(version: Path, content: str = "") -> bool:
    return all((version / name).read_text() == text + content for name, text in FILES.items())


class TestPush:
    def test_first_push_creates_a_version(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        before = int(time.time())
        outcome = destination.push(export(tmp_path / "m"), "model/1", str(base))
        assert outcome.pushed
        assert visible(base) == [outcome.version]
        assert before <= outcome.version <= int(time.time())
        assert outcome.destination == str(base / str(outcome.version))
        assert is_whole(base / str(outcome.version))
        manifest = json.loads((base / str(outcome.version) / MANIFEST_FILE).read_text())
        assert manifest["source"] == "model/1"

    def test_versions_ascend_within_one_second(
        self, tmp_path: Path, base: Path, destination: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "time", lambda: 1000.5)
        versions = [
            destination.push(export(tmp_path / str(i), str(i)), f"model/{i}", str(base)).version
            for i in range(3)
        ]
        assert versions == [1000, 1001, 1002]

    def test_version_is_above_versions_not_pushed_by_this_project(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        export(base / "99999999999")
        outcome = destination.push(export(tmp_path / "m", "1"), "model/1", str(base))
        assert outcome.version == 100000000000

    def test_partial_folder_is_not_a_version(self, tmp_path: Path, base: Path) -> None:
        model = export(tmp_path / "m")
        first = local.push(model, "model/1", str(base))
        half = base / str(first.version + 10)
        half.mkdir()
        again = local.push(model, "model/1", str(base), keep_versions=1)
        assert (again.pushed, again.version) == (True, first.version)
        newer = local.push(export(tmp_path / "n", "2"), "model/2", str(base), keep_versions=1)
        assert newer.version == first.version + 11
        assert visible(base) == [first.version + 10, newer.version]

    def test_identical_model_is_not_pushed_again(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        first = destination.push(export(tmp_path / "a"), "model/1", str(base))
        second = destination.push(export(tmp_path / "b"), "model/2", str(base))
        assert not second.pushed
        assert second.version is None
        assert f"identical to version {first.version}" in second.reason
        assert visible(base) == [first.version]

    def test_same_artifact_counts_as_pushed_without_copying(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        # This happens if the Pusher was killed after the rename: the record was lost, and without
        # it, the next run would not know its baseline.
        model = export(tmp_path / "m")
        first = destination.push(model, "model/1", str(base))
        again = destination.push(model, "model/1", str(base))
        assert again.pushed
        assert (again.version, again.destination) == (first.version, first.destination)
        assert "nothing was copied" in again.reason
        assert visible(base) == [first.version]

    def test_older_identical_version_is_not_pushed_again(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        older = export(tmp_path / "older", "1")
        first = destination.push(older, "model/1", str(base))
        second = destination.push(export(tmp_path / "newer", "2"), "model/2", str(base))
        third = destination.push(older, "model/1", str(base))
        assert not third.pushed
        assert f"move {second.version} out of" in third.reason
        assert visible(base) == [first.version, second.version]

    def test_oldest_versions_are_removed(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        for i in range(4):
            newest = destination.push(
                export(tmp_path / str(i), str(i)), f"model/{i}", str(base), keep_versions=2
            )
        assert len(visible(base)) == 2
        assert visible(base)[-1] == newest.version

    def test_newest_version_is_never_removed(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        for i in range(2):
            newest = destination.push(
                export(tmp_path / str(i), str(i)), f"model/{i}", str(base), keep_versions=1
            )
        assert visible(base) == [newest.version]


class TestLocal:
    def test_number_of_a_removed_version_is_not_reused(
        self, tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "time", lambda: 1000.5)
        first = local.push(export(tmp_path / "a", "1"), "model/1", str(base))
        (base / str(first.version)).rename(tmp_path / "elsewhere")
        assert local.push(export(tmp_path / "b", "2"), "model/2", str(base)).version == 1001

    def test_model_is_pushed_again_after_its_folder_was_removed(
        self, tmp_path: Path, base: Path
    ) -> None:
        model = export(tmp_path / "m")
        first = local.push(model, "model/1", str(base))
        (base / str(first.version)).rename(tmp_path / "elsewhere")
        again = local.push(model, "model/1", str(base))
        assert again.pushed
        assert visible(base) == [again.version]
        assert again.version > first.version

    def test_fingerprint_covers_file_names(self, tmp_path: Path) -> None:
        one = local.folder_fingerprint(export(tmp_path / "a"))
        two = local.folder_fingerprint(export(tmp_path / "b", **{"more": ""}))
        assert one != two

    def test_fingerprint_excludes_the_manifest(self, tmp_path: Path, base: Path) -> None:
        model = export(tmp_path / "m")
        outcome = local.push(model, "model/1", str(base))
        assert local.folder_fingerprint(str(base / str(outcome.version))) == outcome.fingerprint

    def test_base_directory_that_cannot_be_created_is_a_user_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"pusher\.base_directory"):
            local.push(export(tmp_path / "m"), "model/1", str(tmp_path / "file" / "serving"))

    def test_damaged_ledger_is_named_in_the_error(self, tmp_path: Path, base: Path) -> None:
        base.mkdir()
        (base / local.LEDGER).write_text("torn\n")
        with pytest.raises(UserError, match=r"\.pushed\.jsonl"):
            local.push(export(tmp_path / "m"), "model/1", str(base))

    def test_concurrent_pushes_are_serialised(self, tmp_path: Path, base: Path) -> None:
        pushes = [
            start_push(export(tmp_path / str(i), str(i)), f"model/{i}", base) for i in range(4)
        ]
        assert [push.wait(60) for push in pushes] == [0] * 4
        assert len(visible(base)) == 4
        assert all((base / str(version) / MANIFEST_FILE).is_file() for version in visible(base))


#: Points at which a push is killed: the n-th call of a function, which is patched.
KILLS = {
    "before the first file": ("_copy_file", 1),
    "between two files": ("_copy_file", 3),
    "before files reach the disk": ("sync_folder", 1),
    "before the rename": ("os.rename", 1),
    "after the rename": ("sync_folder", 4),
    "before the ledger": ("write_text", 2),
}


class TestKilledPush:
    """A push killed by SIGKILL, then repeated as by a rerun of the pipeline."""

    @pytest.mark.parametrize("step", KILLS)
    def test_killed_push_never_shows_a_partial_version(
        self, tmp_path: Path, base: Path, step: str
    ) -> None:
        old = local.push(export(tmp_path / "old", "old"), "model/0", str(base))
        model = export(tmp_path / "new", "new")
        assert start_push(model, "model/1", base, kill=KILLS[step]).wait(60) == -9

        for version in visible(base):
            assert is_whole(base / str(version), "old" if version == old.version else "new")

        outcome = local.push(model, "model/1", str(base))
        assert outcome.pushed
        assert visible(base) == [old.version, outcome.version]
        assert is_whole(base / str(outcome.version), "new")
        assert not [p for p in base.iterdir() if p.name.startswith(local.TEMPORARY_PREFIX)]
        assert len((base / local.LEDGER).read_text().splitlines()) == 2

    def test_kills_before_and_after_the_rename_differ(self, tmp_path: Path, base: Path) -> None:
        # Otherwise, "after the rename" might be the same as "before the rename".
        assert kill_and_look(tmp_path, base, "before the rename") == []
        assert len(kill_and_look(tmp_path, base, "after the rename")) == 1

    def test_killed_removal_hides_the_old_version_at_once(self, tmp_path: Path, base: Path) -> None:
        local.push(export(tmp_path / "old", "old"), "model/0", str(base))
        model = export(tmp_path / "new", "new")
        push = start_push(model, "model/1", base, kill=("shutil.rmtree", 1), keep=1)
        assert push.wait(60) == -9
        [newest] = visible(base)
        assert is_whole(base / str(newest), "new")
        assert local.push(model, "model/1", str(base), 1).version == newest
        assert not [p for p in base.iterdir() if p.name.startswith(local.TEMPORARY_PREFIX)]


def kill_and_look(tmp_path: Path, base: Path, step: str) -> list[int]:
    model = export(tmp_path / "m", "new")
    assert start_push(model, "model/1", base, kill=KILLS[step]).wait(60) == -9
    return visible(base)


def start_push(
    model: str, source: str, base: Path, kill: tuple[str, int] | None = None, keep: int = 0
) -> "subprocess.Popen[bytes]":
    """Start a push in its own process, which can kill itself during the push."""
    target, calls = kill or ("", 0)
    code = textwrap.dedent(f"""
        import os, shutil, signal
        from components.publishing import local
        calls = 0
        def last_at(function):
            def wrapped(*args, **kwargs):
                global calls
                calls += 1
                if calls == {calls}:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)
            return wrapped
        target = {target!r}
        if target:
            owner = {{"os": os, "shutil": shutil}}.get(target.rpartition(".")[0], local)
            name = target.rpartition(".")[2]
            setattr(owner, name, last_at(getattr(owner, name)))
        local.push({model!r}, {source!r}, {str(base)!r}, {keep})
    """)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment)


class TestRemote:
    def test_saved_model_file_is_written_last(
        self, tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = []
        write = remote._write
        monkeypatch.setattr(remote, "_write", lambda p, d: (written.append(p), write(p, d)))
        remote.push(export(tmp_path / "m"), "model/1", str(base))
        assert os.path.basename(written[-1]) == "saved_model.pb"
        assert len(written) == len(FILES) + 1

    def test_partial_push_is_not_loadable_and_is_removed_by_the_next(
        self, tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = remote._write

        def fail(path: str, data: bytes) -> None:
            if path.endswith("variables.index"):
                raise OSError("connection lost")
            write(path, data)

        monkeypatch.setattr(remote, "_write", fail)
        with pytest.raises(OSError, match="connection lost"):
            remote.push(export(tmp_path / "m"), "model/1", str(base))
        [half] = visible(base)
        assert not (base / str(half) / "saved_model.pb").exists()
        monkeypatch.undo()
        outcome = remote.push(export(tmp_path / "m"), "model/1", str(base))
        assert visible(base) == [outcome.version]
        assert is_whole(base / str(outcome.version))


class TestExecutor:
    @pytest.fixture
    def model(self, tmp_path: Path) -> types.Artifact:
        artifact = standard_artifacts.Model()
        artifact.uri, artifact.id = str(tmp_path / "model"), 7
        export(tmp_path / "model" / "Format-Serving")
        return artifact

    @pytest.fixture
    def push(self, tmp_path: Path, base: Path, model: types.Artifact) -> Any:
        def run(inputs: dict[str, types.Artifact | None], infra: bool = True) -> types.Artifact:
            pushed = standard_artifacts.PushedModel()
            pushed.uri = str(tmp_path / "pushed")
            os.makedirs(pushed.uri, exist_ok=True)
            properties = {
                "base_directory": str(base),
                "keep_versions": 0,
                "needs_infra_blessing": int(infra),
            }
            known = {key: [value] if value else [] for key, value in inputs.items()}
            PusherExecutor().Do({"model": [model], **known}, {"pushed_model": [pushed]}, properties)
            return pushed

        return run

    def test_model_with_both_blessings_is_pushed(self, push: Any, base: Path) -> None:
        pushed = push({"model_blessing": blessing(1), "infra_blessing": blessing(1)})
        [version] = visible(base)
        assert pushed.get_int_custom_property("pushed") == 1
        assert pushed.get_string_custom_property("pushed_version") == str(version)
        assert pushed.get_string_custom_property("pushed_destination") == str(base / str(version))
        assert json.loads(Path(pushed.uri, "push.json").read_text())["version"] == version

    @pytest.mark.parametrize(
        ("model_blessed", "infra_blessed", "reason"),
        [
            (0, 1, "the Evaluator did not bless it (too bad)"),
            (1, 0, "the InfraValidator did not bless it (too bad)"),
            (0, 0, "the Evaluator did not bless it (too bad); the InfraValidator did not"),
            (None, 1, "there is no blessing from the Evaluator"),
            (1, None, "there is no blessing from the InfraValidator"),
        ],
    )
    def test_model_without_both_blessings_is_not_pushed(
        self, push: Any, base: Path, model_blessed: Any, infra_blessed: Any, reason: str
    ) -> None:
        pushed = push(
            {"model_blessing": blessing(model_blessed), "infra_blessing": blessing(infra_blessed)}
        )
        assert pushed.get_int_custom_property("pushed") == 0
        assert pushed.get_string_custom_property("outcome").startswith(reason)
        assert not pushed.has_custom_property("pushed_version")
        assert json.loads(Path(pushed.uri, "push.json").read_text())["pushed"] is False
        assert not base.exists()

    def test_infra_blessing_is_not_required_without_an_infra_validator(
        self, push: Any, base: Path
    ) -> None:
        pushed = push({"model_blessing": blessing(1)}, infra=False)
        assert pushed.get_int_custom_property("pushed") == 1
        assert len(visible(base)) == 1

    def test_blessing_of_another_model_does_not_count(self, model: types.Artifact) -> None:
        other = blessing(1)
        assert other is not None
        other.set_int_custom_property("current_model_id", 3)
        reason = why_not_blessed([other], model, "the Evaluator")
        assert reason == "the Evaluator blessed model 3, but this is model 7"


def blessing(blessed: int | None) -> types.Artifact | None:
    if blessed is None:
        return None
    artifact = standard_artifacts.ModelBlessing()
    artifact.set_int_custom_property("blessed", blessed)
    artifact.set_string_custom_property("outcome", "fine" if blessed else "too bad")
    return artifact


class TestNode:
    def channels(self, infra: bool) -> dict[str, Any]:
        def of(kind: Any) -> types.BaseChannel:
            return types.Channel(type=kind)

        return {
            "model": of(standard_artifacts.Model),
            "model_blessing": of(standard_artifacts.ModelBlessing),
            "infra_blessing": of(standard_artifacts.InfraBlessing) if infra else None,
        }

    @pytest.mark.parametrize("infra", [True, False])
    def test_node_requires_the_infra_blessing_if_it_is_connected(self, infra: bool) -> None:
        node = make_pusher(**self.channels(infra), base_directory="serving", code_digest="")
        assert node.id == "Pusher"
        assert node.exec_properties["needs_infra_blessing"] == int(infra)

    def test_negative_number_of_versions_is_refused(self) -> None:
        with pytest.raises(UserError, match="keep_versions"):
            make_pusher(
                **self.channels(True), base_directory="serving", keep_versions=-1, code_digest=""
            )
