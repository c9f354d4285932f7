"""The clock of the benchmarks, with a clock that is turned by hand: nothing here depends on how fast the machine is."""

import pytest

from benchmarks import clock


@pytest.fixture
def ways(monkeypatch):
    """Two ways to do the same: ours takes 2 µs a call; theirs 3 in the first round, then 6, and 5 from then on."""
    now, calls = [0.0], []
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])

    def ours():
        calls.append("ours")
        now[0] += 2e-6

    def theirs():
        calls.append("theirs")
        number = (calls.count("theirs") - 2) // 10  # the first call of all is not counted
        now[0] += [3e-6, 6e-6, 5e-6][min(number, 2)]

    return ours, theirs, calls


def test_the_ratio_is_the_time_of_theirs_over_ours_with_its_median_and_its_ends(ways):
    ours, theirs, _ = ways
    ratio = clock.interleaved(ours, theirs, calls=10, rounds=5)
    assert ratio[:3] == pytest.approx((2.5, 1.5, 3.0))
    assert ratio[3:] == pytest.approx((2.0, 5.0))
    assert str(ratio) == "×2.50 [1.50, 3.00]   2 µs against 5"


def test_each_round_begins_with_the_other_way(ways):
    ours, theirs, calls = ways
    clock.interleaved(ours, theirs, calls=10, rounds=3)
    ours_first, theirs_first = ["ours"] * 10 + ["theirs"] * 10, ["theirs"] * 10 + ["ours"] * 10
    assert calls == ["ours", "theirs", *ours_first, *theirs_first, *ours_first]
