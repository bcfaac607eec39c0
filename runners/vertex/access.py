"""How Vertex AI's API is reached: host, credentials, and its errors in one line."""

import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from modules.contract.addresses import is_loopback
from modules.contract.errors import UserError
from pipeline.config import Config

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
#: Limits on a long-running operation and on asking for it while the API is away, seconds.
_OPERATION_SECONDS, _AWAY_SECONDS = 3600, 600


@dataclasses.dataclass(frozen=True)
class VertexAccess:
    """A project in a region.

    Attributes:
        project: the Google Cloud project.
        region: such as "europe-west1".
        api_endpoint: another host than the region's, or "".

    Raises:
        UserError: no project.
    """

    project: str
    region: str
    api_endpoint: str = ""

    def __post_init__(self) -> None:
        if not self.project:
            raise UserError("vertex.project is empty; --set vertex.project=PROJECT")

    @property
    def parent(self) -> str:
        """The resource that jobs are made in."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def endpoint(self) -> str:
        """The API's host."""
        return self.api_endpoint or f"{self.region}-aiplatform.googleapis.com"

    def client(self, name: str) -> Any:
        """A client of the API over REST.

        Args:
            name: its class in ``google.cloud.aiplatform_v1``.

        Raises:
            UserError: no credentials, or an endpoint that would get them over HTTP.
        """
        credentials = self._credentials()
        from google.cloud import aiplatform_v1

        return getattr(aiplatform_v1, name)(
            credentials=credentials,
            transport="rest",
            client_options={"api_endpoint": self.endpoint},
        )

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """The client's errors as one line.

        Raises:
            UserError: the API refuses or cannot be reached.
        """
        import requests
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except GoogleAPICallError as error:
            raise UserError(
                f"Vertex AI at {self.endpoint} answers {error.code}: {error.message}; project "
                f"{self.project}, region {self.region}"
            ) from error
        except GoogleAuthError as error:
            raise UserError(
                f"vertex: the credentials are refused ({error}); "
                "gcloud auth application-default login"
            ) from error
        except (requests.RequestException, RetryError) as error:
            raise UserError(
                f"vertex.region: {self.endpoint} cannot be reached ({error}); is "
                f"{self.region} the right region, and the network up?"
            ) from error

    def _credentials(self) -> Any:
        import google.auth
        from google.auth.credentials import AnonymousCredentials

        parts = urlsplit(self.endpoint)
        if parts.scheme == "http":  # a stand-in on this machine; credentials never go over HTTP
            if not is_loopback(parts.hostname or ""):
                raise UserError(
                    "vertex.api_endpoint: legal are https and, on this machine alone, http; "
                    f"received {self.endpoint}"
                )
            return AnonymousCredentials()
        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise UserError(
                "vertex needs Google credentials and there are none; "
                "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to "
                "a service account's key file"
            ) from error
        return credentials


def access_of(config: Config) -> VertexAccess:
    """Where the config's Vertex AI is.

    Raises:
        UserError: no project.
    """
    section = config.vertex
    return VertexAccess(section.project, section.region, section.api_endpoint)


def check_accelerator(key: str, name: str) -> None:
    """Refuse an accelerator that Vertex AI does not have.

    Args:
        key: of the config, for the message.
        name: the accelerator; "" is none, and legal.

    Raises:
        UserError: names the legal ones.
    """
    from google.cloud import aiplatform_v1

    types = aiplatform_v1.AcceleratorType.__members__
    if name and name not in types:
        legal = [name for name in types if name.startswith("NVIDIA")]
        raise UserError(f"{key}: legal on vertex are {', '.join(legal)}; received {name!r}")


def machine_spec(machine_type: str, accelerator: str) -> dict[str, Any]:
    """A machine, as fields of ``MachineSpec``.

    Args:
        machine_type: such as "n1-standard-4".
        accelerator: the one that it has, or "".
    """
    machine: dict[str, Any] = {"machine_type": machine_type}
    if accelerator:
        machine |= {"accelerator_type": accelerator, "accelerator_count": 1}
    return machine


def finished(operation: Any, what: str) -> Any:
    """What a long-running operation ends with.

    Args:
        operation: as the client returned it.
        what: it does, in words.

    Raises:
        UserError: it has not ended within an hour.
    """
    from google.api_core.retry import Retry

    try:
        return operation.result(timeout=_OPERATION_SECONDS, retry=Retry(timeout=_AWAY_SECONDS))
    except concurrent.futures.TimeoutError as error:
        raise UserError(
            f"{what} has not ended within {_OPERATION_SECONDS // 60} minutes and goes on at Vertex "
            f"AI as {operation.operation.name}"
        ) from error
