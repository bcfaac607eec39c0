"""Checks of a config before it is compiled for other machines, without slow imports."""

import os
import re
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from modules.contract.errors import UserError
from pipeline.config import Config
from pipeline.config_keys import nearest
from pipeline.nodes import NODES

_IMAGE = re.compile(
    r"(?P<name>[a-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9._-]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")


def check_images(config: Config) -> None:
    """Refuse a missing image, and one whose content may change under its name.

    Raises:
        UserError: an image is wrong; names the key and the allowed values.
    """
    _check_nodes("image.nodes", config.image.nodes)
    images = {"image.name": config.image.name}
    images |= {f"image.nodes.{node}": image for node, image in config.image.nodes.items()}
    for key, image in images.items():
        if not image:
            raise UserError(
                f"{key} is empty; set it to the image that contains this repository: "
                f"--set {key}=REGISTRY/bert:COMMIT"
            )
        if not is_fixed(image):
            raise UserError(
                f"{key}: must have a fixed tag or a digest, so that all nodes run the same code; "
                f"received {image!r}; try --set {key}=REGISTRY/bert:COMMIT"
            )


def is_fixed(image: str) -> bool:
    """Return whether an image has a digest, or a tag other than "latest"."""
    match = _IMAGE.fullmatch(image)
    return bool(match and (match["digest"] or match["tag"] not in (None, "latest")))


def check_resources(config: Config) -> None:
    """Refuse resources of unknown nodes.

    Raises:
        UserError: a node does not exist; names the allowed ones.
    """
    _check_nodes("resources.nodes", config.resources.nodes)


def check_name(config: Config) -> None:
    """Refuse a pipeline name that the platforms do not accept.

    Raises:
        UserError: the name has other characters than the platforms allow.
    """
    name = config.pipeline.name
    if not _NAME.fullmatch(name):
        guess = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
        raise UserError(
            f"pipeline.name: must have only lower-case letters, digits and - here; "
            f"received {name!r}; try --set pipeline.name={guess}"
        )


def check_uri(config: Config, key: str, schemes: tuple[str, ...]) -> None:
    """Refuse a URI that other machines cannot access.

    Args:
        config: the resolved configuration.
        key: the key of a path, such as "pipeline.root".
        schemes: allowed prefixes, such as "gs://".

    Raises:
        UserError: the value has another prefix, or no bucket.
    """
    value = str(attrgetter(key)(config))
    scheme = next((scheme for scheme in schemes if value.startswith(scheme)), None)
    if scheme is None or not urlsplit(value).netloc:
        allowed = " or ".join(f"{scheme}BUCKET/FOLDER" for scheme in schemes)
        raise UserError(
            f"{key}: must be {allowed} here, so that all nodes can access it; received {value!r}; "
            f"try --set {key}={schemes[0]}BUCKET/{config.pipeline.name}"
        )


def check_data(config: Config, schemes: tuple[str, ...], mounts: tuple[str, ...]) -> None:
    """Refuse data that is only on this machine.

    Args:
        config: the resolved configuration.
        schemes: allowed prefixes of URIs.
        mounts: folders that all nodes can access.

    Raises:
        UserError: the nodes cannot access a path.
    """
    for path in config.data.paths:
        if path.startswith(schemes) or is_within(path, mounts):
            continue
        whole = os.path.abspath(os.path.expanduser(path))
        if "://" not in path and is_within(whole, (str(Path.cwd()),)):
            continue  # in the repository and therefore in the image
        places = [f"{scheme}BUCKET/FILE" for scheme in schemes] + [f"{m}/FILE" for m in mounts]
        raise UserError(
            f"data.path: must be {' or '.join([*places, 'a file of the repository'])} here; "
            f"received {path!r}, which the nodes cannot access"
        )


def check_spans(config: Config, schemes: tuple[str, ...], mounts: tuple[str, ...]) -> None:
    """Refuse a folder of feedback spans that is only on this machine; nodes would find no spans.

    Args:
        config: the resolved configuration.
        schemes: allowed prefixes of URIs.
        mounts: folders that all nodes can access.

    Raises:
        UserError: the nodes cannot access the folder.
    """
    spans = config.feedback.spans
    if not spans or spans.startswith(schemes) or is_within(spans, mounts):
        return
    places = [f"{scheme}BUCKET/FOLDER" for scheme in schemes] + [f"{m}/FOLDER" for m in mounts]
    raise UserError(
        f"feedback.spans: must be {' or '.join(places)} here; received {spans!r}, which the nodes "
        f"cannot access; try --set feedback.spans={places[-1]}"
    )


def check_files(config: Config, mounts: tuple[str, ...]) -> None:
    """Refuse a schema or an encoder that is only on this machine.

    Args:
        config: the resolved configuration.
        mounts: folders that all nodes can access.

    Raises:
        UserError: the nodes cannot access the schema or the encoder.
    """
    here = str(Path.cwd())
    schema = config.schema.path
    if schema and ("://" in schema or not is_within(os.path.abspath(schema), (here,))):
        raise UserError(
            "schema.path: must be a file of the repository here, so that it is in the image; "
            f"received {schema!r}; copy it to the repository, commit it and "
            "--set schema.path=schema.pbtxt"
        )
    encoder = config.trainer.encoder
    folder = os.path.expanduser(encoder.removeprefix("hf://"))
    # Paths after hf:// are not mapped to the image.
    reached = mounts if encoder.startswith("hf://") else (*mounts, here)
    if folder.startswith("/") and not is_within(folder, reached):
        raise UserError(
            "trainer.encoder: must be minilm, keras://PRESET, tfhub://HANDLE or a folder of the "
            f"repository or of a volume here; received {encoder!r}, which the nodes cannot access"
        )


def check_infra_validator(config: Config) -> None:
    """Refuse model servers that a node cannot start.

    Raises:
        UserError: ``infra_validator.server`` is not "process".
    """
    section = config.infra_validator
    if section.enabled and section.server != "process":
        raise UserError(
            "infra_validator.server: must be process here, because a node cannot start containers "
            f"or pods that can access its files; received {section.server!r}; "
            "try --set infra_validator.server=process"
        )


def is_within(path: str, folders: tuple[str, ...]) -> bool:
    """Return whether an absolute path is one of the folders or in one of them."""
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


def _check_nodes(key: str, names: Mapping[str, object]) -> None:
    for name in names:
        if name not in NODES:
            guess = nearest(name, dict.fromkeys(NODES))
            hint = f"; did you mean {guess}?" if guess else ""
            raise UserError(f"{key}: must be among {', '.join(NODES)}; received {name!r}{hint}")
