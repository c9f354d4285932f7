"""Chapter 2, deep neural networks: layers upon layers, and what keeps them from over-fitting."""

from dlnotes.deep.backprop import (
    Layer,
    affine,
    backpropagate,
    backward,
    forward,
    layers_of,
    relu,
    sigmoid,
    tanh,
)
from dlnotes.deep.descent import descend
from dlnotes.deep.dropout import Dropout
from dlnotes.deep.early_stopping import EarlyStopping, History, train_with_early_stopping
from dlnotes.deep.networks import MLP, count_parameters, widths_for_budget
from dlnotes.deep.regularization import effective_degrees_of_freedom, l2, l2_penalty, weight_decay_groups

__all__ = [
    "MLP",
    "Dropout",
    "EarlyStopping",
    "History",
    "Layer",
    "affine",
    "backpropagate",
    "backward",
    "count_parameters",
    "descend",
    "effective_degrees_of_freedom",
    "forward",
    "l2",
    "l2_penalty",
    "layers_of",
    "relu",
    "sigmoid",
    "tanh",
    "train_with_early_stopping",
    "weight_decay_groups",
    "widths_for_budget",
]
