"""Sampled words: the example by hand, arms that differ in one thing, and costs that are those of the arithmetic."""

import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dlnotes import data
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.text import SampledSoftmaxLoss, Samples
from tests.trials import batches_seen

TERMS, CHANCES = (8, 2, 2, 4), (1 / 2, 1 / 4, 1 / 8, 1 / 8)  # exp(score) and q of the words a, b, c and d


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("sampled_words"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def quick(lesson):
    """What a trial measures with one rate for all, and the text of many words that it drew."""
    tuned = dict.fromkeys(lesson.TUNING, 0.1)
    return lesson.trial(lesson.QUICK, 1_000, tuned), lesson.load(lesson.QUICK, "many", 1_000)


# The idea


@pytest.mark.parametrize(
    ("correct", "sums", "mean", "loss"), [(True, (8, 16, 24, 40), 16, 0.51), (False, (8, 10, 10, 12), 9.25, 0.13)]
)
def test_the_example_by_hand_is_what_the_loss_computes(correct, sums, mean, loss):
    """One word is drawn, and the target is a: the loss is the logarithm of the estimated sum over 8."""
    losses = []
    for word, q in enumerate(CHANCES):
        drawn = Samples(torch.tensor([word]), torch.tensor([q], dtype=torch.float64))
        sampler = SimpleNamespace(symbols=4, sample=lambda count, generator, drawn=drawn: drawn)
        chance = {"generator": stream(0, "weights"), "draws": stream(0, "draws")}
        layer = SampledSoftmaxLoss(4, 1, 1, **chance, sampler=sampler, correct=correct, dtype=torch.float64)
        layer.weight.data.copy_(torch.tensor(TERMS)[:, None].log())
        losses.append(layer(torch.ones(1, 1, dtype=torch.float64), torch.tensor([0])).item())
    assert [8 * math.exp(one) for one in losses] == pytest.approx(sums)
    assert sum(q * 8 * math.exp(one) for one, q in zip(losses, CHANCES, strict=True)) == pytest.approx(mean)
    assert round(sum(q * one for one, q in zip(losses, CHANCES, strict=True)), 2) == loss


def test_all_words_have_the_sum_and_the_loss_of_the_text():
    assert (sum(TERMS), round(math.log(16 / 8), 2)) == (16, 0.69)


# The arms


def test_arms_differ_in_how_the_sum_is_estimated_and_in_nothing_else(lesson, quick, monkeypatch):
    seen, started, stepped = batches_seen(lesson, monkeypatch), [], []
    make = lesson.guesser

    def noted(config, text, seed, arm):
        started.append(make(config, text, seed, arm))
        stepped.append((started[-1].output, {name: one.clone() for name, one in started[-1].state_dict().items()}))
        return started[-1]

    monkeypatch.setattr(lesson, "guesser", noted)
    for arm in lesson.ARMS:
        seen.append([])
        lesson.trained(lesson.QUICK, quick[1], 1_000, arm, 0.1, [lesson.QUICK.steps])
    for batches in seen[1:]:
        assert len(batches) == lesson.QUICK.steps
        assert all(map(torch.equal, batches, seen[0]))
    for _, weights in stepped[1:]:
        assert all(torch.equal(one, stepped[0][1][name]) for name, one in weights.items())
    settings = {
        arm: (layer.sampled if layer.training else "all", layer.correct)
        for arm, (layer, _) in zip(lesson.ARMS, stepped, strict=True)
    }
    assert settings == {
        "1 word": (1, True),
        "8 words": (8, True),
        "64 words": (64, True),
        "512 words": (512, True),
        "uncorrected": (64, False),
        "all words": ("all", True),
    }
    ends = [model.output.weight for model in started]
    assert all(not torch.equal(one, other) for place, one in enumerate(ends) for other in ends[:place])


def test_the_weight_of_a_drawn_word_is_all_that_the_correction_changes(lesson, quick):
    drawn = []
    for arm in ("64 words", "uncorrected"):
        layer = lesson.guesser(lesson.QUICK, quick[1], 1_000, arm).output
        drawn.append([layer.sampler.sample(64, layer.draws).ids for _ in range(3)])
    assert all(map(torch.equal, *drawn))
    assert not torch.equal(drawn[0][0], drawn[0][1])


def test_each_model_starts_with_the_frequencies_of_the_words(lesson, quick):
    model = lesson.guesser(lesson.QUICK, quick[1], 1_000, "8 words")
    ids = torch.cat([quick[1].train.inputs, quick[1].train.targets[-1:]])
    counts = torch.tensor([(ids == word).sum().item() + 1 for word in range(600)])
    scores = model.output.scores(torch.zeros(1, 16))[0]  # of a vector that says nothing
    assert torch.allclose(scores.softmax(0), counts / counts.sum())
    assert torch.allclose(model.output.sampler.probabilities.float(), counts / counts.sum())


def test_all_arms_are_judged_with_all_words_in_the_sum(lesson, quick):
    measured, text = quick
    starts = {measured[f"many/{arm}/losses"][0] for arm in lesson.ARMS}
    assert len(starts) == 1
    model = lesson.guesser(lesson.QUICK, text, 1_000, "1 word")
    log_probs = model.output.scores(model(text.test.inputs)).log_softmax(1)
    by_hand = -log_probs.gather(1, text.test.targets[:, None]).mean().item()
    assert starts.pop() == pytest.approx(by_hand, rel=1e-5)


# What is counted


@pytest.mark.parametrize("arm", ["8 words", "64 words", "all words"])
def test_multiply_adds_are_those_that_pytorch_counts(lesson, quick, arm):
    """PyTorch counts two for each in matrix products. A target's score is no matrix product."""
    text = quick[1]
    model = lesson.guesser(lesson.QUICK, text, 1_000, arm)
    with FlopCounterMode(display=False) as counted:
        model.output(model(text.train.inputs[:16]), text.train.targets[:16]).backward()
    targets = 3 * 16 * 16 if lesson.ARMS[arm] else 0
    assert counted.get_total_flops() // 2 + targets == lesson.multiply_adds(lesson.QUICK, arm, 600)


def test_a_step_with_64_of_10_000_words_costs_65_of_10_000(lesson):
    config = lesson.Config()
    costs = {arm: lesson.multiply_adds(config, arm, config.words) for arm in lesson.ARMS}
    assert costs["64 words"] * 10_000 == costs["all words"] * 65
    assert costs["512 words"] * 10_000 == costs["all words"] * 513
    assert costs["uncorrected"] == costs["64 words"]


def test_models_are_judged_at_equal_steps_and_one_of_them_later_too(lesson, quick):
    measured, _ = quick
    assert lesson.marks(lesson.Config()) == [0, 2, 8, 32, 128, 256]
    assert lesson.marks(lesson.Config(), longer=True) == [0, 2, 8, 32, 128, 256, 320, 384, 448, 512]
    assert lesson.marks(lesson.QUICK, longer=True) == [0, 2, 8, 10, 12, 14, 16]
    for arm in lesson.ARMS:
        losses = measured[f"many/{arm}/losses"]
        assert len(losses) == (7 if arm == "64 words" else 3)
        assert measured[f"many/{arm}/perplexity"] == math.exp(losses[2])


def test_the_cost_is_that_of_the_first_mark_that_is_as_good_as_all_words(lesson, monkeypatch):
    losses = {"all words": [9.0, 8.0, 7.0], "64 words": [9.0, 8.5, 7.5, 7.1, 7.0, 6.5, 6.9]}

    def made(config, text, seed, arm, lr, places):
        model = lesson.guesser(config, text, seed, arm)
        return model, losses.get(arm, losses["all words"])

    monkeypatch.setattr(lesson, "trained", made)
    tuned = dict.fromkeys(lesson.TUNING, 0.1)
    measured = lesson.trial(lesson.QUICK, 1_000, tuned)
    assert measured["many/64 words/cost"] == 12 * 3 * 16 * 16 * 65
    assert measured["many/all words/cost"] == 8 * 3 * 16 * 16 * 600
    assert measured["few/all words/cost"] == 8 * 3 * 16 * 16 * 100
    losses["64 words"] = [9.0, 8.5, 7.5, 7.4, 7.3, 7.2, 7.1]
    assert math.isnan(lesson.trial(lesson.QUICK, 1_000, tuned)["many/64 words/cost"])


def test_what_the_figure_shows_are_probabilities_after_the_most_frequent_word(lesson, quick):
    measured, _ = quick
    assert len(measured["few/shown"]) == len(measured["few/shares"]) == 100
    assert sum(measured["few/shown"]) == pytest.approx(1, abs=1e-5)
    assert sum(measured["few/shares"]) == pytest.approx(1, abs=1e-5)


# The text


def test_the_text_to_judge_by_comes_after_the_text_to_learn_from(lesson, quick):
    _, text = quick
    made = data.class_chain(357, words=60, sharpness=4.0, generator=stream(1_000, "many words"))
    assert torch.equal(torch.cat([text.train.inputs, text.test.inputs]), made.ids[:-1])
    assert torch.equal(torch.cat([text.train.targets, text.test.targets]), made.ids[1:])
    assert (len(text.train.inputs), len(text.test.inputs)) == (256, 100)
    assert text.best == made.perplexity
    assert made.attributes[:, 0].unique().tolist() == list(range(10))


def test_a_real_text_is_its_most_frequent_words(lesson, tmp_path):
    path = tmp_path / "words.txt"
    words = [f"{'abcdefghij'[place % 10]}{'klmnopqrst'[place // 10]}" for place in range(100)]
    path.write_text(" ".join(f"{one} rare{'x' * place}" for place, one in enumerate(words * 20)), "utf-8")
    config = replace(lesson.QUICK, data=f"text:{path}", words=64, few=64)
    text = lesson.load(config, "few", 1_000)
    assert torch.equal(text.train.inputs[1:], text.train.targets[:-1])
    assert (len(text.train.inputs), len(text.test.inputs), len(text.shares)) == (256, 100, 64)
    assert math.isnan(text.best)
    steps = (text.train.targets - text.train.inputs).unique().tolist()
    assert len(steps) <= 8  # the words come round and round, numbered in alphabetical order


def test_a_text_that_is_too_short_is_named_in_a_line(lesson, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("the dog sees the cat, and the cat sees the dog. " * 20, "utf-8")
    with pytest.raises(data.DataError, match="too short: expected 357 words, 100 of them different"):
        lesson.load(replace(lesson.QUICK, data=f"text:{path}"), "few", 1_000)


# The rates


def test_a_rate_is_scored_by_the_loss_after_equal_steps(lesson, quick):
    _, text = quick
    scores = lesson.tune(lesson.QUICK, 1_000, "many/64 words", (0.05, 0.1))
    by_hand = [lesson.trained(lesson.QUICK, text, 1_000, "64 words", lr, [0, 3, 8])[1] for lr in (0.05, 0.1)]
    assert scores == [losses[2] for losses in by_hand]
    assert quick[0]["many/64 words/losses"][2] == scores[1]
    assert set(lesson.TUNING) == {f"many/{arm}" for arm in lesson.ARMS} | {"few/64 words", "few/all words"}
    assert len(set(lesson.TUNING.values())) == 1
