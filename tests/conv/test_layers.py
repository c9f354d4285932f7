"""Layers with weights: equal to slow twins and to PyTorch's, in values and gradients."""

import copy
import math
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional
from torch.nn.utils import skip_init

from dlnotes.conv import Conv2d, LocallyConnected2d, PointwiseConv
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, Trainer
from tests import reference

# kernel, stride, padding
CASES = [
    (3, 1, "valid"),
    (3, 1, "same"),
    (2, 1, "same"),
    (4, 1, "same"),
    ((2, 3), 1, "valid"),
    ((3, 2), (2, 1), "same"),
    (3, 2, "same"),
    (2, 3, "same"),
    (5, 2, 2),
    ((1, 4), (3, 2), 1),
    (1, 1, "valid"),
    (1, 2, "same"),
]
BOTH = pytest.mark.parametrize("fused", [False, True], ids=["patches", "fused"])


def images(*shape, purpose="images"):
    return torch.randn(shape, generator=stream(0, purpose), dtype=torch.float64)


def conv(*sizes, seed=0, dtype=torch.float64, **settings):
    layer = Conv2d(*sizes, generator=stream(seed, "weights"), dtype=dtype, **settings)
    if layer.bias is not None:
        layer.bias.data = torch.randn(layer.bias.shape, generator=stream(1, "biases"), dtype=torch.float64).to(dtype)
    return layer


def local(*sizes, size, seed=0, **settings):
    layer = LocallyConnected2d(*sizes, size=size, generator=stream(seed, "weights"), dtype=torch.float64, **settings)
    if layer.bias is not None:
        layer.bias.data = torch.randn(layer.bias.shape, generator=stream(1, "biases"), dtype=torch.float64)
    return layer


def same_in_value_and_gradient(one, other, inputs):
    """Two functions of the images, and of the parameters where they are modules."""
    found = []
    for function in (one, other):
        x = inputs.clone().requires_grad_()
        y = function(x)
        weights = list(function.parameters()) if isinstance(function, nn.Module) else []
        found.append((y, *torch.autograd.grad((y * images(*y.shape, purpose="slopes")).sum(), [x, *weights])))
    for mine, theirs in zip(*found, strict=False):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
        assert mine.any()


def pairs(*values):
    return [value if isinstance(value, tuple) else (value, value) for value in values]


def margins(height, width, kernel, stride, padding):
    if padding == "same":
        return [reference.margins_of_same(*sizes) for sizes in zip((height, width), kernel, stride, strict=True)]
    return [(0, 0) if padding == "valid" else (padding, padding)] * 2


# ----------------------------------------------------------------------------------------------------------------
# Convolution
# ----------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("kernel", "stride", "padding"), CASES)
def test_a_convolution_is_the_sum_of_its_formula(kernel, stride, padding, fused):
    layer, x = conv(2, 3, kernel, stride=stride, padding=padding, fused=fused), images(2, 2, 6, 5)
    kernel, stride = pairs(kernel, stride)
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    around = margins(6, 5, kernel, stride, padding)
    expected = reference.convolve(x.tolist(), lambda i, j: weight, lambda i, j: bias, kernel, stride, around)
    torch.testing.assert_close(layer(x), torch.tensor(expected, dtype=torch.float64))


@BOTH
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding"), CASES)
def test_a_convolution_is_torchs_in_value_and_gradient(kernel, stride, padding, bias, fused):
    layer = conv(2, 3, kernel, stride=stride, padding=padding, fused=fused, bias=bias)
    sizes = pairs(kernel, stride)
    (top, bottom), (left, right) = margins(7, 6, *sizes, padding)
    theirs = skip_init(nn.Conv2d, 2, 3, sizes[0], stride=sizes[1], bias=bias, dtype=torch.float64)
    theirs.load_state_dict(layer.state_dict())
    around = nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), theirs)
    same_in_value_and_gradient(layer, around, images(3, 2, 7, 6))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@BOTH
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, (2, 5), (6, 1)])
def test_same_at_stride_1_is_torchs_same(kernel, fused):
    layer = conv(2, 3, kernel, padding="same", fused=fused)
    theirs = skip_init(nn.Conv2d, 2, 3, kernel, padding="same", dtype=torch.float64)
    theirs.load_state_dict(layer.state_dict())
    same_in_value_and_gradient(layer, theirs, images(2, 2, 6, 7))


