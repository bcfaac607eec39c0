"""Request bodies: limits on size and time, JSON validation, and checks of texts."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

from serving.gateway.errors import GatewayError
from serving.gateway.settings import GatewaySettings

_Body = TypeVar("_Body")

JSON_TYPE = "application/json"
#: How much of a problem's location an error message shows.
_SHOWN_PARTS, _SHOWN_CHARACTERS = 4, 40


async def read_json(
    request: Request, adapter: TypeAdapter[_Body], settings: GatewaySettings
) -> _Body:
    """Read and validate a JSON body.

    Raises:
        GatewayError: the body is too large, too slow, not JSON, or does not match the schema.
    """
    check_type(request, (JSON_TYPE,))
    body = await read_bytes(request, settings)
    return parse(body, adapter)


def parse(body: bytes | bytearray, adapter: TypeAdapter[_Body]) -> _Body:
    """Parse and validate JSON; pydantic's parser refuses lone surrogates and deep nesting.

    Raises:
        GatewayError: the body is not JSON, or does not match the schema.
    """
    try:
        return adapter.validate_json(bytes(body))
    except ValidationError as error:
        raise _explained(error) from None  # its context holds the caller's text


def check_type(request: Request, legal: Sequence[str]) -> None:
    """Refuse other content types: any web page can send forms and plain text.

    Raises:
        GatewayError: 415, the body has another type or is compressed.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in legal:
        words = " or ".join(legal)
        raise GatewayError(415, "unsupported_media_type", f"the content-type must be {words}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        message = "compressed bodies are not accepted; send the body without Content-Encoding"
        raise GatewayError(415, "unsupported_media_type", message)


async def read_bytes(request: Request, settings: GatewaySettings) -> bytearray:
    """Read the body, enforcing its limit while it arrives.

    Raises:
        GatewayError: the body is too large, too slow, or incomplete.
    """
    limit = settings.max_body_bytes
    length = request.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > limit):
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.timeout_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise GatewayError(
            408, "body_too_slow", f"the body did not arrive within {settings.timeout_seconds:g} s"
        ) from error
    except ClientDisconnect as error:
        raise GatewayError(400, "client_left", "the body is incomplete") from error
    return body


def check_texts(texts: Sequence[str], settings: GatewaySettings) -> None:
    """Check the number, lengths and characters of texts.

    Raises:
        GatewayError: 422, a limit is exceeded or a text contains a NUL character.
    """
    if len(texts) > settings.max_texts:
        raise GatewayError(
            422,
            "too_many_texts",
            f"a request may have at most {settings.max_texts} texts, not {len(texts)}; send them "
            "to /v1/predict/stream, which takes any number",
        )
    for position, text in enumerate(texts):
        check_text(text, settings, f"text {position}" if len(texts) > 1 else "the text")


def check_text(text: str, settings: GatewaySettings, name: str = "the text") -> None:
    """Check the length and characters of one text.

    Raises:
        GatewayError: 422, as for ``check_texts``.
    """
    if len(text) > settings.max_text_characters:
        raise GatewayError(
            422,
            "text_too_long",
            f"{name} has {len(text)} characters; at most {settings.max_text_characters} are "
            "allowed",
        )
    check_characters(text, name)


def check_characters(text: str, name: str) -> None:
    r"""Refuse ``\0``, which PostgreSQL cannot store.

    Raises:
        GatewayError: 422, the text contains one.
    """
    if "\0" in text:
        raise GatewayError(422, "invalid_text", f"{name} contains a NUL character; remove it")


def _too_large(limit: int) -> GatewayError:
    return GatewayError(413, "body_too_large", f"the body is larger than {limit} bytes")


def _explained(error: ValidationError) -> GatewayError:
    """Return the first problem as one line, without the received value."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if problem["type"] == "json_invalid":
        return GatewayError(400, "invalid_json", problem["msg"])
    message = problem["msg"].removeprefix("Value error, ")
    parts = [str(part)[:_SHOWN_CHARACTERS] for part in problem["loc"][:_SHOWN_PARTS]]
    place = ".".join(part for part in parts if part not in ("VoteBody", "VoteBatchBody"))
    shown = f"{place}: {message}" if place else message
    return GatewayError(422, "invalid_request", shown.encode("utf-8", "replace").decode())
