"""What a network costs and what it sees, counted one by one."""

import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from dlnotes.conv import (
    Conv2d,
    ConvNet,
    Inception,
    LocallyConnected2d,
    MaxPool2d,
    ReceptiveField,
    count_multiply_adds,
    receptive_field,
)
from dlnotes.deep import MLP, Dropout
from dlnotes.linear import LogisticClassifier
from dlnotes.randomness import stream
from tests import reference


def network(layers, inputs=(1, 12, 12), **settings):
    settings.setdefault("draws", stream(0, "draws"))
    return ConvNet(layers, inputs=inputs, generator=stream(0, "weights"), **settings)


NETWORKS = [
    "5x5x4 max2 3x3x3 max2",
    "3x3x4/2 3x3x2/2",
    "3x3x2 skip2 max2/1 3x3x3 average2 1x1x4",
    "local3x3x2 max2 local3x3x1/2",
    "3x3x2 inception(1,2-3,1-2,2) max2 inception(1,2,1-1,1)",
    "3x3x2 stochastic3/2 global dense5",
    "dense7 dense3",
    "",
]


class Counted:
    """A number that counts how often it is multiplied."""

    times = 0

    def __mul__(self, other):
        Counted.times += 1
        return 0

    __rmul__ = __mul__


def by_counting(layer, maps):
    """Go through a layer of weights on one image by the loops of the slow twin, and count the multiplications."""
    Counted.times = 0
    if isinstance(layer, nn.Linear):
        for _ in range(layer.out_features):
            sum(Counted() * 1 for _ in range(maps[0].numel()))
        return Counted.times
    height, width = maps.shape[-2:]
    size = layer.weight.shape[-2:]
    windows = getattr(layer, "windows", None)
    stride = windows.stride if windows else (1, 1)
    top, bottom, left, right = windows.margins(height, width) if windows else (0, 0, 0, 0)
    padded = [[[1] * (width + left + right)] * (height + top + bottom)] * maps.shape[1]  # zeros are multiplied too
    kernels = [[[[Counted()] * size[1]] * size[0]] * maps.shape[1]] * layer.out_channels
    nothing = [0] * layer.out_channels
    reference.convolve([padded], lambda i, j: kernels, lambda i, j: nothing, size, stride, ((0, 0), (0, 0)))
    return Counted.times


@pytest.mark.parametrize("layers", NETWORKS)
@pytest.mark.parametrize("padding", ["same", "valid", 1])
def test_multiply_adds_are_the_multiplications_of_the_loops(layers, padding):
    model = network(layers, padding=padding)
    weighted = [layer for layer in model.modules() if any(True for _ in layer.parameters(recurse=False))]
    counted = []

    def count(layer, given):
        counted.append(by_counting(layer, given[0]))

    hooks = [layer.register_forward_pre_hook(count) for layer in weighted]
    model.eval()(torch.zeros(1, 1, 12, 12))
    for hook in hooks:
        hook.remove()
    assert count_multiply_adds(model) == sum(counted) > 0


def test_facts_by_hand():
    assert count_multiply_adds(network("5x5x8", (3, 10, 9))) == 10 * 9 * 5 * 5 * 3 * 8 + 10 * 9 * 8 * 10
    assert count_multiply_adds(network("local3x3x2", (1, 6, 6), padding="valid")) == 16 * 9 * 2 + 16 * 2 * 10
    assert count_multiply_adds(MLP([784, 256, 10], generator=stream(0, "weights")), (784,)) == 784 * 256 + 256 * 10
    assert count_multiply_adds(LogisticClassifier(784, 10), [784]) == 7_840
    module = Inception(
        192, one=64, three=128, five=32, pool=32, reduce_three=96, reduce_five=16, generator=stream(0, "w")
    )
    weights = 192 * (64 + 96 + 16 + 32) + 9 * 96 * 128 + 25 * 16 * 32
    assert count_multiply_adds(module, (192, 7, 5)) == 35 * weights


def test_torchs_layers_count_with_their_groups_and_shared_ones_for_each_call():
    grouped = skip_init(nn.Conv2d, 6, 4, (3, 2), groups=2, stride=2)
    assert count_multiply_adds(nn.Sequential(grouped, nn.ReLU()), (6, 9, 8)) == 4 * 4 * 4 * (3 * 3 * 2)
    layer = skip_init(nn.Linear, 3, 3)
    assert count_multiply_adds(nn.Sequential(layer, layer, nn.ReLU()), (3,)) == 18


