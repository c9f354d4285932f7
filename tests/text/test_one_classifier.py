"""Row 4.10: arms that differ in which weights serve which step, and excess loss that is measured against the truth."""

import math
import sys

import pytest
import torch
from torch.nn.functional import conv1d, cross_entropy, one_hot

from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.randomness import stream
from dlnotes.text import RNN
from tests.trials import batches_seen


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("one_classifier"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def tuned(lesson):
    return tuned_settings(contents.lesson_named("one_classifier"), lesson.QUICK).values


@pytest.fixture(scope="module")
def measured(lesson, tuned):
    return lesson.trial(lesson.QUICK, 1_000, tuned)


@pytest.fixture(scope="module")
def settings(lesson):
    return {name: lesson.load(lesson.QUICK, 1_000, name) for name in lesson.ARMS}


# The examples that are worked by hand


def test_the_sequences_of_the_text():
    after_b = {step: [] for step in range(1, 5)}
    for sequence in ("ababb", "babab", "abbab"):
        for step in range(1, 5):
            if sequence[step - 1] == "b":
                after_b[step].append(sequence[step])
    assert {step: (found.count("a"), len(found)) for step, found in after_b.items()} == {
        1: (1, 1),
        2: (1, 2),
        3: (2, 2),
        4: (0, 1),
    }
    assert sum(found.count("a") for found in after_b.values()) == 4
    assert sum(map(len, after_b.values())) == 6


def test_the_numbers_of_the_text():
    assert round(math.log(5), 1) == 1.6
    assert 20 / (2 * 4_000) == 0.0025
    assert 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5) == pytest.approx(0.37, abs=0.005)


def test_many_examples_leave_half_the_weights_over_the_examples():
    """The law of the text, d / 2n, on shares that are counted: 20,000 tables of what follows one of five symbols."""
    p, n = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64), 1_000
    drawn = torch.multinomial(p, 20_000 * n, replacement=True, generator=stream(0, "draws"))
    shares = one_hot(drawn.view(-1, n), 5).sum(1) / n
    excess = (p * (p.log() - shares.double().log())).sum(1).mean().item()
    assert excess == pytest.approx(4 / (2 * n), rel=0.05)  # one row of the five has 4 free weights, and its own n


def test_one_unit_of_the_text_and_the_convolution_beside_it():
    layer = RNN(1, 1, nonlinearity="linear", generator=stream(0, "weights"))
    layer.weight_ih_l0.data.fill_(1.0)
    layer.weight_hh_l0.data.fill_(0.5)
    inputs = torch.tensor([1.0, 0, 0, 0])
    assert layer(inputs.view(1, 4, 1))[0].flatten().tolist() == [1, 0.5, 0.25, 0.125]
    padded = torch.cat([torch.zeros(1), inputs]).view(1, 1, 5)
    assert conv1d(padded, torch.tensor([[[0.5, 1.0]]])).flatten().tolist() == [1, 0.5, 0, 0]


# The arms


def test_shared_is_separate_with_one_table_in_all_places(lesson, settings):
    _, sequences, _ = settings["stationary, few"]
    shared = lesson.trained("shared", sequences, lesson.QUICK, 0, lr=0.5)
    separate = lesson.Classifier("separate", lesson.QUICK, 0)
    assert shared.weight.shape == (1, 5, 5)
    assert separate.weight.shape == (16, 5, 5)
    separate.weight.data.copy_(shared.weight.expand(16, 5, 5))
    inputs = one_hot(sequences[:, :-1], 5).float()
    assert shared.weight.any()
    assert torch.allclose(shared(inputs), separate(inputs))


def test_each_separate_table_serves_its_own_step_alone(lesson):
    separate = lesson.Classifier("separate", lesson.QUICK, 0)
    separate.weight.data[3] = 7.0
    inputs = one_hot(torch.randint(5, (2, 16), generator=stream(0, "inputs")), 5).float()
    scores = separate(inputs)
    assert (scores[:, 3] == 7).all()
    assert scores.sum() == 2 * 5 * 7
    with pytest.raises(RuntimeError):  # there are no tables for later steps
        separate(torch.cat([inputs, inputs], 1))


