"""Chapter 2, deep neural networks: layers upon layers, and what keeps them from over-fitting."""

from dlnotes.deep.networks import MLP, count_parameters

__all__ = ["MLP", "count_parameters"]
