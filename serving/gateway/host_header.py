"""The ``Host`` header of a request: at most one, and of legal form."""

import re
from collections.abc import Iterable

#: Host and port as in RFC 9112, section 3.2: no user name, path, or list of hosts.
_LEGAL = re.compile(rb"[A-Za-z0-9._~%!$&'()*+;=\[\]:-]*")


def is_legal(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request's raw headers name no host, or one in legal form."""
    hosts = [value for name, value in headers if name.lower() == b"host"]
    return not hosts or (len(hosts) == 1 and _LEGAL.fullmatch(hosts[0]) is not None)
