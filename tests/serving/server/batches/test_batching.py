import threading
import time

import numpy as np
import pytest

from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import RunRequest
from serving.server.batches import batching
from serving.server.batches.batch_runner import BatchRunner
from serving.server.batches.batching import BatchLimits, Grouping
from serving.server.batches.call_queue import CallQueue


def signature(inputs, outputs):
    proto = protos.meta_graph_pb2.SignatureDef()
    for field, tensors in ((proto.inputs, inputs), (proto.outputs, outputs)):
        for alias, shape in tensors.items():
            tensor_shape = field[alias].tensor_shape
            tensor_shape.unknown_rank = shape is None
            for size in shape or ():
                tensor_shape.dim.add(size=size)
    return proto


SIGNATURES = {
    "text": signature({"text": [-1]}, {"score": [-1, 2]}),
    "two": signature({"a": [-1, 3], "b": [-1]}, {"y": [-1]}),
    "fixed": signature({"x": [1]}, {"y": [1]}),
    "sum": signature({"x": [-1]}, {"y": []}),
    "any": signature({"x": None}, {"y": [-1]}),
}


def strings(*values: str) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = [value.encode() for value in values]
    return array


def texts(*values: str, deadline=None, outputs=()) -> RunRequest:
    return RunRequest(
        "text", {"text": strings(*values)}, outputs, deadline, examples=max(len(values), 1)
    )


class Front:
    """Queue, grouping and runner around a function in place of the worker."""

    def __init__(self, model=None, **limits):
        self.limits = BatchLimits(**{"trusted": True, **limits})
        self.grouping = Grouping(SIGNATURES, self.limits)
        self.queue = CallQueue(self.limits)
        self.runner = BatchRunner(self.grouping, self.limits)
        self.model = model or upper
        self.ran = []

    def put(self, request: RunRequest):
        call = self.grouping.call(request)
        self.queue.put(call)
        return call.future

    def step(self) -> list:
        """Run one batch and return its pieces."""
        batch = self.queue.take()
        self.runner.answer(batch, self._run)
        return batch

    def step_all(self) -> None:
        while self.queue.examples:
            self.step()

    def _run(self, key, inputs, outputs):
        self.ran.append({alias: array.tolist() for alias, array in inputs.items()})
        return self.model(key, inputs, outputs)


def upper(key, inputs, outputs):
    return {"score": strings(*[text.decode().upper() for text in inputs["text"]])}


def answers(future):
    return [text.decode() for text in future.result(0)["score"]]


def test_waiting_calls_run_together() -> None:
    front = Front()
    futures = [front.put(texts("a")), front.put(texts("b", "c")), front.put(texts("d"))]
    front.step()
    assert front.ran == [{"text": [b"a", b"b", b"c", b"d"]}]
    assert [answers(future) for future in futures] == [["A"], ["B", "C"], ["D"]]


def test_batches_end_at_the_size_limit() -> None:
    front = Front(max_batch_size=3)
    futures = [front.put(texts(name * 2, name * 3)) for name in "abc"]
    front.step_all()
    assert [len(ran["text"]) for ran in front.ran] == [2, 2, 2]
    assert [answers(future)[0] for future in futures] == ["AA", "BB", "CC"]


def test_small_call_fills_the_rest_of_a_batch() -> None:
    front = Front(max_batch_size=4)
    front.put(texts("a", "b", "c"))
    large = front.put(texts("d", "e", "f"))
    small = front.put(texts("g"))
    front.step()
    assert small.done()
    assert not large.done()


def test_batches_end_at_the_token_budget() -> None:
    front = Front(max_batch_tokens=100)
    for _ in range(4):
        front.put(texts("x" * 150))  # 39 tokens
    front.step_all()
    assert [len(ran["text"]) for ran in front.ran] == [2, 2]


def test_tokens_are_capped_at_the_models_maximum_length() -> None:
    front = Front(max_batch_tokens=100, max_tokens_of_text=10)
    for _ in range(4):
        front.put(texts("x" * 5000))
    front.step_all()
    assert [len(ran["text"]) for ran in front.ran] == [4]


def test_oversized_call_runs_alone() -> None:
    front = Front(max_batch_tokens=10, max_batch_size=2)
    large = front.put(texts(*["x" * 100] * 5))
    small = front.put(texts("s"))
    front.step()
    assert len(answers(large)) == 5
    assert not small.done()
    front.step()
    assert answers(small) == ["S"]


def test_large_call_is_split_and_lets_others_pass() -> None:
    front = Front(max_batch_size=2, split_large=True)
    large = front.put(texts("a", "b", "c", "d", "e"))
    small = front.put(texts("s"))
    front.step()
    assert not small.done()
    front.step()
    assert small.done()
    assert not large.done()
    front.step_all()
    assert answers(large) == ["A", "B", "C", "D", "E"]
    assert all(len(ran["text"]) <= 2 for ran in front.ran)


