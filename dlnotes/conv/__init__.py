"""Chapter 3, convolutional networks: one set of weights for all places of an image, and what is done with its size."""

from dlnotes.conv.augmentation import augment, shift
from dlnotes.conv.counting import ReceptiveField, count_multiply_adds, receptive_field
from dlnotes.conv.inception import Inception
from dlnotes.conv.layers import Conv2d, LocallyConnected2d, PointwiseConv
from dlnotes.conv.networks import ConvNet
from dlnotes.conv.pooling import AveragePool2d, GlobalAveragePool2d, MaxPool2d, StochasticPool2d
from dlnotes.conv.training import train_classifier
from dlnotes.conv.windows import output_size, patches
from dlnotes.deep.networks import count_parameters

__all__ = [
    "AveragePool2d",
    "Conv2d",
    "ConvNet",
    "GlobalAveragePool2d",
    "Inception",
    "LocallyConnected2d",
    "MaxPool2d",
    "PointwiseConv",
    "ReceptiveField",
    "StochasticPool2d",
    "augment",
    "count_multiply_adds",
    "count_parameters",
    "output_size",
    "patches",
    "receptive_field",
    "shift",
    "train_classifier",
]
