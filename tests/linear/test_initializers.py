"""First weights: their size, their shape, and what equal ones lead to."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from dlnotes.deep import MLP
from dlnotes.linear import cross_entropy, initialize, scaled_normal_, scaled_uniform_, zeros_
from dlnotes.randomness import stream

both = pytest.mark.parametrize("initializer", [scaled_normal_, scaled_uniform_])


def empty(*shape):
    return torch.empty(*shape, dtype=torch.float64)


def test_zeros_are_zeros_and_the_tensor_itself_is_filled():
    tensor = torch.ones(2, 3)
    assert zeros_(tensor) is tensor
    assert not tensor.any()


@both
def test_the_fan_in_is_what_belongs_to_one_output(initializer):
    """Twice the fan-in, half of the variance: with the same draws, each weight is smaller by √2."""
    layer, filters = empty(6, 12), empty(6, 3, 2, 2)
    assert initializer(layer, generator=stream(0, "weights")) is layer
    initializer(filters, generator=stream(0, "weights"))
    torch.testing.assert_close(layer.flatten(), filters.flatten())
    wide = initializer(empty(3, 24), generator=stream(0, "weights"))
    torch.testing.assert_close(wide.flatten() * math.sqrt(2), layer.flatten())


@both
def test_the_gain_multiplies(initializer):
    plain = initializer(empty(5, 4), generator=stream(0, "weights"))
    doubled = initializer(empty(5, 4), generator=stream(0, "weights"), gain=2.0)
    torch.testing.assert_close(doubled, 2 * plain)
    assert not initializer(empty(5, 4), generator=stream(0, "weights"), gain=0.0).any()


def test_with_the_same_draws_they_are_torchs_kaiming_normal_and_uniform():
    for ours, theirs in (
        (scaled_normal_, nn.init.kaiming_normal_),
        (scaled_uniform_, nn.init.kaiming_uniform_),
    ):
        expected = theirs(empty(7, 5), nonlinearity="relu", generator=stream(3, "weights"))
        found = ours(empty(7, 5), gain=math.sqrt(2), generator=stream(3, "weights"))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@both
def test_mean_and_variance_are_those_of_the_formula(initializer, seed):
    count, fan_in = 400_000, 100
    weights = initializer(empty(count // fan_in, fan_in), generator=stream(seed, "weights"), gain=3.0) / 0.3
    # Five standard errors; the variance of the squares is 2 for a normal distribution and 0.8 for an even one.
    assert abs(weights.mean().item()) < 5 / math.sqrt(count)
    assert abs(weights.square().mean().item() - 1) < 5 * math.sqrt(2 / count)


def test_the_even_one_is_bounded_and_the_normal_one_is_not(seed):
    bound = math.sqrt(3 / 100)
    even = scaled_uniform_(empty(1_000, 100), generator=stream(seed, "weights"))
    normal = scaled_normal_(empty(1_000, 100), generator=stream(seed, "weights"))
    assert 0.999 * bound < even.abs().max() <= bound
    beyond = (normal.abs() > bound).double().mean().item()
    expected = math.erfc(math.sqrt(3 / 2))  # 8.3 % of a normal distribution lie beyond √3 deviations
    assert abs(beyond - expected) < 5 * math.sqrt(expected / 100_000)


@both
def test_the_size_of_what_flows_is_kept_by_root_two_with_relu_and_by_one_without(initializer):
    flow = torch.randn(200, 256, generator=stream(0, "inputs"), dtype=torch.float64)
    linear_flow, chance = flow, stream(0, "weights")
    for _ in range(10):
        flow = (flow @ initializer(empty(256, 256), gain=math.sqrt(2), generator=chance).T).relu()
        linear_flow = linear_flow @ initializer(empty(256, 256), generator=chance).T
    assert 0.5 < flow.square().mean() < 2
    assert 0.5 < linear_flow.square().mean() < 2


def test_initialize_fills_weights_zeroes_biases_and_leaves_the_rest():
    network = nn.Sequential(skip_init(nn.Linear, 4, 3), nn.LayerNorm(3), skip_init(nn.Linear, 3, 2, bias=False))
    nn.init.ones_(network[1].bias)
    assert initialize(network, lambda weight: weight.data.fill_(7)) is network
    assert (network[0].weight == 7).all()
    assert (network[2].weight == 7).all()
    assert not network[0].bias.any()
    assert not network[1].bias.any()
    assert (network[1].weight == 1).all()


TRANSPOSED = {
    "one place": lambda: skip_init(nn.ConvTranspose2d, 64, 2, 1),
    "kernel": lambda: skip_init(nn.ConvTranspose2d, 16, 40, 3),
    "stride": lambda: skip_init(nn.ConvTranspose2d, 16, 40, 4, stride=2),
    "uneven stride": lambda: skip_init(nn.ConvTranspose1d, 16, 40, 5, stride=3),
    "gaps": lambda: skip_init(nn.ConvTranspose1d, 16, 40, 2, stride=3),
    "groups": lambda: skip_init(nn.ConvTranspose2d, 32, 80, (3, 2), groups=4),
    "dilated": lambda: skip_init(nn.ConvTranspose1d, 16, 40, 4, stride=2, dilation=3),
    "dilated, with gaps": lambda: skip_init(nn.ConvTranspose1d, 16, 40, 6, stride=2, dilation=2),
    "three": lambda: skip_init(nn.ConvTranspose3d, 8, 10, 2, stride=2),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_each_output_of_a_transposed_convolution_has_a_variance_of_one(name, seed):
    layer, draws = TRANSPOSED[name]().double(), stream(seed, "weights")
    initialize(layer, lambda weight: scaled_normal_(weight, generator=draws))
    assert not layer.bias.any()
    # The variance of an output, over inputs of variance 1, is the sum of the squares of the weights that meet in it.
    squares, ones = copy.deepcopy(layer), torch.ones(1, layer.in_channels, *[24] * len(layer.kernel_size)).double()
    squares.weight.data.square_()
    variances = squares(ones)[0].detach()
    inside = variances[(..., *[slice(10, -10)] * len(layer.kernel_size))]
    reached = inside[inside > 0]
    # Each weight's square has the variance 2 / n². Six standard errors: uneven pieces have larger ones.
    assert abs(reached.mean().item() - 1) < 6 * math.sqrt(2 / layer.weight.numel())
    if "gaps" not in name:
        assert (inside > 0).all()


def test_the_weights_that_meet_in_an_output_of_a_transposed_convolution_are_drawn_together():
    sizes = []
    layer = skip_init(nn.ConvTranspose1d, 6, 4, 5, stride=3, groups=2)
    initialize(layer, lambda weight: sizes.append(weight.shape) or nn.init.constant_(weight, len(sizes)))
    assert sizes == [(2, 3, 2), (2, 3, 2), (2, 3, 1)] * 2
    assert layer.weight[0, 0].tolist() == [1, 2, 3, 1, 2]
    assert layer.weight[3, 1].tolist() == [4, 5, 6, 4, 5]


@pytest.mark.parametrize("start", [nn.init.orthogonal_, nn.init.kaiming_uniform_])
@pytest.mark.global_generator
def test_initializers_of_torch_fill_a_transposed_convolution(start):
    layer = initialize(nn.utils.skip_init(nn.ConvTranspose2d, 6, 4, 3, stride=2, groups=2), start)
    assert layer.weight.isfinite().all()
    assert layer.weight.any()


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_the_padding_row_of_an_embedding_is_zero_and_no_other(kind):
    for index in (2, None):
        table = kind(5, 3, padding_idx=index, _weight=torch.ones(5, 3))
        initialize(table, lambda weight: weight.data.fill_(7))
        assert table.weight[:, 0].tolist() == [7, 7, 7 if index is None else 0, 7, 7]


def test_hidden_units_that_start_alike_stay_alike_and_random_ones_part():
    chance = stream(0, "examples")
    inputs = torch.randn(20, 6, generator=chance, dtype=torch.float64)
    targets = torch.randint(3, (20,), generator=chance)

    def spread(initializer):
        """The largest difference between two hidden units after training."""
        network = MLP([6, 5, 3], generator=stream(0, "weights"), dtype=torch.float64)
        initialize(network, initializer)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
        for _ in range(50):
            optimizer.zero_grad()
            cross_entropy(network(inputs), targets).backward()
            optimizer.step()
        weights = network.layers[0].weight.detach()
        return (weights - weights[0]).abs().max().item()

    assert spread(zeros_) == 0
    assert spread(lambda weight: weight.data.fill_(0.1)) < 1e-12
    assert spread(lambda weight: scaled_normal_(weight, generator=stream(1, "weights"))) > 0.1


def test_the_biases_of_a_recurrent_network_are_found_by_their_names():
    with torch.random.fork_rng():  # PyTorch's own first weights are drawn from the global generator
        network = nn.LSTM(3, 2)
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    initialize(network, zeros_)
    assert not any(parameter.any() for parameter in network.parameters())


# Errors


@both
def test_integers_are_no_weights(initializer):
    with pytest.raises(TypeError, match=r"a weight must be floating point, not torch\.int64"):
        initializer(torch.zeros(3, 3, dtype=torch.long), generator=stream(0, "weights"))


@both
def test_a_vector_has_no_fan_in(initializer):
    with pytest.raises(ValueError, match=r"two dimensions or more \(outputs, inputs, ...\), not \(3,\)"):
        initializer(torch.empty(3), generator=stream(0, "weights"))


@both
@pytest.mark.parametrize("gain", [-1.0, math.inf, math.nan])
def test_a_gain_that_is_no_size_is_refused(initializer, gain):
    with pytest.raises(ValueError, match=f"gain must be 0 or larger and finite, not {gain}"):
        initializer(torch.empty(3, 3), generator=stream(0, "weights"), gain=gain)


@pytest.mark.parametrize("gain", ["1", None, True])
def test_a_gain_that_is_no_number_and_weights_that_are_no_tensors_are_refused(gain):
    for initializer in (scaled_normal_, scaled_uniform_):
        with pytest.raises(TypeError, match=f"^gain must be a number, not {type(gain).__name__}"):
            initializer(torch.empty(3, 3), generator=stream(0, "weights"), gain=gain)
        with pytest.raises(TypeError, match=r"^tensor must be a tensor, not a NumPy array"):
            initializer(np.empty((3, 3)), generator=stream(0, "weights"))
    with pytest.raises(TypeError, match=r"^tensor must be a tensor, not a NumPy array"):
        zeros_(np.empty((3, 3)))
