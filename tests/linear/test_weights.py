"""Which parameters are weights: those that are drawn, and that pay a penalty."""

import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from dlnotes.deep import MLP, weight_decay_groups
from dlnotes.linear import initialize
from dlnotes.linear.weights import parts_of
from dlnotes.randomness import stream

NORMALISATIONS = {
    "LayerNorm": lambda: nn.LayerNorm((4, 4)),
    "LayerNorm of vectors": lambda: nn.LayerNorm(4),
    "RMSNorm": lambda: nn.RMSNorm((2, 3, 4)),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "BatchNorm": lambda: nn.BatchNorm2d(4),
    "InstanceNorm": lambda: nn.InstanceNorm1d(4, affine=True),
}


class Positions(nn.Module):
    """A bias that is a matrix."""

    def __init__(self):
        super().__init__()
        self.bias_table = nn.Parameter(torch.ones(3, 5))
        self.weight = nn.Parameter(torch.ones(3, 5))
        self.temperature = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_a_normalisation_of_any_shape_keeps_its_scale_of_one_and_its_bias_of_zero_and_pays_nothing(name):
    layer = NORMALISATIONS[name]()
    heavy, light = weight_decay_groups(layer, 0.1)
    assert heavy["params"] == []
    assert light["params"] == list(layer.parameters())
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    initialize(layer, lambda weight: weight.data.fill_(7))
    assert (layer.weight == 1).all()
    assert getattr(layer, "bias", None) is None or not layer.bias.any()


def test_what_is_called_a_bias_is_one_whatever_its_shape_and_vectors_are_no_weights():
    module = nn.Sequential(Positions(), skip_init(nn.Linear, 2, 3), nn.PReLU(4))
    assert [part.role for part in parts_of(module)] == ["bias", "weight", "other", "weight", "bias", "other"]
    initialize(module, lambda weight: weight.data.fill_(7))
    assert not module[0].bias_table.any()
    assert (module[0].weight == 7).all()
    assert module[0].temperature == 1
    assert (module[2].weight == 0.25).all()


def test_parameters_come_in_their_order_with_their_owner_and_shared_ones_once():
    model = MLP([4, 4, 4, 2], generator=stream(0, "weights"))
    model.layers[1].weight = model.layers[0].weight
    found = list(parts_of(model))
    expected = list(model.parameters())
    assert len(found) == len(expected) == 5
    assert all(part.parameter is parameter for part, parameter in zip(found, expected, strict=True))
    assert found[-1].owner is model.layers[2]
    assert sum(len(group["params"]) for group in weight_decay_groups(model, 0.1)) == 5
