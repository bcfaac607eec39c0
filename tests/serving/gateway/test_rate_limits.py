import asyncio

from serving.gateway import rate_limits
from serving.gateway.rate_limits import RateLimiter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_zero_means_no_limit() -> None:
    limiter = RateLimiter(0)
    assert {limiter.take("a") for _ in range(1000)} == {0.0}


def test_least_recently_seen_callers_are_forgotten() -> None:
    limiter = RateLimiter(6, clock=Clock())  # one at once
    callers = [str(number) for number in range(20_000)]
    assert {limiter.take(caller) for caller in callers} == {0.0}
    assert limiter.take(callers[-1]) > 0
    assert limiter.take(callers[0]) == 0.0


def test_wait_ends_when_the_next_request_is_allowed(monkeypatch) -> None:
    clock = Clock()
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(rate_limits.asyncio, "sleep", sleep)
    limiter = RateLimiter(6, clock=clock)
    limiter.take("a")
    asyncio.run(limiter.wait("a"))
    assert pauses == [10.0]