def test_weights_go_to_torchs_convolution_and_back():
    layer, other = conv(3, 4, (2, 3)), conv(3, 4, (2, 3), seed=5)
    theirs = skip_init(nn.Conv2d, 3, 4, (2, 3), dtype=torch.float64)
    theirs.load_state_dict(layer.state_dict())
    other.load_state_dict(theirs.state_dict())
    assert torch.equal(other(images(2, 3, 5, 5)), layer(images(2, 3, 5, 5)))


def test_many_images_are_convolved_as_each_of_them():
    layer, x = conv(4, 2, 5), images(37, 4, 30, 30)
    torch.testing.assert_close(layer(x), functional.conv2d(x, layer.weight, layer.bias))


def test_the_gradient_has_a_gradient():
    layer = conv(1, 2, 2, stride=2, padding="same")
    x = images(2, 1, 3, 4).requires_grad_()
    assert gradcheck(layer, x)
    slopes = torch.ones(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda x: layer(x).square(), x, slopes)


# ----------------------------------------------------------------------------------------------------------------
# Weights of each place's own
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "stride", "padding"), CASES)
def test_a_locally_connected_layer_is_the_sum_of_its_formula(kernel, stride, padding):
    layer, x = local(2, 3, kernel, size=(6, 5), stride=stride, padding=padding), images(2, 2, 6, 5)
    kernel, stride = pairs(kernel, stride)
    weight = layer.weight.view(3, *layer.places, 2, *kernel).permute(1, 2, 0, 3, 4, 5).tolist()
    bias = layer.bias.view(3, *layer.places).permute(1, 2, 0).tolist()
    around = margins(6, 5, kernel, stride, padding)
    expected = reference.convolve(
        x.tolist(), lambda i, j: weight[i][j], lambda i, j: bias[i][j], kernel, stride, around
    )
    torch.testing.assert_close(layer(x), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("kernel", "stride", "padding"), CASES)
def test_with_equal_kernels_it_is_the_convolution_whose_gradient_is_the_sum_over_places(kernel, stride, padding):
    shared = conv(2, 3, kernel, stride=stride, padding=padding)
    untied = local(2, 3, kernel, size=(6, 5), stride=stride, padding=padding)
    places = math.prod(untied.places)
    untied.weight.data = shared.weight.detach().repeat_interleave(places, 0)
    untied.bias.data = shared.bias.detach().repeat_interleave(places)
    torch.testing.assert_close(untied(images(4, 2, 6, 5)), shared(images(4, 2, 6, 5)))
    for layer in (shared, untied):
        y = layer(images(4, 2, 6, 5))
        (y * images(*y.shape, purpose="slopes")).sum().backward()
    torch.testing.assert_close(untied.weight.grad.view(3, places, *shared.weight.shape[1:]).sum(1), shared.weight.grad)
    torch.testing.assert_close(untied.bias.grad.view(3, places).sum(1), shared.bias.grad)


@pytest.mark.parametrize("layer", [conv(2, 3, 3, bias=False), local(2, 3, 3, size=(5, 4), bias=False)])
def test_both_are_dense_layers_with_zeros_where_they_do_not_look(layer):
    every = torch.eye(2 * 5 * 4, dtype=torch.float64).view(-1, 2, 5, 4)
    matrix = layer(every).flatten(1).T  # a column for each pixel
    x = images(3, 2, 5, 4)
    torch.testing.assert_close(layer(x).flatten(1), functional.linear(x.flatten(1), matrix))
    blocks = matrix.view(3, 3, 2, 2, 5, 4)  # to (map, down, across) from (channel, row, column)
    assert (blocks != 0).sum().item() == 3 * (3 * 2) * (2 * 3 * 3)
    for i in range(3):
        for j in range(2):
            seen = torch.zeros(5, 4, dtype=torch.bool)
            seen[i : i + 3, j : j + 3] = True
            assert not blocks[:, i, j, :, ~seen].any()
    # Toeplitz, in blocks and within them: one step of the place is one step of all that it sees.
    toeplitz = torch.equal(blocks[:, 1:, :, :, 1:], blocks[:, :-1, :, :, :-1]) and torch.equal(
        blocks[:, :, 1:, ..., 1:], blocks[:, :, :-1, ..., :-1]
    )
    assert toeplitz == isinstance(layer, Conv2d)


def test_images_of_another_size_than_the_places_are_refused():
    with pytest.raises(
        ValueError, match=r"inputs must have 6 × 5 pixels, for whose places there are weights, not 5 × 6"
    ):
        local(1, 2, 3, size=(6, 5))(images(2, 1, 5, 6))
    for size in ((6, 5, 1), (6.0, 5), (0, 5), "65", None):
        with pytest.raises(ValueError, match=r"^size must be an int of 1 or more, or a pair of them, not "):
            local(1, 2, 3, size=size)
    assert local(1, 2, 3, size=6).places == (4, 4)