def test_the_gradient_of_the_shared_table_is_the_sum_of_those_of_separate_ones(lesson, settings):
    _, sequences, _ = settings["stationary, many"]
    found = []
    for arm in lesson.LINEAR:
        model = lesson.Classifier(arm, lesson.QUICK, 0)
        scores = model(one_hot(sequences[:, :-1], 5).float())
        cross_entropy(scores.flatten(0, 1), sequences[:, 1:].flatten()).backward()
        found.append(model.weight.grad)
    assert torch.allclose(found[0], found[1].sum(0, keepdim=True), atol=1e-6)
    assert not torch.allclose(found[1][0], found[1][1], atol=1e-3)


def test_the_clock_runs_from_minus_one_to_one(lesson):
    model = lesson.Classifier("clock", lesson.QUICK, 0)
    model.weight.data[0, 5:] = torch.eye(5)  # the score of a symbol is the clock where it stands
    scores = model(one_hot(torch.full((1, 16), 2), 5).float())
    assert torch.allclose(scores[0, :, 2], torch.linspace(-1, 1, 16))
    assert not scores[0, :, [0, 1, 3, 4]].any()


def test_the_recurrent_arm_sees_symbols_and_no_time_but_remembers(lesson):
    model = lesson.Classifier("recurrent", lesson.QUICK, 0)
    model.weight.data.normal_(generator=stream(0, "table"))
    ids = torch.randint(5, (1, 16), generator=stream(0, "inputs"))
    inputs = one_hot(ids, 5).float()
    states, _ = model.layer(inputs)
    assert torch.allclose(model(inputs), states @ model.weight[0])
    other = inputs.clone()
    other[0, 0] = other[0, 0].roll(1)
    assert not torch.allclose(model(inputs)[0, 3], model(other)[0, 3], atol=1e-4)


def test_all_arms_see_the_same_batches_and_start_without_preference(lesson, settings, monkeypatch):
    seen = batches_seen(lesson, monkeypatch)
    _, sequences, _ = settings["drifting, many"]
    for arm in lesson.ALL:
        assert not lesson.Classifier(arm, lesson.QUICK, 0).weight.any()
        seen.append([])
        lesson.trained(arm, sequences, lesson.QUICK, 0, lr=0.1)
    assert [len(one) for one in seen] == [20] * 4
    for other in seen[1:]:
        assert all(torch.equal(one, another) for one, another in zip(seen[0], other, strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])


def test_the_rate_falls_to_zero(lesson, settings, monkeypatch):
    decays = []
    decay = lesson.linear.cosine_decay

    def noted(optimizer, steps):
        decays.append((optimizer, steps))
        return decay(optimizer, steps)

    monkeypatch.setattr(lesson.linear, "cosine_decay", noted)
    model = lesson.trained("shared", settings["stationary, few"][1], lesson.QUICK, 0, lr=0.5)
    assert model.weight.norm() > 0.1  # it moves
    ((optimizer, steps),) = decays
    assert steps == 20
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_all_arms_choose_among_the_same_six_rates(lesson):
    assert set(lesson.TUNING) == {f"{setting}/{arm}" for setting, arms in lesson.ARMS.items() for arm in arms}
    for key, rates in lesson.TUNING.items():
        assert len(rates) == 6
        assert rates == lesson.TUNING[f"{key.split('/')[0]}/shared"]


# The sequences


def test_few_are_the_first_of_many_and_fresh_ones_are_others(lesson, settings):
    for chain in ("stationary", "drifting"):
        (_, few, fresh), (_, many, same) = (settings[f"{chain}, {size}"] for size in ("few", "many"))
        assert (len(few), len(many)) == (20, 200)
        assert torch.equal(few, many[:20])
        assert torch.equal(fresh, same)
        assert not torch.equal(fresh[:, 0], many[:100, 0])  # what one generator draws first


def test_rules_stay_or_drift_evenly_from_the_same_table(lesson, settings):
    still, drifting = settings["stationary, many"][0], settings["drifting, many"][0]
    assert still.shape == (32, 5, 5)
    assert drifting.shape == (16, 5, 5)
    assert (still == still[0]).all()
    assert torch.equal(drifting[0], still[0])
    moves = drifting.diff(dim=0)
    assert torch.allclose(moves, moves[0].expand_as(moves))
    assert moves[0].abs().max() > 0.01
    assert torch.allclose(drifting.sum(2), torch.ones(16, 5, dtype=torch.float64))


