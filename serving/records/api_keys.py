"""API keys of the gateway: ``bert_<id>_<random>``, of which only a digest is stored."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Collection
from typing import Final

from sqlalchemy import select

from modules.contract.errors import UserError
from serving.records.database import Database
from serving.records.tables import ApiKeyRow

PREDICT: Final = "predict"
FEEDBACK: Final = "feedback"
ADMIN: Final = "admin"
SCOPES: Final = (PREDICT, FEEDBACK, ADMIN)

#: Longer secrets are not keys.
MAX_SECRET_CHARACTERS: Final = 200

_PREFIX = "bert"
_MAX_NAME_CHARACTERS = 200
_ID_BYTES = 6
_RANDOM_BYTES = 24
_NO_DIGEST = bytes(32)


class ApiKeys:
    """Creates, checks and disables keys; threads may share it.

    Args:
        database: stores them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._any = False

    def create(self, name: str, scopes: Collection[str]) -> tuple[ApiKeyRow, str]:
        """Create a key.

        Args:
            name: the owner's name, for people.
            scopes: one or more of ``SCOPES``.

        Returns:
            The key, and its secret, which is not stored and cannot be shown again.

        Raises:
            UserError: a scope is unknown, none is given, or the name is invalid.
        """
        name = name.strip()
        if not 0 < len(name) <= _MAX_NAME_CHARACTERS or not name.isprintable():
            raise UserError(
                f"a key's name must have 1 to {_MAX_NAME_CHARACTERS} printable characters; "
                "give another --name"
            )
        unknown = sorted(set(scopes) - set(SCOPES))
        if unknown or not scopes:
            received = ", ".join(map(repr, unknown)) or "none"
            raise UserError(
                f"--scope: must be at least one of {', '.join(SCOPES)}; received {received}"
            )
        key_id = secrets.token_hex(_ID_BYTES)
        secret = f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(_RANDOM_BYTES)}"
        key = ApiKeyRow(
            id=key_id,
            name=name,
            digest=_digest(secret),
            scopes=[scope for scope in SCOPES if scope in scopes],
            created=time.time(),
        )
        with self._database.begin() as session:
            session.add(key)
        return key, secret

    def authenticate(self, secret: str) -> ApiKeyRow | None:
        """Return the key of a secret; None if it does not exist or was disabled.

        Raises:
            SQLAlchemyError: the database failed.
        """
        if len(secret) > MAX_SECRET_CHARACTERS or not secret.isascii():
            return None
        prefix, _, rest = secret.partition("_")
        key_id = rest.partition("_")[0]
        key = None
        if prefix == _PREFIX and len(key_id) == 2 * _ID_BYTES and key_id.isalnum():
            with self._database.read() as session:
                key = session.get(ApiKeyRow, key_id)
        # Compared in constant time, even if the id does not exist.
        same = hmac.compare_digest(bytes(key.digest) if key else _NO_DIGEST, _digest(secret))
        return key if key is not None and same and key.disabled is None else None

    def disable(self, key_id: str) -> ApiKeyRow:
        """Disable a key; disabling it again changes nothing.

        Raises:
            UserError: the key does not exist.
        """
        with self._database.begin() as session:
            key = session.get(ApiKeyRow, key_id)
            if key is None:
                raise UserError(
                    f"key {key_id!r} does not exist; list the ids with `bert keys list`"
                )
            if key.disabled is None:
                key.disabled = time.time()
        return key

    def list(self) -> list[ApiKeyRow]:
        """Return all keys, oldest first, including disabled ones."""
        with self._database.read() as session:
            return [*session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.created, ApiKeyRow.id))]

    def exist(self) -> bool:
        """Return whether a key was ever created; a disabled one counts."""
        if not self._any:
            with self._database.read() as session:
                self._any = session.scalars(select(ApiKeyRow.id).limit(1)).first() is not None
        return self._any


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8")).digest()
