"""Access to Vertex AI's API: host, credentials, and errors as one line."""

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
#: Limits in seconds: on a long-running operation, and on polling it while the API is unreachable.
_OPERATION_SECONDS, _AWAY_SECONDS = 3600, 600


@dataclasses.dataclass(frozen=True)
class VertexAccess:
    """A Google Cloud project in a region of Vertex AI.

    Attributes:
        project: the Google Cloud project.
        region: the region, such as "europe-west1".
        api_endpoint: a host to use instead of the region's, or "".

    Raises:
        UserError: the project is empty.
    """

    project: str
    region: str
    api_endpoint: str = ""

    def __post_init__(self) -> None:
        if not self.project:
            raise UserError("vertex.project is empty; --set vertex.project=PROJECT")

    @property
    def parent(self) -> str:
        """The name of the resource that contains jobs, models and endpoints."""
        return f"projects/{self.project}/locations/{self.region}"

    @property
    def endpoint(self) -> str:
        """The host of the API."""
        return self.api_endpoint or f"{self.region}-aiplatform.googleapis.com"

    def client(self, name: str) -> Any:
        """Return a client of the API that uses REST.

        Args:
            name: the client's class in ``google.cloud.aiplatform_v1``.

        Raises:
            UserError: there are no credentials, or they would be sent over plain HTTP.
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
        """Turn the client's errors into one line.

        Raises:
            UserError: the API refuses the request or cannot be reached.
        """
        import requests
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except GoogleAPICallError as error:
            raise UserError(
                f"Vertex AI at {self.endpoint} returned {error.code}: {error.message}; project "
                f"{self.project}, region {self.region}"
            ) from error
        except GoogleAuthError as error:
            raise UserError(
                f"vertex: the credentials were rejected ({error}); "
                "run gcloud auth application-default login"
            ) from error
        except (requests.RequestException, RetryError) as error:
            raise UserError(
                f"vertex.region: {self.endpoint} cannot be reached ({error}); check the network "
                f"and that {self.region} is the right region"
            ) from error

    def _credentials(self) -> Any:
        import google.auth
        from google.auth.credentials import AnonymousCredentials

        parts = urlsplit(self.endpoint)
        if parts.scheme == "http":  # a test server; never send credentials over HTTP
            if not is_loopback(parts.hostname or ""):
                raise UserError(
                    "vertex.api_endpoint: must use https, or http only on this machine; "
                    f"received {self.endpoint}"
                )
            return AnonymousCredentials()
        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except google.auth.exceptions.DefaultCredentialsError as error:
            raise UserError(
                "vertex: Google credentials not found; run "
                "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to "
                "a service account's key file"
            ) from error
        return credentials


def access_of(config: Config) -> VertexAccess:
    """Return the access that the config describes.

    Raises:
        UserError: ``vertex.project`` is empty.
    """
    section = config.vertex
    return VertexAccess(section.project, section.region, section.api_endpoint)


def check_accelerator(key: str, name: str) -> None:
    """Refuse an accelerator that Vertex AI does not have.

    Args:
        key: the config key, for the message.
        name: the accelerator; "" means none and is allowed.

    Raises:
        UserError: Vertex AI does not have it; lists the allowed accelerators.
    """
    from google.cloud import aiplatform_v1

    types = aiplatform_v1.AcceleratorType.__members__
    if name and name not in types:
        allowed = [name for name in types if name.startswith("NVIDIA")]
        raise UserError(f"{key}: must be one of {', '.join(allowed)} on vertex; received {name!r}")


def machine_spec(machine_type: str, accelerator: str) -> dict[str, Any]:
    """Return the fields of a ``MachineSpec``.

    Args:
        machine_type: the type, such as "n1-standard-4".
        accelerator: the machine's accelerator, or "".
    """
    machine: dict[str, Any] = {"machine_type": machine_type}
    if accelerator:
        machine |= {"accelerator_type": accelerator, "accelerator_count": 1}
    return machine


def finished(operation: Any, what: str) -> Any:
    """Wait for a long-running operation and return its result.

    Args:
        operation: the operation that the client returned.
        what: the operation in words, for the message.

    Raises:
        UserError: the operation has not finished within an hour.
    """
    from google.api_core.retry import Retry

    try:
        return operation.result(timeout=_OPERATION_SECONDS, retry=Retry(timeout=_AWAY_SECONDS))
    except concurrent.futures.TimeoutError as error:
        raise UserError(
            f"{what} has not finished within {_OPERATION_SECONDS // 60} minutes and is still "
            f"running on Vertex AI as {operation.operation.name}"
        ) from error
