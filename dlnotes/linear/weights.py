"""Which parameters of a network are weights, which biases, and which neither: who is drawn, zeroed, and pays a penalty.

    bias      "bias" is in its name, whatever its shape
    other     it belongs to a normalisation of PyTorch, whose scales start at 1; or it is a vector, or a single number
    weight    the rest: matrices, and what has more dimensions

So the scale of a ``LayerNorm((4, 4))``, a matrix, is no weight. A normalisation that you write yourself is not known
here: let its scale be a vector.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from torch import nn

__all__ = ["Part", "parts_of"]

_NORMALISATIONS = (
    *(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    *(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
)


class Part(NamedTuple):
    """A parameter of a network: what it is for, the module that it belongs to, and the parameter itself."""

    role: Literal["weight", "bias", "other"]
    owner: nn.Module
    parameter: nn.Parameter


def parts_of(network: nn.Module) -> Iterator[Part]:
    """The parameters of a network in the order of ``network.parameters()``, each with its role; shared ones come once.

    Example:
        >>> network = nn.Sequential(nn.utils.skip_init(nn.Linear, 3, 2), nn.LayerNorm(2))
        >>> [part.role for part in parts_of(network)]
        ['weight', 'bias', 'other', 'bias']
    """
    seen = set()
    for owner in network.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield Part(_role(owner, name, parameter), owner, parameter)


def _role(owner: nn.Module, name: str, parameter: nn.Parameter) -> Literal["weight", "bias", "other"]:
    if "bias" in name:
        return "bias"
    return "other" if isinstance(owner, _NORMALISATIONS) or parameter.ndim < 2 else "weight"
