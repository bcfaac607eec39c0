"""What must hold before a pipeline is compiled for another machine. Imports nothing slow."""

import os
import re
from collections.abc import Mapping
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
    """Refuse a missing image and one whose content may change under its name.

    Raises:
        UserError: names the key and what is legal.
    """
    _check_nodes("image.nodes", config.image.nodes)
    images = {"image.name": config.image.name}
    images |= {f"image.nodes.{node}": image for node, image in config.image.nodes.items()}
    for key, image in images.items():
        if not image:
            raise UserError(
                f"{key} is empty; name the image that holds this repository: "
                f"--set {key}=REGISTRY/bert:COMMIT"
            )
        if not is_fixed(image):
            raise UserError(
                f"{key}: legal is a fixed tag or a digest, so that every node runs the same code; "
                f"received {image!r}; try --set {key}=REGISTRY/bert:COMMIT"
            )


def is_fixed(image: str) -> bool:
    """Whether an image has a digest, or a tag other than "latest"."""
    match = _IMAGE.fullmatch(image)
    return bool(match and (match["digest"] or match["tag"] not in (None, "latest")))


def check_resources(config: Config) -> None:
    """Refuse resources of nodes that are not there."""
    _check_nodes("resources.nodes", config.resources.nodes)


def check_name(config: Config) -> None:
    """Refuse a pipeline name that these platforms refuse."""
    name = config.pipeline.name
    if not _NAME.fullmatch(name):
        guess = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
        raise UserError(
            f"pipeline.name: legal here are lower-case letters, digits and -; received {name!r}; "
            f"try --set pipeline.name={guess}"
        )


def check_uri(config: Config, key: str, schemes: tuple[str, ...]) -> None:
    """Refuse a place that other machines do not reach.

    Args:
        config: the resolved configuration.
        key: of a path, such as "pipeline.root".
        schemes: legal beginnings, such as "gs://".
    """
    section, _, name = key.partition(".")
    value = str(getattr(getattr(config, section), name))
    scheme = next((scheme for scheme in schemes if value.startswith(scheme)), None)
    if scheme is None or not urlsplit(value).netloc:
        legal = " or ".join(f"{scheme}BUCKET/FOLDER" for scheme in schemes)
        raise UserError(
            f"{key}: legal here is {legal}, which every node reaches; received {value!r}; "
            f"try --set {key}={schemes[0]}BUCKET/{config.pipeline.name}"
        )


def check_data(config: Config, schemes: tuple[str, ...], mounts: tuple[str, ...]) -> None:
    """Refuse data that lies on this machine alone.

    Args:
        config: the resolved configuration.
        schemes: legal beginnings of URIs.
        mounts: folders that every node has.
    """
    for path in config.data.paths:
        if path.startswith(schemes) or is_within(path, mounts):
            continue
        whole = os.path.abspath(os.path.expanduser(path))
        if "://" not in path and is_within(whole, (str(Path.cwd()),)):
            continue  # in the repository, hence in the image
        places = [f"{scheme}BUCKET/FILE" for scheme in schemes] + [f"{m}/FILE" for m in mounts]
        raise UserError(
            f"data.path: legal here is {', '.join([*places, 'a file of the repository'])}; "
            f"received {path!r}, which the nodes cannot read"
        )


def check_spans(config: Config, schemes: tuple[str, ...], mounts: tuple[str, ...]) -> None:
    """Refuse a folder of feedback spans that lies on this machine alone; it would read as none.

    Args:
        config: the resolved configuration.
        schemes: legal beginnings of URIs.
        mounts: folders that every node has.
    """
    spans = config.feedback.spans
    if not spans or spans.startswith(schemes) or is_within(spans, mounts):
        return
    places = [f"{scheme}BUCKET/FOLDER" for scheme in schemes] + [f"{m}/FOLDER" for m in mounts]
    raise UserError(
        f"feedback.spans: legal here is {', '.join(places)}; received {spans!r}, which the nodes "
        f"cannot read; try --set feedback.spans={places[-1]}"
    )


def check_files(config: Config, mounts: tuple[str, ...]) -> None:
    """Refuse a schema and an encoder that lie on this machine alone.

    Args:
        config: the resolved configuration.
        mounts: folders that every node has.
    """
    here = str(Path.cwd())
    schema = config.schema.path
    if schema and ("://" in schema or not is_within(os.path.abspath(schema), (here,))):
        raise UserError(
            "schema.path: legal here is a file of the repository, hence of the image; received "
            f"{schema!r}; copy it here, commit it and --set schema.path=schema.pbtxt"
        )
    encoder = config.trainer.encoder
    folder = os.path.expanduser(encoder.removeprefix("hf://"))
    # Behind hf:// the path is not mapped into the image.
    reached = mounts if encoder.startswith("hf://") else (*mounts, here)
    if folder.startswith("/") and not is_within(folder, reached):
        raise UserError(
            "trainer.encoder: legal here are minilm, keras://PRESET, tfhub://HANDLE and a folder "
            f"of the repository or of a volume; received {encoder!r}, which the nodes cannot read"
        )


def check_infra_validator(config: Config) -> None:
    """Refuse model servers that cannot be started from a node there."""
    section = config.infra_validator
    if section.enabled and section.server != "process":
        raise UserError(
            "infra_validator.server: legal here is process, for a node can start neither "
            f"containers nor pods that see its files; received {section.server!r}; "
            "try --set infra_validator.server=process"
        )


def is_within(path: str, folders: tuple[str, ...]) -> bool:
    """Whether an absolute path is one of the folders or lies in one."""
    return any(PurePosixPath(path).is_relative_to(folder) for folder in folders)


def _check_nodes(key: str, names: Mapping[str, object]) -> None:
    for name in names:
        if name not in NODES:
            guess = nearest(name, dict.fromkeys(NODES))
            hint = f"; did you mean {guess}?" if guess else ""
            raise UserError(f"{key}: legal are {', '.join(NODES)}; received {name!r}{hint}")
