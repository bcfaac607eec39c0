import pytest

from modules.contract.addresses import authority, is_loopback, local_host


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.0.2.1", False),
        ("localhost.evil.example", False),
    ],
)
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_wildcard_address_is_reached_on_loopback() -> None:
    assert [local_host(host) for host in ("0.0.0.0", "::", "", "192.0.2.1")] == [
        "127.0.0.1", "::1", "127.0.0.1", "192.0.2.1",
    ]  # fmt: skip


def test_ipv6_address_stands_in_brackets() -> None:
    assert authority("::1", 80) == "[::1]:80"
    assert authority("localhost", 80) == "localhost:80"
