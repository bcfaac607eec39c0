"""Output of ``bert keys``: API keys of the gateway."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cli.terminal import local_time, plain_table, print_json, stderr, stdout

if TYPE_CHECKING:
    from serving.records.tables import ApiKeyRow


def print_new_key(key: "ApiKeyRow", secret: str, *, as_json: bool) -> None:
    """Print a key's secret on standard output, and the rest on standard error."""
    if as_json:
        print_json({**_public(key), "key": secret})
        return
    print(secret)
    stderr().print(f"key {key.id} for {key.name}: {', '.join(key.scopes)}; it is not shown again")


def print_keys(keys: "Sequence[ApiKeyRow]", *, as_json: bool) -> None:
    """Print keys without their secrets."""
    if as_json:
        print_json([_public(key) for key in keys])
        return
    table = plain_table("id", "name", "scopes", "created", "state")
    for key in keys:
        state = "enabled" if key.disabled is None else f"disabled {local_time(key.disabled)}"
        scopes = " ".join(key.scopes)
        table.add_row(key.id, Text(key.name), scopes, local_time(key.created), state)
    if keys:
        stdout().print(table)
    else:
        stdout().print("No keys yet; run `bert keys create --name NAME --scope predict`.")


def _public(key: "ApiKeyRow") -> dict[str, Any]:
    return {name: getattr(key, name) for name in ("id", "name", "scopes", "created", "disabled")}
