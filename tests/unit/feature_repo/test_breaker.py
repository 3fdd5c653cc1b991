"""The circuit breaker on a clock of its own."""

from feature_repo.stores.breaker import Breaker


def a_breaker():
    now = [100.0]
    return Breaker(failures=3, pause=0.5, clock=lambda: now[0]), now


def test_it_opens_after_failures_in_a_row():
    breaker, _ = a_breaker()
    for failed in (True, True, False, True, True):
        breaker.failed() if failed else breaker.succeeded()
        assert breaker.allows()
    breaker.failed()
    assert breaker.is_open
    assert not breaker.allows()


def test_it_lets_one_through_after_each_pause():
    breaker, now = a_breaker()
    for _ in range(3):
        breaker.failed()
    now[0] += 0.49
    assert not breaker.allows()
    now[0] += 0.01
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.failed()
    now[0] += 0.49
    assert not breaker.allows()
    now[0] += 0.02
    assert breaker.allows()


def test_one_success_closes_it():
    breaker, now = a_breaker()
    for _ in range(3):
        breaker.failed()
    now[0] += 1
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True, True, True]
    breaker.failed()
    assert breaker.allows()
