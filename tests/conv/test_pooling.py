"""Pooling: the largest, the mean, a draw; equal to slow twins and to PyTorch's."""

import copy
import math
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from dlnotes.conv import AveragePool2d, GlobalAveragePool2d, MaxPool2d, StochasticPool2d
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, Trainer
from tests import reference

# window, stride, padding
CASES = [
    (2, None, "valid"),
    (3, 2, "valid"),
    (3, 1, "same"),
    (2, 1, "same"),
    (3, 2, "same"),
    ((2, 3), None, "valid"),
    ((3, 2), (1, 3), 1),
    (1, 2, "valid"),
    (2, 3, "valid"),
    (1, None, "valid"),
]
EVERY = pytest.mark.parametrize(("window", "stride", "padding"), CASES)
BOTH = pytest.mark.parametrize("fused", [False, True], ids=["windows", "fused"])


def images(*shape, purpose="images"):
    return torch.randn(shape, generator=stream(0, purpose), dtype=torch.float64)


def stochastic(window=2, stride=None, padding="valid", seed=0):
    return StochasticPool2d(window, stride, padding, generator=stream(seed, "draws"))


def slow(x, layer, choose):
    (top, bottom, left, right), windows = layer.windows.margins(*x.shape[-2:]), layer.windows
    around = ((top, bottom), (left, right))
    return torch.tensor(reference.pool(x.tolist(), windows.size, windows.stride, around, choose), dtype=torch.float64)


def mean(pixels):
    return sum(pixels) / len(pixels)


@BOTH
@EVERY
def test_what_is_kept_of_a_window_is_the_largest_or_the_mean_of_what_lies_in_the_image(window, stride, padding, fused):
    x = images(2, 3, 6, 7) - 3  # mostly negative, so that a zero of the padding would show
    for layer, choose in ((MaxPool2d, max), (AveragePool2d, mean)):
        pool = layer(window, stride, padding, fused=fused)
        torch.testing.assert_close(pool(x), slow(x, pool, choose))


@BOTH
@EVERY
def test_both_are_torchs_in_value_and_gradient(window, stride, padding, fused):
    if padding == "same" and (window, stride) != (3, 1):
        padding = 1 if window == 3 else 0  # PyTorch pads both ends alike
    number = 0 if padding == "valid" else padding
    for mine, theirs in (
        (
            MaxPool2d(window, stride, padding, fused=fused),
            nn.MaxPool2d(window, stride, 1 if number == "same" else number),
        ),
        (
            AveragePool2d(window, stride, padding, fused=fused),
            nn.AvgPool2d(window, stride, 1 if number == "same" else number, count_include_pad=False),
        ),
    ):
        x, y = images(3, 2, 7, 6).requires_grad_(), images(3, 2, 7, 6).requires_grad_()
        found, expected = mine(x), theirs(y)
        torch.testing.assert_close(found, expected)
        slopes = images(*expected.shape, purpose="slopes")
        found.backward(slopes)
        expected.backward(slopes)
        torch.testing.assert_close(x.grad, y.grad)


def test_facts_by_hand():
    x = torch.tensor([[[[1.0, 3.0, -5.0], [4.0, 2.0, -6.0], [-7.0, -8.0, -9.0]]]])
    assert MaxPool2d(2, 1)(x).tolist() == [[[[4.0, 3.0], [4.0, 2.0]]]]
    assert MaxPool2d(2, 2, "same")(x).tolist() == [[[[4.0, -5.0], [-7.0, -9.0]]]]
    assert AveragePool2d(2, 2, "same")(x).tolist() == [[[[2.5, -5.5], [-7.5, -9.0]]]]
    assert MaxPool2d(1, 2)(x).tolist() == [[[[1.0, -5.0], [-7.0, -9.0]]]]
    assert GlobalAveragePool2d()(x[..., :2, :2]).tolist() == [[[[2.5]]]]


@BOTH
def test_of_equal_ones_one_gets_the_gradient(fused):
    x = torch.ones(2, 1, 4, 4, requires_grad=True)
    MaxPool2d(2, fused=fused)(x).sum().backward()
    assert torch.equal(x.grad.unfold(2, 2, 2).unfold(3, 2, 2).sum((-2, -1)), torch.ones(2, 1, 2, 2))
    assert sorted(x.grad.unique().tolist()) == [0.0, 1.0]


def test_a_mean_is_a_convolution_of_each_channel_by_itself():
    kernel = torch.full((3, 1, 2, 2), 1 / 4, dtype=torch.float64)
    expected = functional.conv2d(images(2, 3, 6, 6), kernel, stride=2, groups=3)
    torch.testing.assert_close(AveragePool2d(2)(images(2, 3, 6, 6)), expected)