def test_counting_leaves_the_network_as_it_was():
    model = network("3x3x2 stochastic2 dense4")
    model.layers[0].eval()
    before, draws = [one.training for one in model.modules()], model.layers[1].generator.get_state()
    count_multiply_adds(model)
    assert [one.training for one in model.modules()] == before
    assert torch.equal(model.layers[1].generator.get_state(), draws)
    assert not any(one._forward_hooks for one in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.device("meta"):
        assert count_multiply_adds(network("3x3x2 max2")) == count_multiply_adds(network("3x3x2 max2"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_counting_takes_any_dtype_and_device(dtype, device):
    model = network("3x3x2 max2", dtype=dtype).to(device)
    assert count_multiply_adds(model) == 144 * 18 + 72 * 10


def test_modules_with_weights_that_are_not_known_are_refused_and_leave_nothing_behind():
    norm = nn.BatchNorm2d(2)
    model = nn.Sequential(skip_init(nn.Conv2d, 1, 2, 3), norm)
    with pytest.raises(TypeError, match="the multiply-adds of BatchNorm2d are not known"):
        count_multiply_adds(model, (1, 5, 5))
    assert not any(one._forward_hooks for one in model.modules())
    with pytest.raises(ValueError, match=r"a window of 3 pixels does not fit into 2"):
        count_multiply_adds(nn.Sequential(Conv2d(1, 1, 3, generator=stream(0, "weights"))), (1, 2, 2))
    assert not any(one._forward_hooks for one in model.modules())


def test_a_shape_is_needed_where_the_network_does_not_know_it():
    for inputs, said in ((None, "Linear has none"), (3, "not 3")):
        with pytest.raises(ValueError, match=rf"inputs must be the shape of an example, such as \(1, 28, 28\): {said}"):
            count_multiply_adds(skip_init(nn.Linear, 3, 2), inputs)


# ----------------------------------------------------------------------------------------------------------------
# Receptive fields
# ----------------------------------------------------------------------------------------------------------------


def seen(function, shape):
    """The pixels that number (i, i) of the map depends on, for i = 1 and 2: where each begins, and how many there are.

    With positive weights and inputs no two paths cancel. Max pooling passes gradients to one pixel alone, so each pixel
    is raised by itself, far enough to be the largest.
    """
    image = torch.ones(shape, dtype=torch.float64)
    raised = image + 1e3 * torch.eye(image.numel(), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        change = function(raised) - function(image[None])
    found = []
    for i in (1, 2):
        pixels = change[:, :, i, i].any(1).view(shape).nonzero()[:, 1:]
        (first, last) = pixels.min(0).values, pixels.max(0).values
        assert first[0] == first[1]
        assert last[0] == last[1]
        found.append((first[0].item(), (last - first + 1)[0].item()))
    return found


FIELDS = {
    "5x5x1": (12, (5, 1)),
    "3x3x1 max2 3x3x1 max2": (24, (10, 4)),
    "3x3x1/2 3x3x1/2": (20, (7, 4)),
    "3x3x1 skip2 max3/1 3x3x1 average2 1x1x1": (26, (13, 4)),
    "local3x3x1 max3/2": (12, (5, 2)),
    "3x3x1 inception(1,1-1,1-1,1) average2": (18, (8, 2)),
    "stochastic3/2 1x1x2/2": (18, (3, 4)),
}


@pytest.mark.parametrize("layers", FIELDS)
def test_a_receptive_field_is_what_a_number_depends_on(layers):
    side, expected = FIELDS[layers]
    model = network(layers, (1, side, side), padding="valid", dtype=torch.float64).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.abs() + 0.1
    (first, size), (second, other) = seen(lambda x: model.stages(x)[-1][1], (1, side, side))
    inside = [size, other]
    assert receptive_field(model) == ReceptiveField(*expected)
    if "inception" in layers:  # which pads, and looks over the edge
        assert second - first <= 2
        assert max(inside) <= expected[0]
    else:
        assert inside == [expected[0]] * 2
        assert second - first == expected[1]


def test_an_inception_module_sees_as_far_as_its_widest_branch():
    module = Inception(1, one=1, three=1, five=1, pool=1, generator=stream(0, "weights"))
    assert receptive_field(module) == (5, 1)
    assert receptive_field([MaxPool2d(2), module, module]) == (2 + 2 * 4 * 2, 2)


def test_layers_of_torch_count_with_their_dilation():
    conv = skip_init(nn.Conv2d, 1, 1, 3, stride=2, dilation=2)
    assert receptive_field(conv) == (5, 2)
    assert receptive_field(nn.Sequential(conv, nn.ReLU(), nn.Sequential(nn.MaxPool2d(2), conv))) == (5 + 2 + 4 * 4, 8)
    assert receptive_field([nn.MaxPool2d(3, 2, dilation=3), nn.AvgPool2d(2)]) == (9, 4)
    assert receptive_field([]) == (1, 1)


def test_what_sees_everything_ends_the_count():
    conv = skip_init(nn.Conv2d, 1, 1, 3)
    every = [skip_init(nn.Linear, 3, 3), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1), LogisticClassifier(3, 2)]
    for last in every:
        assert receptive_field([conv, last, conv]) == (3, 1)
        assert receptive_field([nn.Sequential(conv, nn.ReLU(), last), conv]) == (3, 1)
        assert receptive_field([conv, last, Block()]) == (3, 1)
    assert receptive_field(network("3x3x2 global 3x3x2")) == (3, 1)
    assert receptive_field(network("3x3x2 max2 dense5")) == (4, 2)


def test_what_changes_no_window_changes_nothing():
    conv = skip_init(nn.Conv2d, 1, 1, 3)
    between = [nn.ReLU(), nn.BatchNorm2d(1), Dropout(0.5, generator=stream(0, "masks")), nn.Identity(), nn.Flatten()]
    assert receptive_field([conv, *between, conv]) == (5, 1)


class Block(nn.Module):
    """A module that somebody made of others."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(skip_init(nn.Conv2d, 1, 1, 3))


def test_modules_whose_windows_are_not_known_are_refused():
    for module in (Block(), skip_init(nn.ConvTranspose2d, 1, 1, 3), nn.Upsample(scale_factor=2)):
        with pytest.raises(
            TypeError, match=f"the windows of {type(module).__name__} are not known: hand in its layers"
        ):
            receptive_field([nn.ReLU(), module])


def test_windows_that_are_not_square_are_refused():
    chance = stream(0, "weights")
    for layer in (
        Conv2d(1, 1, (1, 2), generator=chance),
        LocallyConnected2d(1, 1, 2, size=(5, 5), stride=(1, 2), generator=chance),
        skip_init(nn.Conv2d, 1, 1, 3, dilation=(1, 2)),
        nn.AvgPool2d((2, 1)),
    ):
        with pytest.raises(ValueError, match=r"a receptive field is counted for square windows and strides, not \("):
            receptive_field(layer)
