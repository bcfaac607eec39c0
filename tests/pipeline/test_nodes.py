"""Names of nodes are checked before anything is built."""

import pytest

from modules.contract.errors import UserError
from pipeline.config import load
from pipeline.nodes import check_node


def test_a_node_of_the_graph_is_taken() -> None:
    config = load(environ={})
    check_node("--from", "Trainer", config)
    check_node("--to", None, config)


def test_a_misspelt_node_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean --from Trainer\?"):
        check_node("--from", "Trainr", load(environ={}))


def test_a_node_that_is_off_is_refused() -> None:
    with pytest.raises(UserError, match=r"--to: legal are ExampleGen, .*; received 'Tuner'"):
        check_node("--to", "Tuner", load(environ={}))
