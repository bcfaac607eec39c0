"""A version is there whole or not at all; its number rises; the same model never goes out twice."""

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
    """Both ways of pushing; TFX's fileio takes a plain path too."""
    return request.param


def export(folder: Path, content: str = "", **files: str) -> str:
    for name, text in {**FILES, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + content)
    return str(folder)


def visible(base: Path) -> list[int]:
    """What a model server sees: folders whose name is a number."""
    return sorted(int(p.name) for p in base.iterdir() if p.is_dir() and p.name.isdecimal())


def is_whole(version: Path, content: str = "") -> bool:
    return all((version / name).read_text() == text + content for name, text in FILES.items())


class TestPush:
    def test_the_first_push(self, tmp_path: Path, base: Path, destination: Any) -> None:
        before = int(time.time())
        outcome = destination.push(export(tmp_path / "m"), "model/1", str(base))
        assert outcome.pushed
        assert visible(base) == [outcome.version]
        assert before <= outcome.version <= int(time.time())
        assert outcome.destination == str(base / str(outcome.version))
        assert is_whole(base / str(outcome.version))
        manifest = json.loads((base / str(outcome.version) / MANIFEST_FILE).read_text())
        assert manifest["source"] == "model/1"

    def test_numbers_rise_within_one_second(
        self, tmp_path: Path, base: Path, destination: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "time", lambda: 1000.5)
        versions = [
            destination.push(export(tmp_path / str(i), str(i)), f"model/{i}", str(base)).version
            for i in range(3)
        ]
        assert versions == [1000, 1001, 1002]

    def test_numbers_rise_over_a_version_of_other_hands(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        export(base / "99999999999")
        outcome = destination.push(export(tmp_path / "m", "1"), "model/1", str(base))
        assert outcome.version == 100000000000

    def test_half_copied_folder_is_no_version_that_stands(self, tmp_path: Path, base: Path) -> None:
        model = export(tmp_path / "m")
        first = local.push(model, "model/1", str(base))
        half = base / str(first.version + 10)
        half.mkdir()
        again = local.push(model, "model/1", str(base), keep_versions=1)
        assert (again.pushed, again.version) == (True, first.version)
        newer = local.push(export(tmp_path / "n", "2"), "model/2", str(base), keep_versions=1)
        assert newer.version == first.version + 11
        assert visible(base) == [first.version + 10, newer.version]

    def test_an_identical_model_pushes_nothing(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        first = destination.push(export(tmp_path / "a"), "model/1", str(base))
        second = destination.push(export(tmp_path / "b"), "model/2", str(base))
        assert not second.pushed
        assert second.version is None
        assert f"identical to version {first.version}" in second.reason
        assert visible(base) == [first.version]

    def test_the_same_artifact_again_copies_nothing_and_still_stands(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        # As when the Pusher was killed after the folder was in place: the record was lost, and
        # without it the next run would not know its baseline.
        model = export(tmp_path / "m")
        first = destination.push(model, "model/1", str(base))
        again = destination.push(model, "model/1", str(base))
        assert again.pushed
        assert (again.version, again.destination) == (first.version, first.destination)
        assert "nothing was copied" in again.reason
        assert visible(base) == [first.version]

    def test_going_back_to_an_older_version_is_left_to_people(
        self, tmp_path: Path, base: Path, destination: Any
    ) -> None:
        older = export(tmp_path / "older", "1")
        first = destination.push(older, "model/1", str(base))
        second = destination.push(export(tmp_path / "newer", "2"), "model/2", str(base))
        third = destination.push(older, "model/1", str(base))
        assert not third.pushed
        assert f"move {second.version} out of" in third.reason
        assert visible(base) == [first.version, second.version]

    def test_old_versions_go(self, tmp_path: Path, base: Path, destination: Any) -> None:
        for i in range(4):
            newest = destination.push(
                export(tmp_path / str(i), str(i)), f"model/{i}", str(base), keep_versions=2
            )
        assert len(visible(base)) == 2
        assert visible(base)[-1] == newest.version

    def test_the_newest_is_never_pruned(self, tmp_path: Path, base: Path, destination: Any) -> None:
        for i in range(2):
            newest = destination.push(
                export(tmp_path / str(i), str(i)), f"model/{i}", str(base), keep_versions=1
            )
        assert visible(base) == [newest.version]


class TestLocal:
    def test_a_number_is_not_used_again_after_its_folder_is_gone(
        self, tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(time, "time", lambda: 1000.5)
        first = local.push(export(tmp_path / "a", "1"), "model/1", str(base))
        (base / str(first.version)).rename(tmp_path / "elsewhere")
        assert local.push(export(tmp_path / "b", "2"), "model/2", str(base)).version == 1001

    def test_a_model_whose_folder_was_removed_goes_out_again(
        self, tmp_path: Path, base: Path
    ) -> None:
        model = export(tmp_path / "m")
        first = local.push(model, "model/1", str(base))
        (base / str(first.version)).rename(tmp_path / "elsewhere")
        again = local.push(model, "model/1", str(base))
        assert again.pushed
        assert visible(base) == [again.version]
        assert again.version > first.version

    def test_file_names_are_part_of_what_a_model_is(self, tmp_path: Path) -> None:
        one = local.folder_fingerprint(export(tmp_path / "a"))
        two = local.folder_fingerprint(export(tmp_path / "b", **{"more": ""}))
        assert one != two

    def test_the_manifest_is_not(self, tmp_path: Path, base: Path) -> None:
        model = export(tmp_path / "m")
        outcome = local.push(model, "model/1", str(base))
        assert local.folder_fingerprint(str(base / str(outcome.version))) == outcome.fingerprint

    def test_a_base_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"pusher\.base_directory"):
            local.push(export(tmp_path / "m"), "model/1", str(tmp_path / "file" / "serving"))

    def test_a_torn_ledger_is_named(self, tmp_path: Path, base: Path) -> None:
        base.mkdir()
        (base / local.LEDGER).write_text("torn\n")
        with pytest.raises(UserError, match=r"\.pushed\.jsonl"):
            local.push(export(tmp_path / "m"), "model/1", str(base))

    def test_pushes_at_the_same_time_take_turns(self, tmp_path: Path, base: Path) -> None:
        pushes = [
            start_push(export(tmp_path / str(i), str(i)), f"model/{i}", base) for i in range(4)
        ]
        assert [push.wait(60) for push in pushes] == [0] * 4
        assert len(visible(base)) == 4
        assert all((base / str(version) / MANIFEST_FILE).is_file() for version in visible(base))


#: Where a push is killed: patches one function of ``local`` so that its n-th call is the last.
KILLS = {
    "before the first file": ("_copy_file", 1),
    "between two files": ("_copy_file", 3),
    "before files reach the disk": ("sync_folder", 1),
    "before the rename": ("os.rename", 1),
    "after the rename": ("sync_folder", 4),
    "before the ledger": ("write_text", 2),
}


class TestKilledPush:
    """SIGKILL in the middle; then the same push again, as a rerun of the pipeline does."""

    @pytest.mark.parametrize("step", KILLS)
    def test_nothing_half_is_ever_visible(self, tmp_path: Path, base: Path, step: str) -> None:
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

    def test_every_kill_reaches_its_step(self, tmp_path: Path, base: Path) -> None:
        # "after the rename" must not be a second "before the rename".
        assert kill_and_look(tmp_path, base, "before the rename") == []
        assert len(kill_and_look(tmp_path, base, "after the rename")) == 1

    def test_a_killed_pruning_hides_the_old_version_at_once(
        self, tmp_path: Path, base: Path
    ) -> None:
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
    """A push in a process of its own, which may kill itself in the middle."""
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
    def test_what_makes_a_version_loadable_comes_last(
        self, tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = []
        write = remote._write
        monkeypatch.setattr(remote, "_write", lambda p, d: (written.append(p), write(p, d)))
        remote.push(export(tmp_path / "m"), "model/1", str(base))
        assert os.path.basename(written[-1]) == "saved_model.pb"
        assert len(written) == len(FILES) + 1

    def test_a_killed_push_is_not_loadable_and_goes_away(
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

    def test_both_blessings_push(self, push: Any, base: Path) -> None:
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
            (None, 1, "the Evaluator gave no blessing"),
            (1, None, "the InfraValidator gave no blessing"),
        ],
    )
    def test_one_blessing_is_not_enough(
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

    def test_without_an_infra_validator_its_blessing_is_not_asked_for(
        self, push: Any, base: Path
    ) -> None:
        pushed = push({"model_blessing": blessing(1)}, infra=False)
        assert pushed.get_int_custom_property("pushed") == 1
        assert len(visible(base)) == 1

    def test_a_blessing_of_another_model_does_not_count(self, model: types.Artifact) -> None:
        other = blessing(1)
        assert other is not None
        other.set_int_custom_property("current_model_id", 3)
        reason = why_not_blessed([other], model, "the Evaluator")
        assert reason == "the Evaluator blessed model 3, and this is model 7"


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
    def test_it_knows_whether_infra_validation_is_on(self, infra: bool) -> None:
        node = make_pusher(**self.channels(infra), base_directory="serving", code_digest="")
        assert node.id == "Pusher"
        assert node.exec_properties["needs_infra_blessing"] == int(infra)

    def test_a_negative_number_of_versions(self) -> None:
        with pytest.raises(UserError, match="keep_versions"):
            make_pusher(
                **self.channels(True), base_directory="serving", keep_versions=-1, code_digest=""
            )
