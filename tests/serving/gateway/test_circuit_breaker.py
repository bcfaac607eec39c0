from serving.gateway.circuit_breaker import CircuitBreaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def make() -> tuple[CircuitBreaker, Clock]:
    clock = Clock()
    return CircuitBreaker(3, 5.0, clock), clock


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        assert breaker.allow()
        breaker.failed()


def test_failures_in_a_row_open_it() -> None:
    breaker, _ = make()
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"
    assert not breaker.allow()
    assert breaker.retry_after() == 5.0


def test_one_call_tries_again_and_closes_it() -> None:
    breaker, clock = make()
    fail(breaker, 3)
    clock.now = 4.9
    assert not breaker.allow()
    clock.now = 5.0
    assert breaker.state == "half-open"
    assert [breaker.allow() for _ in range(3)] == [True, False, False]
    breaker.succeeded()
    assert breaker.state == "closed"
    assert [breaker.allow() for _ in range(3)] == [True] * 3


def test_a_failed_trial_opens_it_again() -> None:
    breaker, clock = make()
    fail(breaker, 3)
    clock.now = 5.0
    fail(breaker, 1)
    assert breaker.state == "open"
    clock.now = 9.9
    assert not breaker.allow()
    clock.now = 10.0
    assert breaker.allow()


def test_a_trial_without_outcome_does_not_block_for_ever() -> None:
    breaker, clock = make()
    fail(breaker, 3)
    clock.now = 5.0
    assert breaker.allow()
    breaker.release()
    assert breaker.allow()
    clock.now = 10.0  # this one never told
    assert breaker.allow()
