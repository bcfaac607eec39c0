"""Server URLs, such as ``http://127.0.0.1:8501`` and ``grpcs://models.example:443``."""

import dataclasses
import urllib.parse

from modules.contract.addresses import authority, is_loopback
from modules.contract.errors import UserError

_DEFAULT_PORTS = {"http": 8501, "https": 443, "grpc": 8500, "grpcs": 443}
_LEGAL = "http://HOST:8501, https://HOST, grpc://HOST:8500 or grpcs://HOST"


@dataclasses.dataclass(frozen=True)
class Address:
    """A parsed server URL.

    Attributes:
        scheme: http, https, grpc or grpcs.
        host: host name or IP address, without brackets.
        port: the port in the URL, or the scheme's default: 8501 for http, 8500 for grpc, 443 with
            TLS.
        path: for http(s), the path before ``/v1``, without a trailing slash.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def is_grpc(self) -> bool:
        """Whether the server is called over gRPC rather than REST."""
        return self.scheme.startswith("grpc")

    @property
    def is_secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme.endswith("s")

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine, which no proxy can reach."""
        return is_loopback(self.host)

    @property
    def authority(self) -> str:
        """``host:port``, with brackets around IPv6 addresses."""
        return authority(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_address(url: str) -> Address:
    """Parse a server's URL.

    Raises:
        UserError: ``url`` is not a valid server URL.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"{url!r} is not a server URL ({error}); write {_LEGAL}") from error
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise UserError(f"{url!r} is not a server URL; write {_LEGAL}")
    if parts.username is not None or parts.password is not None:
        raise UserError("a server URL must not contain a password; send an authorization header")
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or (path and parts.scheme.startswith("grpc")):
        raise UserError(f"{url!r} must name only a server, without a query; write {_LEGAL}")
    if path.endswith("/v1") or "/v1/" in path:
        raise UserError(f"{url!r} names a route; leave out /v1 and everything after it")
    return Address(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)
