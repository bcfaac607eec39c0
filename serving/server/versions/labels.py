"""Version labels of the models. Not thread-safe: the manager's lock guards them."""

from collections.abc import Callable, Collection, Mapping

from serving.protocol.errors import Code, ServingError

#: Label of the version that serves most calls, as in TensorFlow Serving's documentation. That
#: version is loaded first, and the server is not ready until it is loaded.
STABLE = "stable"

#: Function that returns whether a version is served: (model, version).
IsAvailable = Callable[[str, int], bool]
LabelsByModel = Mapping[str, Mapping[str, int]]


class Labels:
    """Current labels, and labels that move as soon as their versions are served.

    A label must not point to a version that is not served. TensorFlow Serving refuses such a
    configuration as a whole, even at start, when nothing is served yet. Here, labels of a new model
    are accepted as they are, and a label in a changed file moves when its version is served.

    Args:
        allow_unavailable: whether a reload may assign new labels to versions that are not served.
    """

    def __init__(self, allow_unavailable: bool) -> None:
        self._allow_unavailable = allow_unavailable
        self._wanted: dict[str, dict[str, int]] = {}
        self._current: dict[str, dict[str, int]] = {}

    def resolve(self, model: str, label: str) -> int:
        """Return the version that a label points to.

        Raises:
            ServingError: ``INVALID_ARGUMENT``: the label does not exist.
        """
        version = self._current.get(model, {}).get(label)
        if version is None:
            raise ServingError(
                Code.INVALID_ARGUMENT, f"Unrecognized servable version label: {label}"
            )
        return version

    def stable(self, model: str) -> int | None:
        """Return the version that the label ``STABLE`` points to; None if there is none."""
        return self._current.get(model, {}).get(STABLE)

    def check(
        self, labels: LabelsByModel, new_models: Collection[str], is_available: IsAvailable
    ) -> None:
        """Check that all labels can move at once, as TensorFlow Serving does.

        Args:
            labels: labels of every model.
            new_models: models without a served version; their labels are not checked.
            is_available: function that returns whether a version is served.

        Raises:
            ServingError: ``FAILED_PRECONDITION``: the version of a label is not served.
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
        """Replace the labels. A label that moves keeps its version until ``settle`` moves it."""
        self._wanted = {model: dict(wanted) for model, wanted in labels.items()}
        self._current = {
            model: {
                label: self._current.get(model, {}).get(label, version)
                for label, version in wanted.items()
            }
            for model, wanted in labels.items()
        }

    def settle(self, is_available: IsAvailable) -> None:
        """Move the labels whose new versions are served."""
        for model, wanted in self._wanted.items():
            for label, version in wanted.items():
                if self._current[model][label] != version and is_available(model, version):
                    self._current[model][label] = version
