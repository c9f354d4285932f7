"""A trainer for images: what it is made of."""

import math
from itertools import islice

import pytest
import torch
from torch.utils.data import TensorDataset

from dlnotes.conv import ConvNet, augment, train_classifier
from dlnotes.linear import SGD, cosine_decay, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import DivergedError, Minibatches, Trainer


def problem(count=30):
    labels = torch.arange(count) % 10
    return torch.randn(count, 1, 8, 8, generator=stream(0, "images")) + labels.view(-1, 1, 1, 1) / 5, labels


def network(layers="3x3x4 max2"):
    return ConvNet(layers, inputs=(1, 8, 8), generator=stream(0, "weights"), draws=stream(0, "draws"))


def trained(model, examples=None, **settings):
    return train_classifier(model, examples or problem(), generator=stream(0, "batches"), **{"steps": 6, **settings})


def test_it_is_a_trainer_with_momentum_clipped_gradients_and_a_rate_that_falls_to_0():
    model, twin = network(), network()
    settings = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.01, "max_norm": 0.5}
    losses = trained(model, batch_size=7, **settings)
    optimizer = SGD(twin.parameters(), **settings)
    batches = Minibatches(problem(), 7, stream(0, "batches"))
    trainer = Trainer(twin, cross_entropy, optimizer, batches, scheduler=cosine_decay(optimizer, 6))
    assert losses == [step.loss for step in islice(trainer, 6)]
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), twin.parameters(), strict=True))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_defaults_are_those_of_its_signature():
    settings = {"batch_size": 64, "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0, "max_norm": 1.0}
    assert trained(network()) == trained(network(), **settings)
    assert trained(network()) != trained(network(), max_norm=math.inf)
    assert trained(network(), batch_size=1_000) == trained(network(), batch_size=30)


def test_the_images_of_each_batch_are_changed_and_the_targets_are_not():
    seen = []

    def change(images):
        seen.append(images)
        return images.flip(-1)

    flipped = problem()[0].flip(-1), problem()[1]
    assert trained(network(), change=change) == trained(network(), flipped)
    assert len(seen) == 6
    plain = trained(network())
    assert trained(network(), change=lambda images: images) == plain
    moves = stream(0, "moves")
    assert trained(network(), change=lambda images: augment(images, moves)) != plain


def test_it_trains_in_training_mode_and_takes_datasets():
    model = network("3x3x4 stochastic2").eval()
    losses = trained(model)
    assert model.training
    assert losses == trained(network("3x3x4 stochastic2"))
    assert trained(network(), TensorDataset(*problem())) == trained(network())


def test_it_learns():
    losses = trained(network(), steps=150)
    assert losses[-1] < losses[0] / 5


def test_settings_that_make_no_sense_are_refused():
    images, labels = problem()
    for steps in (0, -1):
        with pytest.raises(ValueError, match=f"steps must be larger than 0 and finite, not {steps}"):
            trained(network(), steps=steps)
    with pytest.raises(ValueError, match="batch_size must be 1 or more, not 0"):
        trained(network(), batch_size=0)
    with pytest.raises(TypeError, match="batch_size must be an int"):
        trained(network(), batch_size=2.0)
    with pytest.raises(ValueError, match=r"one equal first dimension of 1 or more, got \[30, 29\]"):
        trained(network(), (images, labels[:-1]))
    with pytest.raises(DivergedError):
        trained(network(), lr=1e30, steps=50)
    assert math.isfinite(trained(network())[-1])