def test_the_mean_of_a_map_takes_maps_of_any_size():
    for shape in ((2, 3, 5, 4), (2, 3, 1, 1), (0, 3, 5, 4)):
        x = images(*shape)
        assert GlobalAveragePool2d()(x).shape == (shape[0], 3, 1, 1)
        torch.testing.assert_close(GlobalAveragePool2d()(x), functional.adaptive_avg_pool2d(x, 1))


# ----------------------------------------------------------------------------------------------------------------
# Draws
# ----------------------------------------------------------------------------------------------------------------


def test_a_pixel_is_drawn_as_often_as_its_share_says(seed):
    values, times = torch.tensor([0.0, 1.0, 2.0, 5.0, 0.0, 0.0]), 40_000
    drawn = stochastic((2, 3), seed=seed)(values.view(1, 1, 2, 3).expand(times, 1, 2, 3)).flatten()
    assert set(drawn.tolist()) == {1.0, 2.0, 5.0}
    for value in (1.0, 2.0, 5.0):
        share = value / 8
        bound = 5 * math.sqrt(share * (1 - share) / times)
        assert abs((drawn == value).double().mean().item() - share) < bound


def test_windows_are_drawn_for_themselves(seed):
    """Whether two windows, channels or images drew the larger of their pixels has nothing to do with each other."""
    x = torch.tensor([1.0, 3.0]).repeat(20).expand(60, 20, 30, 40)
    larger = (stochastic((1, 2), seed=seed)(x) == 3.0).double()
    centred = (larger - 0.75) / math.sqrt(0.75 * 0.25)
    for products in (
        centred[1:] * centred[:-1],
        centred[:, 1:] * centred[:, :-1],
        centred[:, :, 1:] * centred[:, :, :-1],
        centred[..., 1:] * centred[..., :-1],
    ):
        assert abs(products.mean().item()) < 5 / math.sqrt(products.numel())


@EVERY
def test_in_evaluation_it_is_the_mean_of_the_draws_of_training(window, stride, padding, seed):
    layer, x = stochastic(window, stride, padding, seed), images(1, 1, 5, 6)
    drawn = layer(x.expand(4_000, 1, 5, 6))
    expected = layer.eval()(x)
    torch.testing.assert_close(expected, slow(x, layer, reference.stochastic_mean))
    bound = 5.5 * drawn.std(0) / math.sqrt(len(drawn))
    assert ((drawn.mean(0) - expected[0]).abs() <= bound + 1e-12).all()


def test_each_draw_is_a_pixel_of_its_window_and_never_one_that_is_0():
    x = images(200, 2, 6, 6)
    x[:, :, 2:4, 2:4] = -1.0
    for window, stride, padding in CASES:
        layer = stochastic(window, stride, padding)
        y, largest = layer(x), MaxPool2d(window, stride, padding)(x)
        empty = largest <= 0
        assert torch.equal(y == 0, empty)
        assert (y <= largest.relu()).all()
        assert torch.isin(y[~empty], x).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.0, 0.3, 1 - 2**-24])  # the last is the largest that `uniform` gives
def test_the_ends_of_the_draw_are_no_zeros_in_any_dtype(share, dtype, monkeypatch):
    monkeypatch.setattr("dlnotes.conv.pooling.uniform", lambda shape, generator: torch.full(shape, share))
    x = torch.tensor([[0.0, 300.0, 7.0], [9.0, 0.0, -2.0]], dtype=dtype).view(1, 1, 2, 3)
    expected = {0.0: 300.0, 0.3: 300.0}.get(share, 9.0)
    assert stochastic((2, 3))(x).item() == expected
    assert stochastic((3, 4), (3, 4), "same")(x).item() == expected  # with zeros around


def test_padding_is_never_drawn():
    ones = torch.ones(500, 1, 3, 3)
    for padding in ("same", 1):
        assert (stochastic(3, 1, padding)(ones) == 1).all()
    assert (stochastic(2, 2, "same")(ones) == 1).all()


def test_a_window_of_zeros_gives_0_and_a_gradient_of_0():
    for values in (torch.zeros(3, 2, 4, 4), -torch.ones(3, 2, 4, 4)):
        for mode in (True, False):
            x = values.clone().requires_grad_()
            y = stochastic(3, 1, "same").train(mode)(x)
            y.sum().backward()
            assert not y.any()
            assert not x.grad.any()


def test_the_gradient_goes_to_the_pixel_that_was_drawn():
    x = images(50, 2, 4, 4).abs().requires_grad_()
    y = stochastic()(x)
    y.sum().backward()
    at = x.grad.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
    assert torch.equal(at.sum(-1), torch.ones_like(y))
    assert torch.equal((at * x.detach().unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)).sum(-1), y.detach())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_activations_in_half_precision_do_not_overflow(dtype):
    x = torch.full((1, 1, 4, 4), 30_000.0, dtype=dtype)
    assert torch.equal(stochastic(4)(x), x[..., :1, :1])
    assert torch.equal(stochastic(4).eval()(x), x[..., :1, :1])


