"""Token buckets: how many pass, when the next does, and how much is remembered."""

from services.scoring.door.limits import Buckets


def test_a_seconds_worth_passes_at_once_and_then_one_at_a_time():
    buckets = Buckets()
    assert [buckets.wait("a", 4, 100.0) for _ in range(4)] == [0, 0, 0, 0]
    assert buckets.wait("a", 4, 100.0) == 0.25
    assert buckets.wait("a", 4, 100.25) == 0
    assert buckets.wait("a", 4, 100.25) == 0.25


def test_a_bucket_does_not_overflow():
    buckets = Buckets()
    buckets.wait("a", 2, 0.0)
    assert [buckets.wait("a", 2, 1e6) for _ in range(3)] == [0, 0, 0.5]


def test_less_than_one_a_second_still_lets_one_pass():
    buckets = Buckets()
    assert buckets.wait("a", 0.1, 0.0) == 0
    assert buckets.wait("a", 0.1, 0.0) == 10
    assert buckets.wait("a", 0.1, 10.0) == 0


def test_callers_do_not_share():
    buckets = Buckets()
    assert buckets.wait("a", 1, 0.0) == 0
    assert buckets.wait("b", 1, 0.0) == 0
    assert buckets.wait("a", 1, 0.0) > 0


def test_only_the_callers_seen_last_are_remembered():
    buckets = Buckets(callers=3)
    for caller in "abcad":  # b is the one not seen for longest
        buckets.wait(caller, 1, 0.0)
    assert len(buckets) == 3
    assert buckets.wait("a", 1, 0.0) > 0
    assert buckets.wait("b", 1, 0.0) == 0
