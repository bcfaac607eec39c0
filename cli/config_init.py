"""Writes a commented config for data that nobody has described yet."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from data.column_detection import DataProfile, inspect_data
from modules.contract.atomic_file import write_text
from modules.contract.errors import DataError, UserError
from pipeline.config import load
from pipeline.toml_text import toml_value

_LENGTHS = (32, 64, 128, 256, 512)
#: Word pieces a word of English text, measured on reviews; start and end come on top.
_TOKENS_A_WORD = 1.35
#: The most frequent class may have this many times the examples of the rarest before it matters.
_IMBALANCE = 3
#: A class with fewer examples leaves next to none for eval and test.
_FEW = 20
_SHOWN_LABELS = 20


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What the config will say, and what speaks for it.

    Attributes:
        profile: what a look at the data found.
        text_column: holds the text.
        label_column: holds the label.
        labels: label -> examples, the most frequent first.
        slice_columns: columns to report on by value.
        name: pipeline name, made from the file's.
    """

    profile: DataProfile
    text_column: str
    label_column: str
    labels: Mapping[str, int]
    slice_columns: tuple[str, ...]
    name: str

    @property
    def balanced(self) -> bool:
        """Whether no class is much rarer than another."""
        counts = self.labels.values()
        return max(counts) <= _IMBALANCE * min(counts)

    @property
    def max_length(self) -> int:
        """Tokens that hold 95 of 100 texts whole, as far as an encoder goes."""
        needed = self.profile.words.get(95, 0) * _TOKENS_A_WORD + 2
        return next((length for length in _LENGTHS if needed <= length), _LENGTHS[-1])


def propose(path: str, text_column: str | None = None, label_column: str | None = None) -> Proposal:
    """Look at the data and choose.

    Args:
        path: a CSV, JSONL or Parquet file, or a folder of class folders.
        text_column: the text's column where the look would find another.
        label_column: the label's column where the look would find another.

    Raises:
        UserError: the data cannot be read, or a column is not to be found.
    """
    profile = inspect_data(path)
    text = _column(profile, "text", text_column, profile.text_column)
    label = _column(profile, "label", label_column, profile.label_column)
    labels = next(column.counts for column in profile.columns if column.name == label)
    if len(labels) < 2 or sum(labels.values()) < 2 * len(labels):
        found = f"{len(labels)} different values" if labels else "too many different values"
        raise DataError(
            f"{path}: column {label!r} has {found} in {profile.rows} rows, which makes no classes; "
            "name another: --label-column NAME"
        )
    slices = tuple(name for name in profile.slice_columns if name not in (text, label))
    return Proposal(profile, text, label, labels, slices, _pipeline_name(path))


def write_config(proposal: Proposal, destination: Path, *, force: bool = False) -> None:
    """Write the proposed config, once it is known to load.

    Raises:
        UserError: the file exists and ``force`` is off, or it cannot be written.
    """
    if destination.exists() and not force:
        raise UserError(f"{destination} exists; write elsewhere (-o FILE) or over it (--force)")
    try:
        write_text(destination, render(proposal))
    except OSError as error:
        raise UserError(f"{destination} cannot be written ({error.strerror}); -o FILE") from error
    load(destination, environ={})


def render(proposal: Proposal) -> str:
    """The config as commented TOML."""
    profile, labels = proposal.profile, proposal.labels
    counts = ", ".join(f"{label} {count}" for label, count in list(labels.items())[:_SHOWN_LABELS])
    more = f" and {len(labels) - _SHOWN_LABELS} more" if len(labels) > _SHOWN_LABELS else ""
    looked = f"all {profile.rows}" if profile.complete else f"the first {profile.rows}"
    percentiles = ", ".join(
        f"{'longest' if percent == 100 else f'{percent}%'} {words}"
        for percent, words in profile.words.items()
    )
    lines = [
        f"# Made by `bert config init` from {looked} rows; {profile.bad_rows} could not be read.",
        "# Keys that are not here keep their defaults: `bert config show` lists them all.",
        "",
        "[data]",
        f"path = {toml_value(profile.path)}",
        f"text_column = {toml_value(proposal.text_column)}",
        f"label_column = {toml_value(proposal.label_column)}",
        *_comment(f"Examples: {counts}{more}."),
        *_comment(
            *(f"Few examples: {label} {count}." for label, count in labels.items() if count < _FEW)
        ),
        "# Uncomment to refuse any other label:",
        f"# labels = {toml_value(list(labels))}",
        "# The Evaluator reports on each value of these columns.",
        f"slice_columns = {toml_value(proposal.slice_columns)}",
        "",
        "[pipeline]",
        f"name = {toml_value(proposal.name)}",
        f"root = {toml_value(f'pipeline_root/{proposal.name}')}",
        "",
        "[trainer]",
        *_comment(f"Words a text: {percentiles}. A word is about {_TOKENS_A_WORD} tokens."),
        f"max_length = {proposal.max_length}",
        f"# The largest class has {max(labels.values())} examples, the smallest "
        f"{min(labels.values())}.",
        f"class_weights = {toml_value('none' if proposal.balanced else 'balanced')}",
        "epochs = 3",
        "",
        "[evaluator]",
        f"metric = {toml_value('accuracy' if proposal.balanced else 'macro_f1')}",
        "# No floors: a model must beat the answer that always names the largest class.",
        '# A floor reads {metric = "accuracy", min = 0.8}.',
        "floors = []",
        "",
        "[pusher]",
        f"base_directory = {toml_value(f'serving_models/{proposal.name}')}",
    ]
    return "\n".join(lines) + "\n"


def _column(profile: DataProfile, role: str, named: str | None, detected: str | None) -> str:
    names = [column.name for column in profile.columns]
    found = named or detected
    if found in names:
        return found
    problem = f"has no column {named!r}" if named else f"has no column that looks like the {role}"
    raise DataError(
        f"{profile.path} {problem}; columns are {', '.join(names)}: --{role}-column NAME"
    )


def _pipeline_name(path: str) -> str:
    stem = Path(path).name.partition(".")[0]
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return name[:60] if re.match(r"[a-z]", name) else f"data_{name}"[:60].rstrip("_")


def _comment(*texts: str) -> list[str]:
    # A label may hold any character; a comment ends at a line break.
    return [f"# {' '.join(text.split())}" for text in texts]
