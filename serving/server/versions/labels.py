"""Which version each label of a model points at. Not thread-safe: the manager's lock guards it."""

from collections.abc import Callable, Collection, Mapping

from serving.protocol.errors import Code, ServingError

#: The label of the version that answers most calls, as TensorFlow Serving's pages name it. What
#: it points at is loaded first, and a server is not ready while it is being loaded.
STABLE = "stable"

#: Whether a version of a model is served: (model, version).
IsAvailable = Callable[[str, int], bool]
LabelsByModel = Mapping[str, Mapping[str, int]]


class Labels:
    """Labels in force, and those that are to come into force.

    A label must not lead to a version that is not served. TensorFlow Serving refuses such a
    configuration as a whole, at start too, where nothing is served yet; here a label of a model
    that is new is taken as it is, and one in a changed file moves when its version is served.

    Args:
        allow_unavailable: a reload may give new labels to versions that are not served.
    """

    def __init__(self, allow_unavailable: bool) -> None:
        self._allow_unavailable = allow_unavailable
        self._wanted: dict[str, dict[str, int]] = {}
        self._current: dict[str, dict[str, int]] = {}

    def resolve(self, model: str, label: str) -> int:
        """The version a label points at.

        Raises:
            ServingError: ``INVALID_ARGUMENT``, no such label.
        """
        version = self._current.get(model, {}).get(label)
        if version is None:
            raise ServingError(
                Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
            )
        return version

    def stable(self, model: str) -> int | None:
        """The version that the label ``STABLE`` points at; None without one."""
        return self._current.get(model, {}).get(STABLE)

    def check(
        self, labels: LabelsByModel, new_models: Collection[str], is_available: IsAvailable
    ) -> None:
        """Whether the labels may come into force at once, as TensorFlow Serving checks it.

        Args:
            labels: of every model.
            new_models: models that nothing is served of yet; their labels may wait.
            is_available: of a version.

        Raises:
            ServingError: ``FAILED_PRECONDITION``.
        """
        for model, wanted in labels.items():
            if model in new_models:
                continue
            for label, version in wanted.items():
                current = self._current.get(model, {}).get(label, version)
                if self._allow_unavailable and current == version:
                    continue
                if not is_available(model, version):
                    raise ServingError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {model}, "
                        "which is not currently available for inference",
                    )

    def replace(self, labels: LabelsByModel) -> None:
        """Want these from now on. A label that moves stays where it is until ``settle``."""
        self._wanted = {model: dict(wanted) for model, wanted in labels.items()}
        self._current = {
            model: {
                label: self._current.get(model, {}).get(label, version)
                for label, version in wanted.items()
            }
            for model, wanted in labels.items()
        }

    def settle(self, is_available: IsAvailable) -> None:
        """Move the labels whose versions are served by now."""
        for model, wanted in self._wanted.items():
            for label, version in wanted.items():
                if self._current[model][label] != version and is_available(model, version):
                    self._current[model][label] = version
