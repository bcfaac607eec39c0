import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from cli.screens.server import print_listening
from modules.contract.errors import UserError
from serving.gateway.authentication import (
    FRESH_SECONDS,
    STALE_SECONDS,
    Authenticator,
    network_of,
)
from serving.gateway.errors import GatewayError
from serving.gateway.rate_limits import RateLimiter
from serving.gateway.server import check_keys
from serving.gateway.settings import GatewaySettings
from serving.records.api_keys import ApiKeys
from serving.records.database import Database
from tests.serving.gateway.gateways import error_of, gateway


def make_key(database: Database) -> None:
    ApiKeys(database).create("somebody", ["admin"])


def test_no_key_is_required_locally_until_one_exists(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        assert running.predict("a").status_code == 200
    with gateway(tmp_path / "b", prepare=make_key) as running:
        answer = running.predict("a")
        assert error_of(answer) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert running.client.get("/healthz").status_code == 200


def test_first_key_turns_on_authentication(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.gateway.authentication.FRESH_SECONDS", 0.0)
    with gateway(tmp_path) as running:
        assert running.predict("a").status_code == 200
        make_key(running.database)
        assert running.predict("a").status_code == 401


def test_admin_routes_need_a_key_even_on_this_machine(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        assert running.predict("a").status_code == 200
        assert running.feedback(text="a", label="good").status_code == 202
        assert running.client.get("/v1/model").status_code == 200
        review = running.client.post("/v1/reviews", json={"text": "a", "label": "bad"})
        for answer in (running.client.get("/v1/feedback"), review):
            assert error_of(answer) == (401, "unauthenticated")
            assert "--scope admin" in answer.json()["error"]["message"]
        running.become_admin()
        assert running.client.get("/v1/feedback").status_code == 200


@pytest.mark.parametrize("keyless", [True, False])
def test_start_prints_what_needs_no_key(
    capsys: pytest.CaptureFixture[str], *, keyless: bool
) -> None:
    print_listening("http://x", GatewaySettings(database_url=""), keyless=keyless)
    lines = [line for line in capsys.readouterr().out.splitlines() if "API key" in line]
    assert len(lines) == keyless
    assert all("gateway.authentication=required" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "headers"),
    [
        ({"client": ("192.0.2.1", 1)}, {}),
        ({"host": "0.0.0.0"}, {}),
        ({"authentication": "required"}, {}),
        ({}, {"x-forwarded-for": "192.0.2.1"}),
    ],
)
def test_key_is_required_outside_plain_local_access(
    tmp_path: Path, options: Any, headers: dict[str, str]
) -> None:
    with gateway(tmp_path, **options) as running:
        assert error_of(running.predict("a", headers=headers))[0] == 401


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "evil.example"}, "host_refused"),
        ({"host": "127.0.0.1.evil.example"}, "host_refused"),
        ({"host": "["}, "host_refused"),
        ({"origin": "http://evil.example"}, "origin_refused"),
        ({"origin": "null"}, "origin_refused"),
    ],
)
def test_pages_of_other_origins_are_refused(
    tmp_path: Path, headers: dict[str, str], code: str
) -> None:
    with gateway(tmp_path) as running:
        assert error_of(running.predict("a", headers=headers)) == (403, code)
        own = {"host": "localhost:8080", "origin": "http://localhost:8080"}
        assert running.predict("a", headers=own).status_code == 200


def test_each_scope_admits_only_its_routes(tmp_path: Path) -> None:
    with gateway(tmp_path, authentication="required") as running:
        predict, feedback, admin = (
            running.key(scope) for scope in ("predict", "feedback", "admin")
        )
        vote = {"text": "a", "label": "good"}
        for headers, statuses in (
            (predict, (200, 403, 403, 200)),
            (feedback, (403, 202, 403, 403)),
            (admin, (200, 202, 200, 200)),
        ):
            got = (
                running.predict("a", headers=headers).status_code,
                running.client.post("/v1/feedback", json=vote, headers=headers).status_code,
                running.client.get("/v1/feedback", headers=headers).status_code,
                running.client.get("/v1/model", headers=headers).status_code,
            )
            assert got == statuses
        secret = predict["authorization"].removeprefix("Bearer ")
        assert running.predict("a", headers={"x-api-key": secret}).status_code == 200
        request_id = running.predict("a", headers=predict).headers["x-request-id"]
        running.flush()
        assert request_id


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer nothing"},
        {"authorization": "Bearer bert_000000000000_aaaa"},
        {"authorization": "Bearer " + "a" * 5000},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer"},
        {"authorization": b"Bearer \xff\xfe"},
        {"x-api-key": ""},
    ],
)
def test_invalid_keys_are_refused(tmp_path: Path, headers: dict[str, Any]) -> None:
    with gateway(tmp_path, authentication="required") as running:
        assert error_of(running.predict("a", headers=headers)) == (401, "unauthenticated")


def test_disabled_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.gateway.authentication.FRESH_SECONDS", 0.0)
    with gateway(tmp_path, authentication="required") as running:
        headers = running.key("predict")
        assert running.predict("a", headers=headers).status_code == 200
        key_id = headers["authorization"].split("_")[1]
        ApiKeys(running.database).disable(key_id)
        assert running.predict("a", headers=headers).status_code == 401


