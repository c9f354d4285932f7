"""
Can a layer without weights over-fit?
=====================================

"""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from torch.nn import functional

from dlnotes import data, lesson
from dlnotes.conv import ConvNet, MaxPool2d, StochasticPool2d, train_classifier
from dlnotes.evidence import not_better, ratio
from dlnotes.lesson import answer, claim, limit, strips
from dlnotes.linear import cross_entropy
from dlnotes.measuring import Measured, Tuned, grid
from dlnotes.randomness import stream
from dlnotes.training import accuracy, evaluate


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 300  # training images: few, so that they can be learned by heart
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images
    steps: int = 500  # of each network
    batch_size: int = 32  # images a step
    device: str = "cpu"


QUICK = Config(train=40, validation=100, test=200, steps=15)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
SIDE = 12  # pixels along a side: 6 after the first layer that shrinks, 3 after the second, in every arm
ARMS = {
    "strided": "5x5x8/2 5x5x16/2",
    "max": "5x5x8 max2 5x5x16 max2",
    "average": "5x5x8 average2 5x5x16 average2",
    "stochastic": "5x5x8 stochastic2 5x5x16 stochastic2",
}


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    parts = load(config, seed)
    measured: Measured = {}
    for arm, layers in ARMS.items():
        model = trained(config, seed, parts.train, layers, lr=tuned[arm])
        for place, images in {"train": parts.train, "test": parts.test}.items():
            measured[f"{arm}/{place} loss"] = evaluate(model, images, cross_entropy)
            measured[f"{arm}/{place} mistakes"] = 1 - accuracy(model, images)
    return measured


def load(config: Config, seed: int) -> data.Parts:
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    parts = data.load(config.data, seed, **counts, side=SIDE)
    return data.Parts(*(part.to(config.device) for part in parts))


def network(seed: int, layers: str) -> ConvNet:
    """Stochastic pooling draws from a generator of its own, so that all arms have the same weights and batches."""
    weights, draws = stream(seed, "weights"), stream(seed, "draws")
    return ConvNet(layers, inputs=(1, SIDE, SIDE), generator=weights, draws=draws)


def trained(config: Config, seed: int, images: data.Examples, layers: str, *, lr: float) -> ConvNet:
    """A network after its steps, in evaluation mode: stochastic pooling no longer draws."""
    model = network(seed, layers).to(config.device)
    settings = {"steps": config.steps, "batch_size": config.batch_size, "lr": lr}
    train_classifier(model, images, generator=stream(seed, "batches"), **settings)
    return model.eval()


# %%
# `python -m lessons tune pooling_and_over_fitting` chooses the learning rates: the same six for each arm, scored by the
# loss on validation images. An arm may take a small rate, which fits less.

RATES = grid(0.005, 0.16)
TUNING = {arm: RATES for arm in ARMS}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    parts = load(config, seed)
    models = (trained(config, seed, parts.train, ARMS[arm], lr=lr) for lr in candidates)
    return [evaluate(model, parts.validation, cross_entropy) for model in models]


PREDICTIONS = [
    claim("3.13", "stride", "S.", lambda t: ratio(t["strided/test mistakes"], t["max/test mistakes"], margin=1.1)),
]
ANSWERS = []


def figure(trials):
    return plt.figure()


if __name__ == "__main__":
    lesson.main("pooling_and_over_fitting")
