"""Authentication by API key, and keyless local access while no key exists."""

import asyncio
import dataclasses
import hashlib
import ipaddress
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from cachetools import TTLCache
from sqlalchemy.exc import SQLAlchemyError

from modules.contract.addresses import is_loopback
from serving.gateway.errors import GatewayError, database_away
from serving.gateway.settings import GatewaySettings
from serving.records.api_keys import ADMIN, FEEDBACK, MAX_SECRET_CHARACTERS, PREDICT, ApiKeys
from serving.records.tables import ANONYMOUS, ApiKeyRow

#: How long a cached database answer is used without asking again, and how long it is used while
#: the database is unavailable.
FRESH_SECONDS, STALE_SECONDS = 0.5, 900.0
_MAX_KNOWN = 10_000
#: Headers by which a proxy on this machine marks requests that it forwards.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
#: Scopes without a key. Never admin: a proxy that adds no header makes everybody look local.
_KEYLESS_SCOPES = frozenset({PREDICT, FEEDBACK})

_Value = TypeVar("_Value")


@dataclasses.dataclass(frozen=True)
class Identity:
    """An authenticated caller.

    Attributes:
        key_id: ``ApiKeyRow.id`` or ``ANONYMOUS``.
        scopes: granted scopes; "admin" grants all.
        bucket: the rate limit that its requests count against.
    """

    key_id: str
    scopes: frozenset[str]
    bucket: str

    def may(self, scope: str) -> bool:
        """Return whether the caller has a scope."""
        return scope in self.scopes or ADMIN in self.scopes


class Authenticator:
    """Identifies callers.

    While no key exists, a gateway on a loopback address admits programs on its own machine, for
    predictions and feedback only. From a browser it admits only pages that it served itself, by the
    ``Host`` and ``Origin`` headers: another page could resolve its own name to this machine (DNS
    rebinding), or post here.

    Args:
        keys: the API keys in the database.
        settings: the gateway's settings.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        keys: ApiKeys,
        settings: GatewaySettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._settings = settings
        self._known: _Remembered[ApiKeyRow | None] = _Remembered(clock)
        self._exist: _Remembered[bool] = _Remembered(clock)

    async def identify(self, headers: Mapping[str, str], client: str) -> Identity:
        """Return who sent a request.

        Args:
            headers: request headers, names in lower case.
            client: the client's address; "" when unknown.

        Raises:
            GatewayError: 401 or 403; 503 when the database is unavailable.
        """
        secret = _secret(headers)
        if secret is None:
            return await self._without_key(headers, client)
        if len(secret) > MAX_SECRET_CHARACTERS:
            raise _unauthenticated("the API key is too long to be valid")
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        key = await self._known.get(
            digest, lambda: asyncio.to_thread(self._keys.authenticate, secret)
        )
        if key is None:
            raise _unauthenticated("the API key is unknown or disabled")
        return Identity(key.id, frozenset(key.scopes), f"key:{key.id}")

    async def _without_key(self, headers: Mapping[str, str], client: str) -> Identity:
        if not await self._is_open(headers, client):
            raise _unauthenticated(
                "an API key is required; send Authorization: Bearer KEY, or create a key with "
                "`bert keys create`"
            )
        check_host(headers.get("host", ""), self._settings.host)
        check_origin(headers.get("origin"), headers.get("host", ""))
        return Identity(ANONYMOUS, _KEYLESS_SCOPES, f"address:{network_of(client)}")

    async def _is_open(self, headers: Mapping[str, str], client: str) -> bool:
        if not self._settings.may_admit_without_key or not is_loopback(client):
            return False
        if any(name in headers for name in _FORWARDED):
            return False
        return not await self._exist.get("", lambda: asyncio.to_thread(self._keys.exist))


def check_host(host: str, bound: str) -> None:
    """Refuse a request whose Host header does not name this machine.

    Raises:
        GatewayError: 403, the header holds another name.
    """
    name = _host_name(host)
    if not (is_loopback(name) or name == bound.lower()):
        raise GatewayError(
            403,
            "host_refused",
            "without API keys only requests to localhost are accepted; call the gateway as "
            "localhost, or create a key with `bert keys create`",
        )


def check_origin(origin: str | None, host: str) -> None:
    """Refuse a browser request from a page that the gateway did not serve.

    Raises:
        GatewayError: 403, another page sent the request.
    """
    if origin is None:
        return
    if origin.partition("://")[2].lower() != host.lower():
        raise GatewayError(
            403,
            "origin_refused",
            "without API keys only the gateway's own page may call it from a browser; create a "
            "key with `bert keys create`",
        )


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _secret(headers: Mapping[str, str]) -> str | None:
    """Return the API key of a request; None without one.

    Raises:
        GatewayError: 401, the Authorization header holds no bearer key.
    """
    authorization = headers.get("authorization")
    if authorization is None:
        return headers.get("x-api-key")
    scheme, _, secret = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise _unauthenticated("the API key must be sent as Authorization: Bearer KEY")
    return secret.strip()


def _unauthenticated(message: str) -> GatewayError:
    return GatewayError(401, "unauthenticated", message)


def network_of(client: str) -> str:
    """Return the network that shares a rate limit.

    An IPv6 caller owns a whole /64, and a program on this machine all loopback addresses.
    """
    if is_loopback(client):
        return "localhost"
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if address.version == 6:
        return str(ipaddress.ip_network(f"{address}/64", strict=False))
    return client


class _Remembered(Generic[_Value]):
    """A cache of database answers that lives longer while the database is unavailable."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: TTLCache[str, tuple[_Value, float]] = TTLCache(
            _MAX_KNOWN, STALE_SECONDS, clock
        )

    async def get(self, name: str, ask: Callable[[], Awaitable[_Value]]) -> _Value:
        known = self._answers.get(name)
        if known and self._clock() - known[1] < FRESH_SECONDS:
            return known[0]
        try:
            value = await ask()
        except SQLAlchemyError as error:
            if known:
                return known[0]
            raise database_away() from error
        self._answers[name] = (value, self._clock())
        return value
