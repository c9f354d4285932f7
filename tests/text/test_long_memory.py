"""Long memory: arms that differ in one thing, budgets that end where they should, and gradients as they are."""

import math
import sys
from itertools import islice

import pytest
import torch
from torch import nn

from dlnotes import data
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.training import accuracy
from tests.trials import prediction, reference, replaced

PLAIN = ("plain", "orthogonal")


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("long_memory"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def layers(lesson):
    """The first weights of each arm, by name."""
    return {arm: lesson.untrained(lesson.Config(), 0, arm).state_dict() for arm in lesson.ARMS}


# The arms


def test_plain_networks_differ_in_the_recurrent_weights_alone(layers):
    even, rotation = (layers[arm] for arm in PLAIN)
    differing = {name for name, one in even.items() if not torch.equal(one, rotation[name])}
    assert differing == {"weight_hh_l0"}
    turned = rotation["weight_hh_l0"]
    torch.testing.assert_close(turned @ turned.T, torch.eye(32), rtol=0, atol=1e-5)
    assert even["weight_hh_l0"].abs().max() <= 1 / math.sqrt(32)


def test_lstms_differ_in_the_forget_bias_alone_and_it_is_that_of_their_name(lesson, layers):
    biases = {arm: bias for arm, bias in lesson.ARMS.items() if bias is not None}
    assert biases == {"LSTM -2": -2, "LSTM 1": 1, "LSTM 3": 3}
    one = layers["LSTM 1"]
    for arm, bias in biases.items():
        differing = {name for name, each in layers[arm].items() if not torch.equal(each, one[name])}
        assert differing == (set() if bias == 1 else {"bias_ih_l0"})
        expected = torch.zeros(4, 32)
        expected[1] = bias  # input, forget, what could be written, output
        assert torch.equal(layers[arm]["bias_ih_l0"].view(4, 32), expected)


def test_the_faster_lstm_is_ours(lesson):
    config, inputs = lesson.Config(), data.delayed_recall(8, 20, generator=stream(0, "inputs")).inputs
    found = []
    for layer in (ours := lesson.untrained(config, 0, "LSTM 3"), lesson.faster(ours)):
        outputs = layer(inputs)[0]
        outputs[:, -1].pow(2).sum().backward()
        found.append([outputs, *(each.grad for each in layer.parameters())])
    assert isinstance(layer, nn.LSTM)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    plain = lesson.untrained(config, 0, "plain")
    assert lesson.faster(plain) is plain


def test_all_arms_see_the_same_sequences_and_no_batch_twice(lesson, monkeypatch):
    fresh, seen = lesson.fresh, {}

    def noted(config, seed, delay, count, purpose):
        for number, examples in enumerate(fresh(config, seed, delay, count, purpose)):
            seen[purpose].append(examples.inputs)
            assert number < 100
            yield examples

    monkeypatch.setattr(lesson, "fresh", noted)
    kept = []
    for arm in ("plain", "orthogonal", "LSTM 3"):
        seen.update({"batches": [], "watched": [], "test": []})
        lesson.trained(lesson.QUICK, 0, "long", arm, lr=0.0)
        kept.append({purpose: list(inputs) for purpose, inputs in seen.items()})
    for purpose, inputs in kept[0].items():
        for other in kept[1:]:
            assert len(inputs) == len(other[purpose])
            assert all(torch.equal(one, another) for one, another in zip(inputs, other[purpose], strict=True))
    assert len(kept[0]["batches"]) == lesson.QUICK.steps
    assert not torch.equal(*kept[0]["batches"][:2])
    assert not torch.equal(kept[0]["watched"][0][:100], kept[0]["test"][0])


def test_gradients_are_clipped_at_1_with_momentum_at_the_rate_of_the_arm(lesson, monkeypatch):
    made, optimizer = [], lesson.SGD
    monkeypatch.setattr(lesson, "SGD", lambda parameters, **more: made.append(more) or optimizer(parameters, **more))
    lesson.trained(lesson.QUICK, 0, "short", "plain", lr=0.03)
    assert made == [{"lr": 0.03, "momentum": 0.9, "max_norm": 1.0}]


# What is measured


def test_a_training_ends_once_nine_of_ten_watched_answers_are_right(lesson):
    config = lesson.Config()
    model, steps, _ = lesson.trained(config, 2_000, "shortest", "orthogonal", lr=0.04)
    assert 0 < steps < config.steps
    assert steps % 50 == 0
    watched = next(lesson.fresh(config, 2_000, "shortest", 256, "watched"))
    assert accuracy(model, watched) >= 0.9


def test_it_is_judged_by_sequences_that_did_not_end_its_training(lesson):
    config = lesson.QUICK
    model, _, (soon, late) = lesson.trained(config, 2_000, "long", "LSTM 3", lr=0.1)
    test, watched = (
        next(lesson.fresh(config, 2_000, "long", count, purpose))
        for count, purpose in ((config.test, "test"), (256, "watched"))
    )
    assert soon == late == accuracy(model, test)
    assert soon != accuracy(model, watched)
    assert not torch.equal(test.inputs, watched.inputs[: config.test])


def test_only_the_middle_delay_has_more_steps_and_the_first_share_is_from_before_them(lesson):
    config = lesson.QUICK
    _, steps, (soon, late) = lesson.trained(config, 0, "long", "LSTM -2", lr=0.01)
    assert (steps, soon) == (config.steps, late)
    short = lesson.Config(**{**vars(config), "more_steps": config.steps})
    _, few, (before, same) = lesson.trained(short, 0, "middle", "LSTM 3", lr=0.1)
    _, more, (first, last) = lesson.trained(config, 0, "middle", "LSTM 3", lr=0.1)
    assert (few, more) == (50, 100)
    assert first == before == same < last


def test_the_gradient_before_training_is_that_of_the_library_step_by_step_back(lesson):
    config = lesson.Config()
    layer = lesson.untrained(config, 0, "LSTM 1").double()
    inputs = next(lesson.fresh(config, 0, "long", 64, "shown")).inputs.double()
    norms = lesson.gradient_norms(layer, inputs)
    found = lesson.vanishing(config, 0, "LSTM 1")
    assert len(found) == config.long + 1
    assert found[0] == 0
    for back in (1, 20, 50):
        assert found[back] == pytest.approx((norms[:, -1 - back] / norms[:, -1]).log10().mean().item(), rel=1e-9)


def test_rates_are_chosen_by_steps_and_mistakes(lesson, monkeypatch):
    runs = {0.01: (None, 1_000, [0.1, 0.2]), 0.02: (None, 300, [0.95, 0.95])}
    monkeypatch.setattr(lesson, "trained", lambda *_, lr: runs[lr])
    assert lesson.tune(lesson.Config(), 1_000, "long/plain", (0.01, 0.02)) == pytest.approx([1_800, 315])


# What the lesson says


def test_the_numbers_of_the_idea(lesson):
    text = lesson.__doc__
    assert "a quarter is left after\n2 steps, a 1,000th after 10 and a millionth after 20" in text
    assert [1 / 0.5**back for back in (2, 10, 20)] == [4, 1_024, 1_048_576]
    kept = [1 / (1 + math.exp(-bias)) for bias in (-2, 0, 1, 3)] + [1 / math.sqrt(3)]
    assert [f"{one:.2f}" for one in kept] == ["0.12", "0.50", "0.73", "0.95", "0.58"]
    assert [f"{one**20:.0e}" for one in kept] == ["3e-19", "1e-06", "2e-03", "4e-01", "2e-05"]
    assert kept[3] ** 20 == pytest.approx(0.38, abs=0.005)
    for number in ("0.12", "0.50", "0.73", "0.95", "0.58", "3 / 10¹⁹", "1 / 10⁶", "2 / 10⁵", "0.002", "0.38"):
        assert number in text


def test_a_plain_network_keeps_about_0_58_a_step_before_training(lesson):
    """4.17: so that what is far is hardly taught."""
    config = lesson.Config()
    a_step = {
        arm: 10 ** (sum(lesson.vanishing(config, seed, arm)[20] for seed in range(8)) / 8 / 20) for arm in lesson.ARMS
    }
    assert a_step["plain"] == pytest.approx(0.58, abs=0.04)
    assert a_step["orthogonal"] > 0.9
    assert a_step["LSTM -2"] < 0.3 < a_step["plain"] < a_step["LSTM 1"] < 0.9 < a_step["LSTM 3"]


def test_what_is_judged_is_the_difference_of_two_arms_at_one_delay():
    experiment, trials, _ = reference("long_memory")
    planted = {"long/orthogonal/right": 0.75, "long/plain/right": 0.25, "short/plain/right": 1.0}
    changed = replaced(trials, {name: 0 * trials[name] + share for name, share in planted.items()})
    effects = {name: prediction(experiment, name).judge(changed).effect for name in ("orthogonal start", "recent only")}
    assert effects == pytest.approx({"orthogonal start": 0.5, "recent only": 0.75})


def test_sequences_never_end_and_are_those_of_the_delay(lesson):
    for examples in islice(lesson.fresh(lesson.Config(), 0, "middle", 3, "batches"), 2):
        assert examples.inputs.shape == (3, 21, lesson.KINDS)
        assert torch.equal(examples.inputs[:, 0].argmax(1), examples.targets)
