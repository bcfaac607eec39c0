"""Every TOML block in the documentation loads as a config."""

import re
from pathlib import Path

import pytest

from pipeline.config import load

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(), re.S), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_toml_block_loads(tmp_path: Path, block: str) -> None:
    file = tmp_path / "block.toml"
    file.write_text(block)
    load(str(file), environ={})