def test_database_answers_are_cached_briefly_and_bridge_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, now = Database(f"sqlite:///{tmp_path}/records.sqlite"), 0.0
    keys = ApiKeys(database)
    authenticator = Authenticator(keys, GatewaySettings(database_url=""), clock=lambda: now)
    (used, secret), (_, other) = keys.create("me", ["predict"]), keys.create("you", ["predict"])

    def identify(secret: str) -> str:
        return asyncio.run(authenticator.identify({"x-api-key": secret}, "")).key_id

    assert identify(secret) == used.id
    assert identify(other)
    keys.disable(used.id)
    assert identify(secret) == used.id
    now += FRESH_SECONDS
    with pytest.raises(GatewayError, match="unknown or disabled"):
        identify(secret)

    def refuse(*_: object) -> Any:
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr(ApiKeys, "authenticate", refuse)
    now = STALE_SECONDS - 1
    assert identify(other)
    now = STALE_SECONDS
    with pytest.raises(GatewayError) as caught:
        identify(other)
    assert caught.value.status_code == 503
    database.close()


def test_cached_key_works_while_the_database_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.gateway.authentication.FRESH_SECONDS", 0.0)

    def refuse(*_: object) -> Any:
        raise OperationalError("", {}, Exception())

    with gateway(tmp_path, authentication="required") as running:
        known, unknown = running.key("predict"), running.key("predict")
        assert running.predict("a", headers=known).status_code == 200
        monkeypatch.setattr(ApiKeys, "authenticate", refuse)
        assert running.predict("a", headers=known).status_code == 200
        answer = running.predict("a", headers=unknown)
        assert error_of(answer) == (503, "database_unavailable")


def test_requests_over_the_rate_limit_are_refused(tmp_path: Path) -> None:
    with gateway(tmp_path, requests_per_minute=12) as running:  # a burst of two
        assert [running.predict("a").status_code for _ in range(3)] == [200, 200, 429]
        answer = running.predict("a")
        assert error_of(answer) == (429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 5
        assert running.client.get("/healthz").status_code == 200
        assert "bert_gateway_rate_limited_total 2.0" in running.client.get("/metrics").text


def test_key_guessing_is_rate_limited(tmp_path: Path) -> None:
    with gateway(tmp_path, requests_per_minute=12, authentication="required") as running:
        wrong = {"authorization": "Bearer wrong"}
        statuses = [running.predict("a", headers=wrong).status_code for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert running.predict("a", headers=running.key("predict")).status_code == 200


def test_bucket_refills_over_time() -> None:
    now = 0.0
    limiter = RateLimiter(60, clock=lambda: now)  # one a second, ten at once
    assert [limiter.take("a") for _ in range(10)] == [0.0] * 10
    assert limiter.take("a") == 1.0
    assert limiter.take("b") == 0.0
    now = 0.25
    assert limiter.take("a") == 0.75
    now = 1.0
    assert limiter.take("a") == 0.0
    now = 1000.0
    assert [limiter.take("a") > 0 for _ in range(11)] == [False] * 10 + [True]


def test_public_address_needs_a_key_at_start(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/records.sqlite")
    settings = GatewaySettings(database_url="", host="0.0.0.0")
    with pytest.raises(UserError, match=r"0\.0\.0\.0 .* no API key .*bert keys create"):
        check_keys(settings, ApiKeys(database))
    check_keys(GatewaySettings(database_url="", host="::1"), ApiKeys(database))
    make_key(database)
    check_keys(settings, ApiKeys(database))
    database.close()


def test_ipv6_network_shares_a_rate_limit() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::2")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("192.0.2.1") != network_of("192.0.2.2")


def test_loopback_addresses_share_a_rate_limit(tmp_path: Path) -> None:
    addresses = ("127.0.0.1", "127.0.0.2", "127.255.0.9", "::1", "::ffff:127.0.0.3")
    assert len({network_of(address) for address in addresses}) == 1
    with gateway(tmp_path, requests_per_minute=12) as running:  # a burst of two

        async def status(address: str) -> int:
            transport = httpx.ASGITransport(running.client.app, client=(address, 1))  # type: ignore[arg-type]
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                answer = await client.get("/v1/decisions", headers={"host": "localhost"})
                return answer.status_code

        statuses = [asyncio.run(status(address)) for address in addresses[:3]]
        assert statuses == [200, 200, 429]


@pytest.mark.parametrize(
    "hosts",
    [
        ["evil@localhost"],
        ["localhost", "localhost"],
        ["localhost", "evil.example"],
        ["localhost, evil.example"],
        ["localhost/evil.example"],
        ["evil.example#localhost"],
        ["evil.example\\localhost"],
        ["localhost evil.example"],
        [b"local\xffhost"],
    ],
)
@pytest.mark.parametrize("path", ["/v1/model", "/healthz", "/"])
def test_host_headers_that_can_be_misread_are_refused(
    tmp_path: Path, hosts: list[str | bytes], path: str
) -> None:
    with gateway(tmp_path) as running:
        answer = running.client.get(path, headers=[("host", host) for host in hosts])
        assert error_of(answer) == (400, "invalid_host")
