import pytest

from serving.protocol.errors import Code, ServingError
from serving.server.versions.labels import Labels


def served(*versions):
    return lambda model, version: version in versions


def test_labels_of_a_new_model_are_accepted_as_they_are() -> None:
    labels = Labels(allow_unavailable=False)
    labels.replace({"bert": {"stable": 1}})
    assert labels.resolve("bert", "stable") == 1


@pytest.mark.parametrize(("model", "label"), [("bert", "nope"), ("none", "stable")])
def test_unknown_label_is_refused(model, label) -> None:
    labels = Labels(allow_unavailable=False)
    labels.replace({"bert": {"stable": 1}})
    with pytest.raises(ServingError) as caught:
        labels.resolve(model, label)
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert caught.value.message == f"Unrecognized servable version label: {label}"


def test_label_must_point_to_a_served_version() -> None:
    labels = Labels(allow_unavailable=False)
    labels.replace({"bert": {"stable": 1}})
    with pytest.raises(ServingError) as caught:
        labels.check({"bert": {"stable": 2}}, new_models=(), is_available=served(1))
    assert caught.value.code == Code.FAILED_PRECONDITION
    assert caught.value.message == (
        "Request to assign label to version 2 of model bert, "
        "which is not currently available for inference"
    )
    labels.check({"bert": {"stable": 2}}, new_models=(), is_available=served(1, 2))
    labels.check({"bert": {"stable": 2}}, new_models={"bert"}, is_available=served())


def test_flag_allows_only_new_labels_on_unserved_versions() -> None:
    labels = Labels(allow_unavailable=True)
    labels.replace({"bert": {"stable": 1}})
    labels.check({"bert": {"stable": 1, "canary": 9}}, (), served())
    with pytest.raises(ServingError):
        labels.check({"bert": {"stable": 9}}, (), served())


def test_label_moves_when_its_version_is_served() -> None:
    labels = Labels(allow_unavailable=False)
    labels.replace({"bert": {"stable": 1}})
    labels.replace({"bert": {"stable": 2, "canary": 2}})
    labels.settle(served(1))
    assert labels.resolve("bert", "stable") == 1
    labels.settle(served(1, 2))
    assert labels.resolve("bert", "stable") == 2


def test_removed_label_is_unknown() -> None:
    labels = Labels(allow_unavailable=False)
    labels.replace({"bert": {"stable": 1}})
    labels.replace({"bert": {}})
    with pytest.raises(ServingError):
        labels.resolve("bert", "stable")
