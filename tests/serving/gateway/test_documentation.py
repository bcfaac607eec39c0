"""docs/gateway.md names each metric and each error code."""

import re
from pathlib import Path

from serving.feedback import errors as feedback_errors
from serving.gateway.metrics import GatewayMetrics

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs" / "gateway.md").read_text("utf-8")


def test_each_metric_is_documented() -> None:
    text = GatewayMetrics().page().decode()
    names = set(re.findall(r"^# TYPE (bert_gateway_\w+) ", text, re.MULTILINE))
    names = {name for name in names if not name.endswith("_created")}
    assert names == set(re.findall(r"`(bert_gateway_\w+)`", PAGE))


def test_each_error_code_is_documented() -> None:
    folder = REPOSITORY / "serving" / "gateway"
    source = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    codes = set(re.findall(r'GatewayError\(\s*\d{3},\s*"(\w+)"', source))
    codes |= {
        kind.code
        for kind in feedback_errors.FeedbackError.__subclasses__()
        if hasattr(kind, "code")
    }
    assert len(codes) > 15
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
