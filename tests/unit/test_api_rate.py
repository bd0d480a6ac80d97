"""Token buckets: who may ask, when to come back, and that memory is bounded. The clock is the test's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.rate import TokenBuckets


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_passes_and_the_next_is_told_when_to_come():
    buckets = TokenBuckets(rate_per_s=2, burst=3, clock=Clock())
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_whoever_waits_as_long_as_told_gets_in():
    clock = Clock()
    buckets = TokenBuckets(rate_per_s=2, burst=1, clock=clock)
    buckets.take("a")
    clock.now_s += buckets.take("a")
    assert buckets.take("a") == 0


def test_one_caller_does_not_use_up_what_another_has():
    buckets = TokenBuckets(rate_per_s=1, burst=1, clock=Clock())
    buckets.take("a")
    assert buckets.take("a") > 0
    assert buckets.take("b") == 0


def test_a_refused_request_takes_nothing():
    buckets = TokenBuckets(rate_per_s=1, burst=1, clock=Clock())
    buckets.take("a")
    assert [buckets.take("a") for _ in range(5)] == [1.0] * 5


def test_a_batch_larger_than_the_bucket_waits_for_a_full_one_and_not_for_ever():
    clock = Clock()
    buckets = TokenBuckets(rate_per_s=1, burst=4, clock=clock)
    assert buckets.take("a", tokens=100) == 0
    assert buckets.take("a", tokens=100) == 4
    clock.now_s += 4
    assert buckets.take("a", tokens=100) == 0


def test_the_rest_of_a_batch_costs_what_its_request_leaves_and_is_there_when_told():
    clock = Clock()
    buckets = TokenBuckets(rate_per_s=2, burst=3, clock=clock)

    def ask() -> list[float]:
        return [buckets.take("a"), buckets.take("a", tokens=63, paid=1)]

    assert ask() == [0, 0]
    clock.now_s += 1
    refused = ask()
    assert refused == [0, 1]
    clock.now_s += refused[1]
    assert ask() == [0, 0]


def test_callers_forgotten_for_longest_make_room():
    buckets = TokenBuckets(rate_per_s=1, burst=1, capacity=2, clock=Clock())
    for caller in ("a", "b", "a", "c"):  # b is the one unheard of for longest
        buckets.take(caller)
    assert len(buckets) == 2
    assert [buckets.take("a") > 0, buckets.take("b") > 0] == [True, False]


@given(steps=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 3)), max_size=60))
def test_never_more_than_the_rate_and_one_burst(steps):
    clock = Clock()
    buckets = TokenBuckets(rate_per_s=3, burst=5, clock=clock)
    began_s, passed = clock.now_s, 0
    for pause_s, tokens in steps:
        clock.now_s += pause_s
        passed += tokens if buckets.take("a", tokens=tokens) == 0 else 0
    assert passed <= 5 + 3 * (clock.now_s - began_s) + 1e-6


@pytest.mark.parametrize("burst", [1, 7])
def test_a_long_silence_fills_the_bucket_and_no_more(burst):
    clock = Clock()
    buckets = TokenBuckets(rate_per_s=10, burst=burst, clock=clock)
    clock.now_s += 1e6
    assert sum(buckets.take("a") == 0 for _ in range(burst + 3)) == burst
