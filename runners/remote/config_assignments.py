"""The assignments with which another process loads the same config."""

from operator import attrgetter

from pipeline.config import Config
from pipeline.config_keys import is_secret, keys
from pipeline.toml_text import toml_value


def assignments(config: Config, without: tuple[str, ...] = ()) -> list[str]:
    """Return the values that differ from their defaults, in the form of ``--set``, without secrets.

    Args:
        config: the resolved configuration.
        without: prefixes of keys to leave out, such as "airflow.".
    """
    defaults = Config.model_construct()
    found = []
    for key, field in keys(Config).items():
        value, default = (attrgetter(key)(each) for each in (config, defaults))
        if value != default and not is_secret(field) and not key.startswith(without):
            found.append(f"{key}={toml_value(value)}")
    return found
