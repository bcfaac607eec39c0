"""The OpenAPI document as a plain HTML page that needs no network and no script."""

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2rem; } code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8884; border-radius: .5rem; }
table { border-collapse: collapse; } td { padding: .15rem 1rem .15rem 0; vertical-align: top; }
"""


def docs_html(document: dict[str, Any]) -> str:
    """Return a page that lists each route with its body and its responses.

    Args:
        document: an OpenAPI 3 document.
    """
    title = escape(document["info"]["title"])
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}: API</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1><p>{_prose(document['info']['description'])}</p>",
            '<p><a href="/openapi.json">openapi.json</a> is the same document for programs. '
            '<a href="/">Try the model</a></p>',
            *_routes(document),
            *_schemas(document),
            "</body></html>",
        ]
    )


def _routes(document: dict[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            for paragraph in operation.get("description", "").split("\n\n"):
                yield f"<p>{_prose(paragraph)}</p>"
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"<p>Request body ({escape(kind)}): {_names(content['schema'])}</p>"
            for parameter in operation.get("parameters", ()):
                yield f"<p>Parameter <code>{escape(parameter['name'])}</code></p>"
            yield "<table>"
            for status, answer in operation["responses"].items():
                schemas = [each.get("schema", {}) for each in answer.get("content", {}).values()]
                names = ", ".join(filter(None, map(_names, schemas)))
                words = escape(answer["description"])
                yield f"<tr><td>{status}</td><td>{names}</td><td>{words}</td></tr>"
            yield "</table>"


def _schemas(document: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        yield f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3><pre>{text}</pre>'


def _prose(text: str) -> str:
    """Return the text as HTML, with quoted code in ``code`` elements."""
    return re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", escape(text))


def _names(schema: dict[str, Any]) -> str:
    """Return links to the named schemas; "" without any."""
    parts = schema.get("anyOf", [schema])
    names = [part["$ref"].rpartition("/")[2] for part in parts if "$ref" in part]
    return " or ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)
