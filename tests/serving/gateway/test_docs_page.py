"""The pages for people: what /docs lists, and which scripts and styles may run."""

import base64
import hashlib
import re
from pathlib import Path

from serving.gateway.docs_page import docs_html
from tests.serving.gateway.gateways import gateway


def test_every_route_and_schema_of_the_document_is_listed(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        document = running.client.get("/openapi.json").json()
        page = running.client.get("/docs").text
        assert running.client.get("/openapi.json").json() == document
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert f"<h2><code>{method.upper()} {path}</code></h2>" in page
            for parameter in operation.get("parameters", ()):
                assert f"Parameter <code>{parameter['name']}</code>" in page
    schemas = set(document["components"]["schemas"])
    assert set(re.findall(r'<h3 id="([^"]+)">', page)) == schemas
    assert set(re.findall(r'href="#([^"]+)"', page)) <= schemas


def test_security_policy_allows_the_pages_own_style_and_script(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        answers = [running.client.get(path) for path in ("/", "/docs")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        for element in ("script", "style"):
            for content in re.findall(rf"<{element}>(.*?)</{element}>", answer.text, re.DOTALL):
                digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
                assert f"'sha256-{digest}'" in policy
    assert "script-src 'none'" in answers[1].headers["content-security-policy"]


def test_names_in_the_document_are_escaped_and_alternatives_are_joined() -> None:
    body = {"anyOf": [{"$ref": "#/components/schemas/One"}, {"$ref": "#/components/schemas/Two"}]}
    answer = {"description": "a & b", "content": {"application/json": {"schema": body}}}
    operation = {
        "description": "First <one>.\n\nSecond ``<two>``, `three`.",
        "requestBody": {"content": {"application/json": {"schema": body}}},
        "parameters": [{"name": "<limit>"}],
        "responses": {"200": answer, "204": {"description": "nothing"}},
    }
    document = {
        "info": {"title": "A <title>", "description": "words"},
        "paths": {"/v1/{id}": {"post": operation}},
        "components": {"schemas": {"One": {"const": "<"}, "Two": {}}},
    }
    page = docs_html(document)
    assert (
        "<p>First &lt;one&gt;.</p>\n<p>Second <code>&lt;two&gt;</code>, <code>three</code>.</p>"
        in page
    )
    assert '<a href="#One">One</a> or <a href="#Two">Two</a>' in page
    assert "<tr><td>204</td><td></td><td>nothing</td></tr>" in page
    assert "a &amp; b" in page
    assert "<limit>" not in page
    assert "<title>" not in page.replace("<title>A &lt;title&gt;", "")
