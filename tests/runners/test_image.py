"""The Dockerfile and its build script, without Docker: another test lane runs the same steps."""

import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from cli.versions import COMMIT_VARIABLE
from pipeline.config import load

REPOSITORY = Path(__file__).resolve().parents[2]
LINES = (REPOSITORY / "Dockerfile").read_text("utf-8").replace("\\\n", "").splitlines()
INSTRUCTIONS = [line.split(None, 1) for line in LINES if line and not line.startswith("#")]


def arguments(name: str) -> list[str]:
    return [rest for word, rest in INSTRUCTIONS if word == name]


def final_stages() -> dict[str, list[str]]:
    """Return the lines of the stages that users build, by stage."""
    stages: dict[str, list[str]] = {}
    name = ""
    for word, rest in INSTRUCTIONS:
        if word == "FROM":
            name = rest.split(" AS ")[1]
            stages[name] = []
        stages[name].append(f"{word} {rest}")
    return {name: stages[name] for name in ("cpu", "gpu")}


def test_base_is_pinned() -> None:
    names = {rest.split(" AS ")[1] for rest in arguments("FROM")}
    bases = {rest.split()[0] for rest in arguments("FROM")} - names
    assert len(bases) == 1
    assert re.fullmatch(r"debian:13\.\d+-slim", bases.pop())
    assert ":latest" not in "\n".join(LINES)


@pytest.mark.parametrize("stage", ["cpu", "gpu"])
def test_stage_holds_the_repository_and_runs_as_a_numbered_account(stage: str) -> None:
    lines = final_stages()[stage]
    assert "COPY . ." in lines
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", lines[-1])
    assert "LABEL org.opencontainers.image.revision=$COMMIT" in lines
    assert f"ENV {COMMIT_VARIABLE}=$COMMIT" in lines


def test_every_command_is_a_step_that_the_debian_lane_runs_too() -> None:
    commands = [part.strip() for rest in arguments("RUN") for part in rest.split("&&")]
    steps = {part for part in commands if part != "rm -rf .cache"}
    assert steps == {
        "scripts/image_steps.sh install build",
        "scripts/image_steps.sh install runtime",
        "scripts/image_steps.sh environment",
        "scripts/image_steps.sh environment gpu",
        "scripts/image_steps.sh user",
    }
    lane = (REPOSITORY / "scripts" / "debian13_lane.sh").read_text("utf-8")
    for step in ("packages build", "environment", "user"):
        assert f"scripts/image_steps.sh {step}" in lane


def test_repository_is_in_the_configured_directory() -> None:
    assert set(arguments("WORKDIR")) == {load(environ={}).image.directory}


def test_account_is_the_one_that_the_steps_create() -> None:
    script = (REPOSITORY / "scripts" / "image_steps.sh").read_text("utf-8")
    [number] = re.findall(r"^ID=(\d+)$", script, re.MULTILINE)
    assert set(arguments("USER")) == {f"{number}:{number}"}


def test_steps_name_their_packages() -> None:
    done = subprocess.run(
        [REPOSITORY / "scripts" / "image_steps.sh", "packages", "build"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"python3", "python3-dev", "g++"} <= set(done.stdout.split())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a repository with one commit, and a ``docker`` that records its input and arguments."""
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    for name in ("scripts/build_image.sh", "Dockerfile"):
        (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    (folder / "scripts" / "build_image.sh").chmod(0o755)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\ncat >{tmp_path}/context.tar\necho "$@" >{tmp_path}/words\n')
    docker.chmod(0o755)
    return folder


def build(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts" / "build_image.sh", *words],
        env={**os.environ, "PATH": f"{checkout.parent}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_image_is_built_from_the_commit_and_named_by_it(checkout: Path) -> None:
    (checkout / "untracked.txt").write_text("not in the image")
    done = build(checkout, "registry.example.com/bert", "gpu")
    assert done.returncode == 0, done.stderr
    words = (checkout.parent / "words").read_text()
    assert re.search(r"--target gpu .*--tag registry\.example\.com/bert:[0-9a-f]{12}-gpu -", words)
    with tarfile.open(checkout.parent / "context.tar") as context:
        assert "untracked.txt" not in context.getnames()
        assert "Dockerfile" in context.getnames()


def test_uncommitted_changes_are_refused(checkout: Path) -> None:
    (checkout / "Dockerfile").write_text("FROM scratch\n")
    done = build(checkout, "registry.example.com/bert")
    assert done.returncode == 2
    assert "uncommitted changes" in done.stderr
    assert not (checkout.parent / "words").exists()


@pytest.mark.parametrize("words", [[], ["registry.example.com/bert:latest"], ["r/bert", "tpu"]])
def test_invalid_arguments_are_refused(checkout: Path, words: list[str]) -> None:
    assert build(checkout, *words).returncode == 2
    assert not (checkout.parent / "words").exists()