def test_weights_in_any_memory_layout_will_do():
    layer = local(3, 2, 3, size=(5, 5))
    expected = layer(images(2, 3, 5, 5))
    torch.testing.assert_close(layer.to(memory_format=torch.channels_last)(images(2, 3, 5, 5)), expected)


# ----------------------------------------------------------------------------------------------------------------
# One pixel
# ----------------------------------------------------------------------------------------------------------------


def test_a_pointwise_convolution_is_a_matrix_at_each_pixel():
    layer = PointwiseConv(3, 4, generator=stream(0, "weights"), dtype=torch.float64)
    layer.bias.data = images(4)
    matrix, x = layer.weight[:, :, 0, 0], images(2, 3, 5, 4)
    expected = torch.einsum("oc,nchw->nohw", matrix, x) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    dense = skip_init(nn.Linear, 3, 4, dtype=torch.float64)
    dense.load_state_dict({"weight": matrix, "bias": layer.bias})
    theirs = skip_init(nn.Conv2d, 3, 4, 1, dtype=torch.float64)
    theirs.load_state_dict(layer.state_dict())
    same_in_value_and_gradient(layer, theirs, x)
    torch.testing.assert_close(dense(x.movedim(1, -1)).movedim(-1, 1), layer(x))
    general = conv(3, 4, 1)
    general.load_state_dict(layer.state_dict())
    same_in_value_and_gradient(layer, general, x)


def test_without_a_nonlinearity_between_a_pointwise_layer_only_mixes_kernels():
    first, second = conv(2, 3, 3), PointwiseConv(3, 4, generator=stream(1, "weights"), dtype=torch.float64)
    weight = torch.einsum("po,ocuv->pcuv", second.weight[:, :, 0, 0], first.weight)
    bias = second.weight[:, :, 0, 0] @ first.bias + second.bias
    torch.testing.assert_close(second(first(images(2, 2, 6, 6))), functional.conv2d(images(2, 2, 6, 6), weight, bias))


# ----------------------------------------------------------------------------------------------------------------
# All of them
# ----------------------------------------------------------------------------------------------------------------

ALL = {
    "Conv2d": lambda **settings: Conv2d(2, 6, 3, **settings),
    "fused": lambda **settings: Conv2d(2, 6, 3, fused=True, padding="same", stride=2, **settings),
    "LocallyConnected2d": lambda **settings: LocallyConnected2d(2, 6, 3, size=(7, 7), **settings),
    "PointwiseConv": lambda **settings: PointwiseConv(2, 6, **settings),
}
EACH = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


@EACH
def test_first_weights_have_a_variance_of_two_over_what_an_output_sees(make, seed):
    layer = make(generator=stream(seed, "weights"))
    inputs = layer.weight[0].numel()
    scaled = layer.weight.square().mean().item() * inputs / 2
    assert abs(scaled - 1) < 5 * math.sqrt(2 / layer.weight.numel())
    assert not layer.bias.any()
    assert torch.equal(layer.weight, make(generator=stream(seed, "weights")).weight)
    assert not torch.equal(layer.weight, make(generator=stream(seed, "other")).weight)
    started = layer.weight.clone()
    layer.reset_parameters(stream(seed, "other"))
    assert torch.equal(layer.weight, make(generator=stream(seed, "other")).weight)
    layer.reset_parameters(stream(seed, "weights"))
    assert torch.equal(layer.weight, started)


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_and_no_images_at_all(make, dtype, device):
    layer = make(generator=stream(0, "weights"), dtype=dtype).to(device)
    x = images(3, 2, 7, 7).to(dtype).to(device)
    y = layer(x)
    assert (y.dtype, y.device.type) == (dtype, device)
    exact = copy.deepcopy(layer).double()(x.double())
    torch.testing.assert_close(y.double(), exact, rtol=0, atol=30 * torch.finfo(dtype).eps)
    nothing = layer(x[:0])
    assert nothing.shape == (0, *y.shape[1:])
    nothing.sum().backward()
    assert not layer.weight.grad.any()


@EACH
def test_a_layer_is_made_without_memory_in_the_default_dtype(make):
    with torch.device("meta"):
        assert all(parameter.is_meta for parameter in make(generator=stream(0, "weights")).parameters())
    try:
        torch.set_default_dtype(torch.float64)
        assert make(generator=stream(0, "weights")).weight.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@EACH
