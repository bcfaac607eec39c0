"""Processors of a process: its CPU affinity, limited by a container's quota."""

import os
from pathlib import Path

import pytest

from serving.server.usable_cpus import usable_cpus

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", ALL),
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("110000 100000\n", min(2, ALL)),
        ("99900000 100000\n", ALL),
        ("", ALL),
        ("100000 0\n", ALL),
    ],
)
def test_quota_limits_the_processors(tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cpus(tmp_path / "cpu.max") == expected


def test_affinity_applies_without_a_control_group(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "cpu.max") == ALL
    first = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {first})
    try:
        assert usable_cpus(tmp_path / "cpu.max") == 1
    finally:
        os.sched_setaffinity(0, before)
