"""L2 regularisation: what the lesson computes, and that it would not conclude it from less."""

import json
import sys

import numpy as np
import pytest
import torch

from dlnotes.data import Examples
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.linear import cross_entropy
from dlnotes.training import evaluate
from tests.trials import reference


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("weight_penalty"))
    return sys.modules[experiment.trial.__module__]


# The pieces of the lesson


def test_networks_differ_in_the_penalty_alone(lesson):
    train = lesson.load(lesson.QUICK, 1_000).train
    twice, again, priced, still = lesson.trained(
        lesson.QUICK, 1_000, train, [(0.0, 0.1), (0.0, 0.1), (0.1, 0.1), (0.1, 0.0)]
    )
    assert all(torch.equal(one, other) for one, other in zip(twice.parameters(), again.parameters(), strict=True))
    size = [sum(layer.weight.norm().item() for layer in model.layers) for model in (twice, priced)]
    assert size[1] < 0.8 * size[0]
    for layer in still.layers:
        assert not layer.bias.any()


def test_biases_pay_nothing(lesson):
    """Where all pixels are zero only the last biases learn, and with any λ they learn the same."""
    train = lesson.load(lesson.QUICK, 1_000).train
    uneven = Examples(torch.zeros_like(train.inputs), train.targets // 5)
    free, priced = lesson.trained(lesson.QUICK, 1_000, uneven, [(0.0, 0.1), (0.1, 0.1)])
    assert torch.equal(free.layers[1].bias, priced.layers[1].bias)
    assert priced.layers[1].bias.abs().max() > 0.5


def test_test_letters_judge_and_validation_letters_choose(lesson):
    parts = lesson.load(lesson.QUICK, 1_000)
    assert parts.train.inputs.shape == (lesson.QUICK.train, 196)
    assert not torch.equal(parts.validation.inputs, parts.test.inputs)
    (model,) = lesson.trained(lesson.QUICK, 1_000, parts.train, [(0.0, 0.1)])
    tuned = {f"λ={strength:g}": 0.1 for strength in lesson.PENALTIES}
    judged = lesson.trial(lesson.QUICK, 1_000, tuned)["best rate/λ=0/test loss"]
    assert judged == pytest.approx(evaluate(model, parts.test, cross_entropy), rel=1e-5)
    assert lesson.tune(lesson.QUICK, 1_000, "λ=0", (0.1,)) == [evaluate(model, parts.validation, cross_entropy)]


@pytest.mark.parametrize("images", ["letters", "fashion_mnist", "not_mnist"])
def test_the_penalty_that_is_compared_is_the_best_of_the_tuning(lesson, images):
    path = contents.results_folder() / "tuning" / f"weight_penalty.{images}.json"
    tuning = json.loads(path.read_text(encoding="utf-8"))
    best = {arm: np.mean(tuning["scores"][f"{arm}/{winner}"]) for arm, winner in tuning["winners"].items()}
    assert min(best, key=best.get) == f"{images}/λ={lesson.BEST[images]:g}"
    assert len(best) == len(lesson.PENALTIES)


# What the verdict rests on


def test_momentum_with_the_decay_behind_it_would_not_pass_for_the_penalty():
    """So that the equality of the two in front is not one that any order has."""
    _, trials, _ = reference("weight_penalty")
    assert trials["SGD/decay behind/relative distance"].max() == 0
    assert trials["momentum/decay behind/relative distance"].min() > 0.01
