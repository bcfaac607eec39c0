"""Network addresses. Standard library only."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether a name or an IP address is this machine's own; names are not resolved."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.lower() in ("localhost", "localhost.")
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def local_host(host: str) -> str:
    """Return where this machine reaches a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def authority(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
