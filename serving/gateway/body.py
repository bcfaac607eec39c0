"""Reads what a caller sends, within its limits."""

import asyncio
from collections.abc import Sequence
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

from serving.gateway.errors import GatewayError
from serving.gateway.settings import GatewaySettings

_Body = TypeVar("_Body")

JSON_TYPE = "application/json"
#: Where in the body a problem is, as far as that is worth telling.
_SHOWN_PARTS, _SHOWN_CHARACTERS = 4, 40


async def read_json(
    request: Request, adapter: TypeAdapter[_Body], settings: GatewaySettings
) -> _Body:
    """The body, checked.

    Raises:
        GatewayError: it is too large, too slow, no JSON, or not what the schema says.
    """
    check_type(request, (JSON_TYPE,))
    body = await read_bytes(request, settings)
    return parse(body, adapter)


def parse(body: bytes | bytearray, adapter: TypeAdapter[_Body]) -> _Body:
    """Parse and check JSON; pydantic's parser refuses half characters and deep nesting.

    Raises:
        GatewayError: it is no JSON, or not what the schema says.
    """
    try:
        return adapter.validate_json(bytes(body))
    except ValidationError as error:
        raise _explained(error) from None  # its context holds the caller's text


def check_type(request: Request, legal: Sequence[str]) -> None:
    """Refuse other content types: forms and plain text could be sent by any web page.

    Raises:
        GatewayError: it is another type, or packed.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in legal:
        words = " or ".join(legal)
        raise GatewayError(415, "unsupported_media_type", f"the content-type must be {words}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise GatewayError(415, "unsupported_media_type", "a packed body is not taken")


async def read_bytes(request: Request, settings: GatewaySettings) -> bytearray:
    """The body, counted while it comes.

    Raises:
        GatewayError: it is too large or too slow.
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
        raise GatewayError(400, "client_left", "the body ended too early") from error
    return body


def check_texts(texts: Sequence[str], settings: GatewaySettings) -> None:
    """Check number, lengths and characters of texts.

    Raises:
        GatewayError: a limit is passed, or a text holds a NUL character.
    """
    if len(texts) > settings.max_texts:
        raise GatewayError(
            422,
            "too_many_texts",
            f"at most {settings.max_texts} texts in a request, not {len(texts)}; "
            "/v1/predict/stream takes any number",
        )
    for position, text in enumerate(texts):
        check_text(text, settings, f"text {position}" if len(texts) > 1 else "the text")


def check_text(text: str, settings: GatewaySettings, name: str = "the text") -> None:
    """Check one text. See ``check_texts``."""
    if len(text) > settings.max_text_characters:
        raise GatewayError(
            422,
            "text_too_long",
            f"{name} has {len(text)} characters; at most {settings.max_text_characters} are taken",
        )
    check_characters(text, name)


def check_characters(text: str, name: str) -> None:
    r"""Refuse ``\0``, which PostgreSQL cannot keep.

    Raises:
        GatewayError: there is one.
    """
    if "\0" in text:
        raise GatewayError(422, "invalid_text", f"{name} holds a NUL character")


def _too_large(limit: int) -> GatewayError:
    return GatewayError(413, "body_too_large", f"the body is larger than {limit} bytes")


def _explained(error: ValidationError) -> GatewayError:
    """The first problem as one line; never what was received."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if problem["type"] == "json_invalid":
        return GatewayError(400, "invalid_json", problem["msg"])
    message = problem["msg"].removeprefix("Value error, ")
    parts = [str(part)[:_SHOWN_CHARACTERS] for part in problem["loc"][:_SHOWN_PARTS]]
    place = ".".join(part for part in parts if part not in ("VoteBody", "VoteBatchBody"))
    shown = f"{place}: {message}" if place else message
    return GatewayError(422, "invalid_request", shown.encode("utf-8", "replace").decode())