def test_wrong_inputs_are_refused_by_name_and_shape(make):
    layer = make(generator=stream(0, "weights"))
    ones = torch.ones(4, 2, 7, 7)
    with pytest.raises(
        ValueError, match=r"^inputs must be \[batch, channel, height, width\], \(N, 2, H, W\), not \(4, 3, 7, 7\)$"
    ):
        layer(torch.ones(4, 3, 7, 7))
    with pytest.raises(ValueError, match=r"not \(4, 7, 7, 2\); inputs\.movedim\(-1, 1\) puts the channels first$"):
        layer(ones.movedim(1, -1))
    with pytest.raises(ValueError, match=r"not \(4, 7, 7\)$"):
        layer(ones[:, 0])
    for dtype in (torch.float64, torch.uint8):
        with pytest.raises(TypeError, match=rf"inputs must be torch\.float32 as the weights are, not {dtype}"):
            layer(ones.to(dtype))
    with pytest.raises(TypeError, match=r"^inputs must be a tensor, not a NumPy array: make it one by torch\.from_num"):
        layer(np.ones((4, 2, 7, 7), np.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(ones.bfloat16()).shape[0] == 4


def test_an_image_without_its_channel_is_refused_with_the_way_to_give_it_one():
    with pytest.raises(
        ValueError, match=r"\(N, 1, H, W\), not \(2, 7, 7\); inputs\.unsqueeze\(1\) makes it \(2, 1, 7, 7"
    ):
        conv(1, 2, 3)(images(2, 7, 7))


@BOTH
def test_a_kernel_larger_than_the_padded_images_is_refused(fused):
    layer = conv(1, 1, 9, padding=1, fused=fused)
    with pytest.raises(
        ValueError,
        match=r"of 9 pixels does not fit into 8 \(6 and padding of 2\): take one of 8 or smaller, or padding=2",
    ):
        layer(images(2, 1, 12, 6))


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None])
@pytest.mark.parametrize("name", ["in_channels", "out_channels"])
def test_channels_that_are_none_are_refused(name, value):
    channels = {"in_channels": 2, "out_channels": 2, name: value}
    for make in (Conv2d, LocallyConnected2d, PointwiseConv):
        settings = {Conv2d: {"kernel_size": 3}, LocallyConnected2d: {"kernel_size": 3, "size": (5, 5)}}.get(make, {})
        with pytest.raises(ValueError, match=f"^{name} must be an int of 1 or more, not {value}"):
            make(**channels, **settings, generator=stream(0, "weights"))


@EACH
def test_what_is_no_generator_is_refused(make):
    for nothing in (None, 0):
        with pytest.raises(TypeError, match=r"^generator must be a torch\.Generator to draw from, not "):
            make(generator=nothing)


@BOTH
def test_strides_and_sizes_below_1_are_refused(fused):
    for settings in ({"stride": 0}, {"stride": (1, 0)}, {"kernel_size": 0}, {"kernel_size": (3, -1)}):
        (name,) = settings
        with pytest.raises(ValueError, match=f"^{name} must be an int of 1 or more, or a pair of them, not "):
            Conv2d(1, 1, **{"kernel_size": 3, **settings}, fused=fused, generator=stream(0, "weights"))


class Scores(nn.Module):
    """A layer, and the mean of each of its maps as a score."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, inputs):
        return self.layer(inputs).relu().mean((2, 3))


@EACH
def test_layers_in_a_sweep_learn_what_they_learn_alone(make):
    def models():
        return [Scores(make(generator=stream(seed, "weights"), dtype=torch.float64)) for seed in range(3)]

    examples = images(20, 2, 7, 7), torch.arange(20) % 6
    together, alone, rates = models(), models(), (0.1, 0.3, 0.5)
    groups = [{"params": model.parameters(), "lr": lr} for model, lr in zip(together, rates, strict=True)]
    sweep = Sweep(together, cross_entropy, SGD(groups, lr=0.1), Minibatches(examples, 6, stream(0, "batches")))
    losses = torch.tensor([step.losses for step in islice(sweep, 4)])
    for number, (model, lr) in enumerate(zip(alone, rates, strict=True)):
        batches = Minibatches(examples, 6, stream(0, "batches"))
        trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=lr), batches)
        expected = torch.tensor([step.loss for step in islice(trainer, 4)])
        torch.testing.assert_close(losses[:, number], expected, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(list(together[number].parameters()), list(model.parameters()), rtol=1e-9, atol=1e-11)
