import pytest

from modules.contract.errors import UserError
from serving.server.batches.batching import BatchLimits
from serving.server.versions import batching_parameters


@pytest.fixture
def read(tmp_path):
    def read(text: str) -> batching_parameters.BatchingParameters:
        file = tmp_path / "batching.config"
        file.write_text(text)
        return batching_parameters.read(str(file))

    return read


def test_every_field_is_applied(read) -> None:
    parameters = read("""
        max_batch_size { value: 128 }
        batch_timeout_micros { value: 2500 }
        max_enqueued_batches { value: 100 }
        num_batch_threads { value: 8 }
        thread_pool_name { value: "pool" }
        allowed_batch_sizes: 32
        allowed_batch_sizes: 128
        pad_variable_length_inputs: true
    """)
    assert parameters.num_batch_threads == 8
    assert parameters.apply(BatchLimits(max_batch_tokens=77)) == BatchLimits(
        max_batch_size=128,
        max_batch_tokens=77,
        max_queued_examples=12_800,
        timeout_seconds=0.0025,
        allowed_batch_sizes=(32, 128),
        pad_variable_length=True,
    )


def test_empty_file_changes_nothing(read) -> None:
    parameters = read("")
    assert parameters.num_batch_threads is None
    assert parameters.apply(BatchLimits()) == BatchLimits()


def test_splitting_limits_batches_to_the_execution_size(read) -> None:
    limits = read("""
        max_batch_size { value: 100 }
        max_execution_batch_size { value: 10 }
        enable_large_batch_splitting { value: true }
        allowed_batch_sizes: 5
        allowed_batch_sizes: 10
        max_enqueued_batches { value: 2 }
    """).apply(BatchLimits())
    assert (limits.max_batch_size, limits.split_large) == (10, True)
    assert limits.max_queued_examples == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "max_batch_size { value: 64 } allowed_batch_sizes: 32",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 32; "
            "expected 64",
        ),
        ("allowed_batch_sizes: 32", "last entry was 32; expected 1000"),
        (
            "max_batch_size { value: 2 } allowed_batch_sizes: 4 allowed_batch_sizes: 2",
            "monotonically increasing",
        ),
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1"),
        ("num_batch_threads { value: -1 }", "num_batch_threads must be at least 1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must not be negative"),
        ("max_batch_sise { value: 1 }", "is not a BatchingParameters in text format"),
    ],
)
def test_invalid_value_is_refused(read, text, message) -> None:
    with pytest.raises(UserError, match=message):
        read(text)


def test_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="No such file"):
        batching_parameters.read(str(tmp_path / "none"))
