"""The gateway's OpenAPI document as Markdown, taken from the application itself."""

import asyncio
import functools
import types
from collections.abc import Iterator
from typing import Any, cast

import httpx

from serving.gateway.application import make_application
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.parts import Parts


@functools.cache
def gateway_api() -> str:
    """Return the routes, each with its body and its responses, and the schemas."""
    document = openapi_document()
    return "\n".join([*_routes(document), *_schemas(document["components"]["schemas"])])


def openapi_document() -> dict[str, Any]:
    """Return what ``GET /openapi.json`` answers."""
    parts = types.SimpleNamespace(metrics=GatewayMetrics())  # no route of the document is called
    transport = httpx.ASGITransport(cast(Any, make_application(cast(Parts, parts))))

    async def ask() -> dict[str, Any]:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return (await client.get("/openapi.json")).json()

    return asyncio.run(ask())


def _routes(document: dict[str, Any]) -> Iterator[str]:
    yield "## Routes"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"\n### {method.upper()} {path}\n"
            yield operation.get("description", "") + "\n"
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"Body, `{kind}`: {_type(content['schema'])}.\n"
            yield from _parameters(operation.get("parameters", []))
            yield from _responses(operation["responses"])


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[str]:
    if parameters:
        yield "| parameter | in | type |\n| --- | --- | --- |"
    for each in parameters:
        required = ", required" if each.get("required") else ""
        yield f"| `{each['name']}` | {each['in']}{required} | {_type(each['schema'])} |"
    yield ""


def _responses(responses: dict[str, Any]) -> Iterator[str]:
    yield "| status | body | meaning |\n| ---: | --- | --- |"
    for status, response in responses.items():
        types_ = [_type(each.get("schema", {})) for each in response.get("content", {}).values()]
        yield f"| {status} | {', '.join(filter(None, types_))} | {response['description']} |"
    yield ""


def _schemas(schemas: dict[str, Any]) -> Iterator[str]:
    yield "## Schemas"
    for name, schema in schemas.items():
        yield f"\n### {name}\n"
        yield _one_line(schema.get("description", "")) + "\n"
        required = schema.get("required", [])
        if properties := schema.get("properties"):
            yield "| field | type | meaning |\n| --- | --- | --- |"
            for field, value in properties.items():
                mark = "" if field in required else " (optional)"
                meaning = _one_line(value.get("description", ""))
                yield f"| `{field}`{mark} | {_type(value)} | {meaning} |"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if parts := schema.get("anyOf"):
        return " or ".join(map(_type, parts))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {})) or 'any'}"
    bounds = [
        f"{words} {schema[key]}"
        for key, words in (
            ("minLength", "length from"),
            ("maxLength", "length to"),
            ("minimum", "from"),
            ("maximum", "to"),
        )
        if key in schema
    ]
    if "enum" in schema:
        bounds = ["one of " + ", ".join(f"`{value}`" for value in schema["enum"])]
    return ", ".join([schema.get("type", ""), *bounds]).strip(", ")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")