def test_pieces_keep_within_the_token_budget() -> None:
    front = Front(max_batch_tokens=60, split_large=True)
    large = front.put(texts("x" * 100, "y" * 4, "z" * 100, "w" * 1000, "v"))
    front.step_all()
    assert [len(ran["text"]) for ran in front.ran] == [3, 1, 1]
    assert len(answers(large)) == 5


def test_pieces_that_finish_out_of_order_are_joined_in_order() -> None:
    front = Front(max_batch_size=1, split_large=True)
    large = front.put(texts("a", "b", "c"))
    batches = [front.queue.take() for _ in range(3)]
    for batch in reversed(batches):
        front.runner.answer(batch, upper)
    assert answers(large) == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (texts("a"), texts("b", outputs=("score",))),
        (
            RunRequest("two", {"a": np.zeros((1, 3)), "b": np.zeros(1)}),
            RunRequest("two", {"a": np.zeros((1, 4)), "b": np.zeros(1)}),
        ),
        (
            RunRequest("two", {"a": np.zeros((1, 3)), "b": np.zeros(1)}),
            RunRequest("two", {"a": np.zeros((1, 3), np.float32), "b": np.zeros(1)}),
        ),
        (
            RunRequest("two", {"a": np.zeros((1, 3)), "b": np.zeros(2)}),
            RunRequest("two", {"a": np.zeros((1, 3)), "b": np.zeros(2)}),
        ),
        (RunRequest("fixed", {"x": np.zeros(1)}), RunRequest("fixed", {"x": np.zeros(1)})),
        (RunRequest("sum", {"x": np.zeros(1)}), RunRequest("sum", {"x": np.zeros(1)})),
        (RunRequest("any", {"x": np.zeros(1)}), RunRequest("any", {"x": np.zeros(1)})),
        (texts(), texts()),
    ],
    ids=["outputs", "shape", "dtype", "lengths", "fixed", "scalar output", "rank", "empty"],
)
def test_incompatible_calls_run_separately(first, second) -> None:
    front = Front(lambda key, inputs, outputs: {"y": np.zeros(1)})
    front.put(first)
    front.put(second)
    assert len(front.step()) == 1
    assert len(front.step()) == 1


def test_calls_of_a_signature_merge_past_those_of_another() -> None:
    front = Front(lambda key, inputs, outputs: {"y": np.zeros(len(next(iter(inputs.values()))))})
    two = RunRequest("two", {"a": np.zeros((1, 3)), "b": np.zeros(1)})
    for request in (texts("a"), two, texts("b"), two):
        front.put(request)
    assert [piece.call.request.signature for piece in front.step()] == ["text", "text"]
    assert [piece.call.request.signature for piece in front.step()] == ["two", "two"]


def test_batching_can_be_disabled() -> None:
    front = Front(enabled=False)
    front.put(texts("a"))
    front.put(texts("b"))
    front.step_all()
    assert len(front.ran) == 2


def test_invalid_request_fails_alone() -> None:
    def model(key, inputs, outputs):
        if b"bad" in inputs["text"]:
            raise ServingError(Code.INVALID_ARGUMENT, "bad text")
        return upper(key, inputs, outputs)

    front = Front(model)
    futures = [front.put(texts("a")), front.put(texts("bad")), front.put(texts("c"))]
    front.step()
    assert answers(futures[0]) == ["A"]
    with pytest.raises(ServingError, match="bad text"):
        futures[1].result(0)
    assert answers(futures[2]) == ["C"]


def test_other_errors_fail_the_whole_batch() -> None:
    def model(key, inputs, outputs):
        raise ServingError(Code.RESOURCE_EXHAUSTED, "out of memory")

    front = Front(model)
    futures = [front.put(texts("a")), front.put(texts("b"))]
    front.step()
    assert [future.exception(0).code for future in futures] == [Code.RESOURCE_EXHAUSTED] * 2
    assert len(front.ran) == 1


def test_signature_without_one_output_row_per_input_row_is_never_merged_again() -> None:
    front = Front(lambda key, inputs, outputs: {"score": strings("total")})
    futures = [front.put(texts("a")), front.put(texts("b"))]
    front.step()
    assert [answers(future) for future in futures] == [["total"], ["total"]]
    front.put(texts("c"))
    front.put(texts("d"))
    assert len(front.step()) == 1


def test_model_whose_rows_influence_each_other_is_never_merged_again() -> None:
    def softmax(key, inputs, outputs):
        weights = np.exp(inputs["b"])
        return {"y": weights / weights.sum()}

    front = Front(softmax, trusted=False)
    request = RunRequest("two", {"a": np.zeros((1, 3)), "b": np.zeros(1)})
    futures = [front.put(request), front.put(request)]
    front.step()
    assert [future.result(0)["y"].tolist() for future in futures] == [[1.0], [1.0]]
    futures = [front.put(request), front.put(request)]
    assert len(front.step()) == 1


def test_model_with_independent_rows_is_trusted_after_its_first_batch() -> None:
    front = Front(trusted=False)
    for _ in range(2):
        front.put(texts("a"))
        front.put(texts("b"))
        front.step()
    assert [len(ran["text"]) for ran in front.ran] == [2, 1, 1, 2]


