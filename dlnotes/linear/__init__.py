"""Chapter 1, from machine learning to deep learning: softmax, losses, the linear classifier, and how it is trained."""

from dlnotes.linear.classifier import LogisticClassifier, train_classifier
from dlnotes.linear.initializers import initialize, scaled_normal_, scaled_uniform_, zeros_
from dlnotes.linear.losses import cross_entropy, one_hot
from dlnotes.linear.optimizers import (
    SGD,
    AdaGrad,
    GradientDescent,
    Link,
    Slot,
    adagrad_scaling,
    average_momentum,
    clip_by_global_norm,
    l2,
    momentum,
)
from dlnotes.linear.preprocessing import split, standardize
from dlnotes.linear.schedules import cosine_decay, exponential_decay, inverse_time_decay, step_decay
from dlnotes.linear.significance import Flips, discordant, largest_disagreement, mcnemar_test, rule_of_thirty
from dlnotes.linear.softmax import log_softmax, softmax

__all__ = [
    "SGD",
    "AdaGrad",
    "Flips",
    "GradientDescent",
    "Link",
    "LogisticClassifier",
    "Slot",
    "adagrad_scaling",
    "average_momentum",
    "clip_by_global_norm",
    "cosine_decay",
    "cross_entropy",
    "discordant",
    "exponential_decay",
    "initialize",
    "inverse_time_decay",
    "l2",
    "largest_disagreement",
    "log_softmax",
    "mcnemar_test",
    "momentum",
    "one_hot",
    "rule_of_thirty",
    "scaled_normal_",
    "scaled_uniform_",
    "softmax",
    "split",
    "standardize",
    "step_decay",
    "train_classifier",
    "zeros_",
]
