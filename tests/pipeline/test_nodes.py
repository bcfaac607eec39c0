"""Validation of node names without building the graph."""

import pytest

from modules.contract.errors import UserError
from pipeline.config import load
from pipeline.nodes import check_node


def test_node_of_the_graph_is_accepted() -> None:
    config = load(environ={})
    check_node("--from", "Trainer", config)
    check_node("--to", None, config)


def test_misspelt_node_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"did you mean --from Trainer\?"):
        check_node("--from", "Trainr", load(environ={}))


def test_disabled_node_is_rejected() -> None:
    with pytest.raises(UserError, match=r"--to: must be one of ExampleGen, .*; received 'Tuner'"):
        check_node("--to", "Tuner", load(environ={}))
