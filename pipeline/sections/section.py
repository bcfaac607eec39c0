"""The base class of all sections."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen table of the config that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)
