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


def test_consecutive_failures_open_the_breaker() -> None:
    breaker, _ = make()
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"
    assert not breaker.allow()
    assert breaker.retry_after() == 5.0


def test_successful_trial_call_closes_the_breaker() -> None:
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


def test_failed_trial_call_opens_the_breaker_again() -> None:
    breaker, clock = make()
    fail(breaker, 3)
    clock.now = 5.0
    fail(breaker, 1)
    assert breaker.state == "open"
    clock.now = 9.9
    assert not breaker.allow()
    clock.now = 10.0
    assert breaker.allow()


def test_trial_call_without_outcome_does_not_block_forever() -> None:
    breaker, clock = make()
    fail(breaker, 3)
    clock.now = 5.0
    assert breaker.allow()
    breaker.release()
    assert breaker.allow()
    clock.now = 10.0  # the second trial call has no outcome
    assert breaker.allow()
