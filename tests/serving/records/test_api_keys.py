import hmac

import pytest
from sqlalchemy import select

from modules.contract.errors import UserError
from serving.records import api_keys as keys_module
from serving.records.api_keys import ADMIN, FEEDBACK, PREDICT, ApiKeys
from serving.records.database import Database
from serving.records.tables import ApiKeyRow


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database)


def test_key_is_identified_only_by_its_secret(keys: ApiKeys) -> None:
    key, secret = keys.create(" the site ", [FEEDBACK, PREDICT, PREDICT])
    assert (key.name, key.scopes) == ("the site", [PREDICT, FEEDBACK])
    assert secret.startswith(f"bert_{key.id}_")
    found = keys.authenticate(secret)
    assert found is not None
    assert found.id == key.id
    for wrong in (
        "",
        key.id,
        secret[:-1],
        secret + "x",
        secret.upper(),
        "bert__",
        "\x00",
        "ä" * 50,
    ):
        assert keys.authenticate(wrong) is None, wrong


def test_secret_is_not_stored(keys: ApiKeys, database: Database) -> None:
    key, secret = keys.create("me", [ADMIN])
    random = secret.removeprefix(f"bert_{key.id}_")
    with database.read() as session:
        row = session.execute(select(ApiKeyRow.__table__)).one()
    assert len(random) >= 32
    assert random not in repr(tuple(row))


def test_secret_with_another_id_is_refused(keys: ApiKeys) -> None:
    first, secret = keys.create("first", [PREDICT])
    second, _ = keys.create("second", [ADMIN])
    assert keys.authenticate(secret.replace(first.id, second.id)) is None


def test_secrets_are_compared_in_constant_time(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, real = [], hmac.compare_digest

    def compare(kept: bytes, given: bytes) -> bool:
        compared.append((len(kept), len(given)))
        return real(kept, given)

    monkeypatch.setattr(keys_module.hmac, "compare_digest", compare)
    keys.create("me", [PREDICT])
    assert keys.authenticate("bert_000000000000_x") is None
    assert compared == [(32, 32)], "even if the id does not exist"


def test_disabled_key_ends_at_once(keys: ApiKeys, database: Database) -> None:
    other_process = ApiKeys(database)
    key, secret = keys.create("me", [PREDICT])
    assert other_process.authenticate(secret) is not None
    disabled = keys.disable(key.id).disabled
    assert keys.disable(key.id).disabled == disabled, "the first time is kept"
    assert keys.authenticate(secret) is None
    assert other_process.authenticate(secret) is None


def test_exist_counts_disabled_keys(keys: ApiKeys) -> None:
    assert not keys.exist()
    key, _ = keys.create("me", [PREDICT])
    assert keys.exist()
    keys.disable(key.id)
    assert keys.exist(), "a disabled key still counts"


def test_list_is_in_the_order_of_creation(keys: ApiKeys) -> None:
    made = [keys.create(name, [PREDICT])[0].id for name in ("c", "a", "b")]
    assert [key.id for key in keys.list()] == made


@pytest.mark.parametrize(
    ("name", "scopes", "message"),
    [
        ("", [PREDICT], "1 to 200 printable characters"),
        ("a\nb", [PREDICT], "printable"),
        ("me", [], "at least one of predict, feedback, admin; received none"),
        ("me", ["predcit"], "at least one of predict, feedback, admin; received 'predcit'"),
    ],
)
def test_invalid_names_and_scopes_are_refused(
    keys: ApiKeys, name: str, scopes: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        keys.create(name, scopes)
    assert not keys.exist()


def test_disabling_an_unknown_key_is_an_error(keys: ApiKeys) -> None:
    with pytest.raises(UserError, match="bert keys list"):
        keys.disable("nobody")
