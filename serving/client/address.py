"""Where a server is: ``http://127.0.0.1:8501``, ``grpcs://models.example:443``."""

import dataclasses
import urllib.parse

from modules.contract.addresses import authority, is_loopback
from modules.contract.errors import UserError

_DEFAULT_PORTS = {"http": 8501, "https": 443, "grpc": 8500, "grpcs": 443}
_LEGAL = "http://HOST:8501, https://HOST, grpc://HOST:8500 or grpcs://HOST"


@dataclasses.dataclass(frozen=True)
class Address:
    """A parsed URL.

    Attributes:
        scheme: http, https, grpc or grpcs.
        host: name or IP address, without brackets.
        port: its own, or the scheme's: 8501 of http, 8500 of grpc, 443 with TLS.
        path: of http(s): what stands before ``/v1``, without a slash at its end.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def is_grpc(self) -> bool:
        """Whether it speaks gRPC, not REST."""
        return self.scheme.startswith("grpc")

    @property
    def is_secure(self) -> bool:
        """Whether TLS wraps it."""
        return self.scheme.endswith("s")

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, which no proxy can reach."""
        return is_loopback(self.host)

    @property
    def authority(self) -> str:
        """``host:port``, IPv6 addresses in brackets."""
        return authority(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_address(url: str) -> Address:
    """Parse a server's URL.

    Raises:
        UserError: it is none.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"{url!r} is no URL of a server ({error}); write {_LEGAL}") from error
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise UserError(f"{url!r} is no URL of a server; write {_LEGAL}")
    if parts.username is not None or parts.password is not None:
        raise UserError("a URL holds no password; give a header, authorization=...")
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or (path and parts.scheme.startswith("grpc")):
        raise UserError(f"{url!r} has more than a host and a port; write {_LEGAL}")
    if path.endswith("/v1") or "/v1/" in path:
        raise UserError(f"{url!r} names a route; leave away /v1 and what follows it")
    return Address(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], path)