def test_many_sequences_have_the_frequencies_of_the_table_of_each_step(lesson):
    truth, train, fresh = lesson.load(lesson.Config(), 1_000, "drifting, many")
    for sequences in (train, fresh):
        for step in (0, 15):
            after = one_hot(sequences[:, step + 1][sequences[:, step] == 0], 5).double().mean(0)
            assert torch.allclose(after, truth[step, 0], atol=0.12)


# What is measured


def test_excess_loss_is_cross_entropy_minus_that_of_the_truth(lesson, settings):
    """Exactly over what may come next, and so near what the symbols that came would say."""
    truth, train, _ = lesson.load(lesson.Config(), 1_000, "drifting, many")
    model = lesson.trained("shared", settings["drifting, few"][1], lesson.QUICK, 0, lr=0.5)
    excess, _ = lesson.judged(model, truth, train)
    for step in (0, 9, 15):
        now, then = train[:, step], train[:, step + 1]
        truths = truth[step]
        said = model(one_hot(train[:, :-1], 5).float()).double().softmax(2)[:, step]
        exact = sum(
            (truths[i, k] * (truths[i, k] / said[now == i][0, k]).log()).item() * (now == i).double().mean().item()
            for i in range(5)
            for k in range(5)
        )
        assert excess[step].item() == pytest.approx(exact, rel=1e-5)
        sampled = (truths[now, then].log() - said.gather(1, then[:, None])[:, 0].log()).mean().item()
        assert excess[step].item() == pytest.approx(sampled, abs=0.06)


def test_the_truth_has_no_excess_and_a_guess_has_what_it_lacks(lesson, settings):
    truth, _, fresh = settings["drifting, many"]
    model = lesson.Classifier("separate", lesson.QUICK, 0)
    guess, said = lesson.judged(model, truth, fresh)
    entropy = -(truth * truth.log()).sum(2)
    expected = [(math.log(5) - entropy[step][fresh[:, step]]).mean().item() for step in range(16)]
    assert guess.tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(said[said > 0], torch.tensor(0.2, dtype=torch.float64))
    model.weight.data.copy_(truth.log())
    exact, said = lesson.judged(model, truth, fresh)
    assert exact.abs().max() < 1e-6
    there = said.sum(2) > 0  # the symbols that came at that step
    assert torch.allclose(said[there], truth[there], atol=1e-6)


def test_a_trial_measures_steps_of_training_and_those_after_them(lesson, tuned, measured):
    truth, sequences, fresh = lesson.load(lesson.QUICK, 1_000, "stationary, many")
    model = lesson.trained("shared", sequences, lesson.QUICK, 1_000, lr=tuned["stationary, many/shared"])
    excess, _ = lesson.judged(model, truth, fresh)
    assert measured["stationary, many/shared/by step"] == excess.tolist()
    assert measured["stationary, many/shared/excess"] == pytest.approx(excess[:16].mean().item())
    assert measured["stationary, many/shared later/excess"] == pytest.approx(excess[16:].mean().item())
    assert len(measured["stationary, many/separate/by step"]) == 16
    assert not any("later" in name for name in measured if "drifting" in name or "separate" in name)


def test_a_trial_keeps_first_middle_and_last_tables(lesson, measured):
    truth, _, _ = lesson.load(lesson.QUICK, 1_000, "drifting, many")
    assert measured["said/truth"] == truth[[0, 8, 15]].flatten().tolist()
    assert all(len(measured[f"said/{arm}"]) == 75 for arm in lesson.ALL)


def test_rates_are_chosen_by_excess_loss_on_fresh_sequences_of_a_tuning_seed(lesson, settings):
    truth, sequences, fresh = settings["stationary, few"]
    (score,) = lesson.tune(lesson.QUICK, 1_000, "stationary, few/shared", (0.4,))
    model = lesson.trained("shared", sequences, lesson.QUICK, 1_000, lr=0.4)
    assert score == pytest.approx(lesson.judged(model, truth[:16], fresh)[0].mean().item())
    assert min(lesson.TUNING_SEEDS) > max(lesson.SEEDS)


def test_the_error_of_width_1_is_rounding_and_a_recurrence_would_be_seen(lesson, monkeypatch):
    assert lesson.error_of_width_1(1_000) < 1e-12  # on some processors it is 0
    monkeypatch.setattr(lesson.nn.init, "zeros_", lambda weights: torch.nn.init.constant_(weights, 1e-3))
    assert lesson.error_of_width_1(1_000) > 1e-4
