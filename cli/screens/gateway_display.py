"""What a person sees of ``bert gateway``: where it answers, and what to type."""

import json
import shlex

from cli.terminal import stdout
from serving.gateway.settings import GatewaySettings

_TEXT = "A warm room, and breakfast until noon."


def print_listening(url: str, settings: GatewaySettings) -> None:
    """Print where the gateway answers.

    Args:
        url: of the gateway.
        settings: of the gateway.
    """
    console = stdout()
    console.print("Ready. Ctrl-C drains and stops.")
    lines = [
        ("page", f"{url}/"),
        ("docs", f"{url}/docs"),
        ("health", f"{url}/readyz"),
        ("model", f"{settings.model_name} at {settings.server_url}"),
        ("try", try_command(url)),
    ]
    for title, line in lines:
        console.print(f"  {title:6} {line}", soft_wrap=True)
    console.file.flush()


def try_command(url: str) -> str:
    """A command that asks the gateway."""
    body = shlex.quote(json.dumps({"text": _TEXT}))
    return f"curl --json {body} {url}/v1/predict"
