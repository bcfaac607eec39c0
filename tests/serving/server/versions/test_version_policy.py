import pytest
from google.protobuf import text_format

from serving.protocol import protos
from serving.server.versions import version_policy

PROTO = protos.file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig


def policy(text: str) -> version_policy.VersionPolicy:
    return version_policy.from_proto(text_format.Parse(text, PROTO.ServableVersionPolicy()))


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", {12}),
        ("latest {}", {12}),
        ("latest { num_versions: 2 }", {12, 7}),
        ("latest { num_versions: 9 }", {12, 7, 3, 0}),
        ("all {}", {12, 7, 3, 0}),
        ("specific { versions: 3 versions: 12 }", {3, 12}),
        ("specific { versions: 0 }", {0}),
        ("specific { versions: 4 }", set()),
        ("specific {}", set()),
    ],
)
def test_policy_chooses_versions(text, chosen) -> None:
    assert policy(text).choose([3, 12, 0, 7]) == chosen


def test_policy_chooses_nothing_from_no_versions() -> None:
    assert policy("latest { num_versions: 2 }").choose([]) == set()