def test_draws_come_from_its_generator_alone_and_a_copy_goes_on_with_the_same():
    layer, x = stochastic(), images(5, 2, 4, 4)
    first = layer(x)
    assert torch.equal(stochastic()(x), first)
    assert not torch.equal(stochastic(seed=1)(x), first)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))
    before = layer.generator.get_state()
    layer.eval()(x)
    assert torch.equal(layer.generator.get_state(), before)
    with pytest.raises(TypeError, match=r"^generator must be a torch\.Generator to draw from, not NoneType"):
        StochasticPool2d(2, generator=None)


class Drawing(nn.Module):
    """Draws, then a linear classifier."""

    def __init__(self, seed):
        super().__init__()
        self.pool = stochastic(seed=seed)
        self.weight = nn.Parameter(torch.randn(4, 3, generator=stream(seed, "weights"), dtype=torch.float64))

    def forward(self, inputs):
        return self.pool(inputs).flatten(1) @ self.weight


def test_models_of_a_sweep_draw_each_from_its_own_generator():
    examples = images(20, 1, 4, 4), torch.arange(20) % 3
    together, alone = ([Drawing(seed) for seed in range(3)] for _ in range(2))
    optimizer = SGD([{"params": model.parameters()} for model in together], lr=0.5)
    sweep = Sweep(together, cross_entropy, optimizer, Minibatches(examples, 6, stream(0, "batches")))
    losses = torch.tensor([step.losses for step in islice(sweep, 5)])
    for number, model in enumerate(alone):
        batches = Minibatches(examples, 6, stream(0, "batches"))
        trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=0.5), batches)
        expected = torch.tensor([step.loss for step in islice(trainer, 5)])
        torch.testing.assert_close(losses[:, number], expected, rtol=1e-9, atol=1e-11)


# ----------------------------------------------------------------------------------------------------------------
# All of them
# ----------------------------------------------------------------------------------------------------------------

ALL = {
    "max": lambda *sizes: MaxPool2d(*sizes),
    "max, fused": lambda *sizes: MaxPool2d(*sizes, fused=True),
    "average": lambda *sizes: AveragePool2d(*sizes),
    "average, fused": lambda *sizes: AveragePool2d(*sizes, fused=True),
    "stochastic": stochastic,
}
EACH = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_and_no_images_at_all(make, dtype, device):
    x = images(2, 3, 5, 5).to(dtype).to(device)
    for sizes in ((2,), (3, 2, "same"), (3, 1, 1)):
        y = make(*sizes)(x)
        assert (y.dtype, y.device.type) == (dtype, device)
        assert make(*sizes)(x[:0]).shape == (0, *y.shape[1:])
        assert make(*sizes).eval()(x[:0]).shape == (0, *y.shape[1:])
        torch.testing.assert_close(y.double(), make(*sizes)(x.double()), rtol=0, atol=8 * torch.finfo(dtype).eps)


@EACH
def test_what_does_not_fit_is_refused(make):
    for sizes in ((0,), (2, 0), ((2, -1),), (2.0,), (None,), (True,)):
        with pytest.raises(ValueError, match=r"^(window|stride) must be an int of 1 or more, or a pair of them, not "):
            make(*sizes)
    with pytest.raises(
        ValueError, match=r"^padding of 2 would make windows of \(3, 2\) that see nothing .* take 1 or less"
    ):
        make((3, 2), 1, 2)
    with pytest.raises(ValueError, match='padding must be "valid", "same" or a number of pixels from 0 up, not'):
        make(2, 2, "full")
    with pytest.raises(ValueError, match=r"a window of 2 pixels does not fit into 1: take one of 1 or smaller"):
        make(2)(images(1, 1, 1, 4))


@pytest.mark.parametrize("make", [*ALL.values(), lambda *sizes: GlobalAveragePool2d()], ids=[*ALL, "global"])
def test_what_is_no_batch_of_images_is_refused(make):
    for shape in ((4, 4), (2, 4, 4), (1, 2, 1, 4, 4)):
        with pytest.raises(
            ValueError, match=r"^inputs must be \[batch, channel, height, width\], \(N, C, H, W\), not "
        ):
            make(2)(images(*shape))
    with pytest.raises(TypeError, match=r"^inputs must be a tensor, not a NumPy array: make it one by torch\.from_num"):
        make(2)(np.ones((1, 1, 4, 4)))


def test_a_layer_says_its_settings():
    assert repr(MaxPool2d(3, 2, "same")) == "MaxPool2d(window=(3, 3), stride=(2, 2), padding='same')"
    assert repr(AveragePool2d(2)) == "AveragePool2d(window=(2, 2), stride=(2, 2), padding='valid')"
    assert "stride=(1, 2), padding=1" in repr(stochastic(2, (1, 2), 1))
