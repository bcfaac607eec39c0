"""The type of an executor's inputs and outputs."""

from tfx import types

#: Key of the component spec -> artifacts.
Artifacts = dict[str, list[types.Artifact]]