def test_batches_are_padded_to_an_allowed_size() -> None:
    front = Front(allowed_batch_sizes=(2, 4), max_batch_size=4)
    futures = [front.put(texts(name)) for name in "abc"]
    front.step()
    assert front.ran == [{"text": [b"a", b"b", b"c", b"a"]}]
    assert [answers(future) for future in futures] == [["A"], ["B"], ["C"]]
    alone = front.put(texts("d"))
    front.step()
    assert (front.ran[-1], answers(alone)) == ({"text": [b"d", b"d"]}, ["D"])


def test_variable_lengths_are_padded_to_the_same_size() -> None:
    front = Front(
        lambda key, inputs, outputs: {"y": inputs["a"].sum(axis=1)}, pad_variable_length=True
    )
    futures = [
        front.put(RunRequest("two", {"a": np.full((1, width), 2.0), "b": np.zeros(1)}))
        for width in (1, 3)
    ]
    front.step()
    assert front.ran[0]["a"] == [[2, 0, 0], [2, 2, 2]]
    assert [future.result(0)["y"].tolist() for future in futures] == [[2], [6]]


def test_cancelled_call_never_runs() -> None:
    front = Front()
    gone, kept = front.put(texts("a")), front.put(texts("b"))
    assert gone.cancel()
    front.step()
    assert front.ran == [{"text": [b"b"]}]
    assert answers(kept) == ["B"]


def test_expired_call_never_runs() -> None:
    front = Front()
    late = front.put(texts("a", deadline=time.monotonic() - 1))
    front.put(texts("b"))
    front.step()
    assert front.ran == [{"text": [b"b"]}]
    assert late.exception(0).code == Code.DEADLINE_EXCEEDED


def test_full_queue_says_when_to_retry() -> None:
    front = Front(max_queued_examples=3)
    front.put(texts("a", "b"))
    with pytest.raises(ServingError) as caught:
        front.put(texts("c", "d"))
    assert caught.value.code == Code.UNAVAILABLE
    assert caught.value.retry_after_seconds >= 1
    front.put(texts("c"))
    assert front.queue.examples == 3


def test_cancelled_calls_make_room() -> None:
    front = Front(max_queued_examples=2)
    front.put(texts("a", "b")).cancel()
    front.put(texts("c", "d"))
    assert front.queue.examples == 2


def test_empty_queue_accepts_a_call_of_any_size() -> None:
    front = Front(max_queued_examples=2)
    future = front.put(texts("a", "b", "c"))
    front.step()
    assert len(answers(future)) == 3


def test_configured_timeout_waits_for_a_full_batch() -> None:
    front = Front(timeout_seconds=60, max_batch_size=2)
    front.put(texts("a"))
    taker = threading.Thread(target=front.step)
    taker.start()
    front.put(texts("b"))
    taker.join(10)
    assert front.ran == [{"text": [b"a", b"b"]}]


def test_incomplete_batch_runs_after_the_configured_timeout() -> None:
    front = Front(timeout_seconds=0.01)
    future = front.put(texts("a"))
    front.step()
    assert answers(future) == ["A"]


def test_closed_queue_refuses_calls_and_releases_its_threads() -> None:
    front = Front()
    taker = threading.Thread(target=front.queue.take)
    taker.start()
    front.queue.close(ServingError(Code.UNAVAILABLE, "unloaded"))
    taker.join(10)
    assert not taker.is_alive()
    with pytest.raises(ServingError, match="unloaded"):
        front.put(texts("a"))


def test_closing_the_queue_fails_waiting_calls() -> None:
    front = Front()
    future = front.put(texts("a"))
    front.queue.close(ServingError(Code.UNAVAILABLE, "unloaded"))
    assert future.exception(0).message == "unloaded"


def test_tokens_of_a_row_are_the_sum_over_its_texts() -> None:
    pairs = strings("a" * 40, "b" * 4, "c", "d").reshape(2, 2)
    assert batching.row_tokens([pairs, np.zeros((2, 5))], 2, None).tolist() == [15, 4]


def test_cancelled_call_frees_its_inputs_while_it_waits() -> None:
    inputs = {"x": np.zeros((1, 1000), np.float32)}
    call = batching.Call(RunRequest("s", inputs), None, np.zeros(1, np.int64))
    assert call.future.cancel()
    assert call.request.inputs == {}


@pytest.mark.parametrize(
    ("shape", "merged"),
    [((1, 1000), True), ((1, 1000, 1), True), ((1, 1 << 21), False), ((1, 1, 1 << 11), False)],
)
def test_long_row_is_not_the_measure_of_padding(shape, merged) -> None:
    proto = signature({"x": [-1] * len(shape)}, {"y": [-1]})
    grouping = Grouping({"s": proto}, BatchLimits(pad_variable_length=True))
    small, long = (
        grouping.call(RunRequest("s", {"x": np.zeros(size, np.int8)}))
        for size in ((1,) * len(shape), shape)
    )
    assert (small.group == long.group) == merged
