"""The benchmarks, with a clock that is turned by hand: nothing here depends on how fast the machine is."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import clock, recurrent
from benchmarks.clock import Ratio
from benchmarks.table import MARK, Row, kept, page
from dlnotes.lesson.records import to_json


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


# The table

RATIO = Ratio(2.0, 1.5, 3.0, 100.0, 200.0)
ROWS = [
    Row("ours and theirs", RATIO, 1.9, {"products": 0.75, "Python": 0.25}),
    Row("another", RATIO, 2.1),
    Row("without a goal", RATIO),
]


def test_a_goal_is_met_by_the_median():
    assert [row.met for row in ROWS] == [True, False, None]
    assert str(ROWS[1]).endswith("goal 2.10: MISSED")


def test_the_page_keeps_what_stands_above_the_mark_and_makes_the_rest_anew():
    content = kept(ROWS, {"torch": "2.15"})
    written = page(f"# A page\n\n{MARK}\nan old table", content)
    assert written.startswith(f"# A page\n\n{MARK}\nMeasured with torch 2.15; medians of {clock.ROUNDS} rounds.\n\n|")
    assert "old" not in written
    assert written.splitlines()[-3:] == [
        "| ours and theirs | 2.00 [1.50, 3.00] | 0.1, 0.2 | 1.90 | met | products 75, Python 25 |",
        "| another | 2.00 [1.50, 3.00] | 0.1, 0.2 | 2.10 | **missed** |  |",
        "| without a goal | 2.00 [1.50, 3.00] | 0.1, 0.2 |  |  |  |",
    ]
    assert page(written, content) == written


def test_a_page_without_the_mark_is_refused():
    with pytest.raises(ValueError, match="lacks the line"):
        page("# A page", kept(ROWS, {}))


def test_what_is_kept_is_plain():
    content = kept(ROWS, {"torch": "2.15"})
    assert json.loads(to_json(content)) == content


def test_the_shares_know_a_product_from_a_copy_and_take_off_what_the_profiler_costs():
    events = [("aten::addmm_", 10, 700.0), ("aten::copy_", 10, 300.0), ("aten::relu", 20, 240.0)]
    whole = [("Optimizer.step#SGD.step", 10, 9_000.0)]  # marked as a whole, its operators besides
    found = clock.shares_of(events + whole, alone=1_250.0, watched=1_750.0)  # 10 µs an event
    assert found == pytest.approx({"products": 0.48, "memory": 0.16, "operators": 0.032, "Python": 0.328})


def test_an_operator_that_took_less_than_the_profiler_counts_nothing():
    found = clock.shares_of([("aten::mm", 1, 90.0), ("aten::relu", 1, 5.0)], alone=100.0, watched=120.0)
    assert found == pytest.approx({"products": 0.8, "memory": 0.0, "operators": 0.0, "Python": 0.2})


def test_the_shares_of_a_call_add_up():
    matrix = torch.ones(100, 100)
    found = clock.shares(lambda: matrix @ matrix, calls=3)
    assert list(found) == ["products", "memory", "operators", "Python"]
    assert sum(found.values()) == pytest.approx(1)


def test_the_models_of_text_that_are_compared_are_one_function():
    ours = recurrent.ours_of(16)
    with torch.random.fork_rng():  # PyTorch's modules draw their first weights from the global generator
        modules = recurrent.OfModules(torch.nn.LSTM(16, 16, batch_first=True), 16)
        loop = recurrent.OfModules(recurrent.GateByGate(16), 16)
    layer = ours.recurrent
    with torch.no_grad():
        modules.layer.load_state_dict(layer.state_dict())
        for own, weights in ((loop.layer.of_input, layer.weight_ih_l0), (loop.layer.of_state, layer.weight_hh_l0)):
            for gate, weight in zip(own, weights.chunk(4), strict=True):
                gate.weight.copy_(weight)
        for gate, bias in zip(loop.layer.of_input, (layer.bias_ih_l0 + layer.bias_hh_l0).chunk(4), strict=True):
            gate.bias.copy_(bias)
        for theirs in (modules, loop):
            theirs.embedding.weight.copy_(ours.embedding)
            theirs.scores.load_state_dict(ours.scores.state_dict())
    ids = torch.randint(recurrent.SYMBOLS, (3, 9), generator=torch.Generator().manual_seed(0))
    for theirs in (modules, loop):
        torch.testing.assert_close(theirs(ids), ours(ids))


def test_the_committed_page_is_made_from_the_committed_results():
    here = Path(clock.__file__).parent
    text = (here / "README.md").read_text("utf-8")
    assert page(text, json.loads((here / "results.json").read_text("utf-8"))) == text
