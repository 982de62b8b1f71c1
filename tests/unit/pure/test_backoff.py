"""backoff: the bounds double up to the longest, refusals wait longer, and only a lasting connection starts over."""

import random

from rootlet.backoff import Backoff


def highest(bits):
    return (1 << bits) - 1


def pauses(code, count, rand=random.getrandbits, first=4000, longest=60000):
    b = Backoff(first, longest, rand)
    return [b.failed(code) for _ in range(count)]


def test_bounds_double_up_to_the_longest():
    b = Backoff(4000, 60000)
    bounds = []
    for _ in range(20):
        bounds.append(b.bound())
        assert 100 <= b.failed("MQTT_CLOSED") <= bounds[-1]
    assert bounds == [4000, 8000, 16000, 32000] + [60000] * 16


def test_jitter_fills_the_whole_range():
    found = [Backoff(4000, 60000).failed() for _ in range(2000)]
    assert min(found) < 400 and max(found) > 3600
    assert 1800 < sum(found) / len(found) < 2300


def test_refusals_wait_four_times_as_long_and_at_least_half():
    b = Backoff(4000, 60000)
    for bound in (16000, 32000, 64000, 128000, 240000, 240000):
        assert b.bound("MQTT_REFUSED") == bound
        assert bound // 2 <= b.failed("MQTT_REFUSED") <= bound


def test_extremes_of_the_random_numbers():
    for rand in (highest, lambda bits: 0):
        for pause in pauses("", 30, rand):
            assert 100 <= pause <= 60000
        for pause in pauses("TLS_REFUSED", 30, rand):
            assert 8000 <= pause <= 240000


def test_a_bound_below_the_least_pause():
    assert pauses("", 3, highest, 50, 60)[0] <= 60


def test_a_stable_connection_starts_over_and_nothing_else_does():
    b = Backoff(4000, 60000)
    b.failed()
    b.failed()
    assert b.bound() == 16000
    b.stable()
    assert b.bound() == 4000
