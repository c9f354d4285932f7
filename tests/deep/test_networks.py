"""Networks of fully connected layers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from dlnotes.deep import MLP, count_parameters, widths_for_budget
from dlnotes.linear import LogisticClassifier
from dlnotes.randomness import stream
from tests import reference


def network(*widths, dtype=torch.float64):
    return MLP(widths, generator=stream(0, "weights"), dtype=dtype)


def inputs(*shape):
    return torch.randn(shape, generator=stream(0, "inputs"), dtype=torch.float64)


def test_the_scores_are_affine_maps_with_a_relu_between_each_two():
    model = network(4, 3, 5, 2)
    for layer in model.layers:
        layer.bias.data = torch.randn(layer.bias.shape, generator=stream(1, "biases"), dtype=torch.float64)
    layers = [(layer.weight.tolist(), layer.bias.tolist()) for layer in model.layers]
    expected = reference.mlp(layers, inputs(6, 4).tolist())
    torch.testing.assert_close(model(inputs(6, 4)), torch.tensor(expected, dtype=torch.float64))


def test_it_is_torchs_stack_of_linear_layers_and_relus_in_value_and_gradient():
    model = network(7, 6, 5, 4)
    layers = [skip_init(nn.Linear, *pair, dtype=torch.float64) for pair in ((7, 6), (6, 5), (5, 4))]
    theirs = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    for parameter, other in zip(model.parameters(), theirs.parameters(), strict=True):
        other.data = parameter.detach().clone()
    torch.testing.assert_close(model(inputs(9, 7)), theirs(inputs(9, 7)))
    for stack in (model, theirs):
        stack(inputs(9, 7)).square().sum().backward()
    for parameter, other in zip(model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad)
        assert parameter.grad.any()


def test_without_a_hidden_layer_it_is_the_logistic_classifier():
    model, classifier = network(6, 3), LogisticClassifier(6, 3, dtype=torch.float64)
    classifier.weight.data, classifier.bias.data = model.layers[0].weight.data, model.layers[0].bias.data
    torch.testing.assert_close(model(inputs(5, 6)), classifier(inputs(5, 6)))


def test_the_number_of_parameters_is_that_of_the_formula():
    widths = (784, 256, 128, 10)
    expected = sum((before + 1) * after for before, after in pairwise(widths))
    assert count_parameters(network(*widths)) == expected == 235_146
    assert count_parameters(LogisticClassifier(784, 10)) == 7_850


def test_what_is_shared_or_frozen_counts_once_or_not_at_all():
    layer = skip_init(nn.Linear, 3, 3)
    assert count_parameters(nn.Sequential(layer, layer)) == 12
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 9


def test_the_first_weights_have_twice_the_variance_of_one_over_the_fan_in_and_biases_are_zero(seed):
    model = MLP([400, 500, 10], generator=stream(seed, "weights"))
    first = model.layers[0].weight
    assert abs(first.square().mean().item() * 400 / 2 - 1) < 5 * math.sqrt(2 / first.numel())
    assert all(not layer.bias.any() for layer in model.layers)


def test_the_same_generator_gives_the_same_network_and_the_next_draw_another():
    chance = stream(0, "weights")
    first, second = (MLP([4, 3, 2], generator=chance, dtype=torch.float64) for _ in range(2))
    assert torch.equal(first.layers[0].weight, network(4, 3, 2).layers[0].weight)
    assert not torch.equal(first.layers[0].weight, second.layers[0].weight)


@pytest.mark.parametrize("widths", [[], [3], [3, 0], [3, -1, 2], [3, 2.0], [3, "2"], [True, 2]])
def test_widths_that_are_no_sizes_are_refused(widths):
    with pytest.raises(ValueError, match="widths must be two or more positive ints"):
        MLP(widths, generator=stream(0, "weights"))


@pytest.mark.parametrize("shape", [(4,), (2, 5), (2, 2, 3), ()])
def test_examples_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match="with 4 numbers an example"):
        network(4, 2)(inputs(*shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_examples_of_another_dtype_are_refused(dtype):
    with pytest.raises(TypeError, match=rf"inputs must be torch\.float64 as the weights are, not {dtype}"):
        network(4, 2)(inputs(3, 4).to(dtype))


@pytest.mark.parametrize("hidden_layers", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("budget", [3_000, 20_000, 235_146])
def test_networks_for_a_budget_have_the_nearest_number_of_parameters(budget, hidden_layers):
    widths = widths_for_budget(budget, hidden_layers, inputs=100, outputs=10)
    assert (widths[0], widths[-1], len(widths)) == (100, 10, hidden_layers + 2)
    hidden = widths[1:-1]
    assert max(hidden) - min(hidden) <= 1
    distance = abs(count_parameters(network(*widths)) - budget)
    assert distance <= 0.02 * budget
    for change in (-1, 1):  # one unit more or less, at the layer where it keeps them as equal as can be
        place = hidden.index(min(hidden)) if change > 0 else len(hidden) - 1 - hidden[::-1].index(max(hidden))
        other = [100, *hidden[:place], hidden[place] + change, *hidden[place + 1 :], 10]
        assert distance <= abs(count_parameters(network(*other)) - budget)


def test_a_budget_that_no_network_of_that_depth_has_is_refused():
    assert widths_for_budget(100 + 1 + 20, 1, inputs=100, outputs=10) == [100, 1, 10]
    with pytest.raises(ValueError, match="have 121 parameters or more, not 120"):
        widths_for_budget(120, 1, inputs=100, outputs=10)


@pytest.mark.parametrize("value", [0, -1, 2.0, math.nan, True])
@pytest.mark.parametrize("name", ["parameters", "hidden_layers", "inputs", "outputs"])
def test_a_budget_in_what_is_no_count_is_refused(name, value):
    given = {"parameters": 1_000, "hidden_layers": 2, "inputs": 100, "outputs": 10, name: value}
    with pytest.raises(ValueError, match=f"{name} must be an int of 1 or more, not {value}"):
        widths_for_budget(**given)


def test_arrays_of_numpy_are_refused():
    with pytest.raises(
        TypeError, match=r"^inputs must be a tensor, not a NumPy array: make it one by torch\.from_numpy"
    ):
        MLP([3, 4, 2], generator=stream(0, "weights"))(np.ones((5, 3), np.float32))
