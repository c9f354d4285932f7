"""Networks from a line of text: the same as a stack of PyTorch's layers in the usual order."""

import copy
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import skip_init

from dlnotes.conv import ConvNet, Inception, LocallyConnected2d, StochasticPool2d, count_parameters
from dlnotes.linear import SGD, LogisticClassifier, cross_entropy
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import Minibatches, Trainer, load_checkpoint, save_checkpoint

BOTH = pytest.mark.parametrize("fused", [False, True], ids=["formulas", "fused"])


def images(*shape, purpose="images"):
    return torch.randn(shape, generator=stream(0, purpose), dtype=torch.float64)


def network(layers, inputs=(1, 14, 14), seed=0, dtype=torch.float64, **settings):
    settings.setdefault("draws", stream(seed, "draws"))
    model = ConvNet(layers, inputs=inputs, generator=stream(seed, "weights"), dtype=dtype, **settings)
    for name, parameter in model.named_parameters():
        if "bias" in name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=stream(seed, name)).to(dtype)
    return model


def conv(*sizes, **settings):
    return skip_init(nn.Conv2d, *sizes, dtype=torch.float64, **settings)


def linear(*sizes):
    return skip_init(nn.Linear, *sizes, dtype=torch.float64)


class Locally(nn.Module):
    """3×3 with kernels of each place's own, by `torch.nn.functional.unfold` and a matrix a place."""

    def __init__(self, channels, maps, height, width):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(maps * height * width, channels, 3, 3, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(maps * height * width, dtype=torch.float64))
        self.shape = maps, height, width

    def forward(self, inputs):
        seen = nn.functional.unfold(inputs, 3, padding=1)  # (N, C · 9, places)
        weight = self.weight.view(self.shape[0], seen.shape[2], -1)
        return torch.einsum("opk,nkp->nop", weight, seen).view(-1, *self.shape) + self.bias.view(self.shape)


class Branches(nn.Module):
    """An Inception module of PyTorch's layers."""

    def __init__(self, channels, one, reduce_three, three, reduce_five, five, pool):
        super().__init__()
        relu, reduced = nn.ReLU(), reduce_three or channels
        self.one = nn.Sequential(conv(channels, one, 1), relu)
        first = [conv(channels, reduce_three, 1), relu] if reduce_three else []
        self.three = nn.Sequential(*first, conv(reduced, three, 3, padding=1), relu)
        self.five = nn.Sequential(conv(channels, reduce_five, 1), relu, conv(reduce_five, five, 5, padding=2), relu)
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(channels, pool, 1), relu)

    def forward(self, inputs):
        return torch.cat([branch(inputs) for branch in (self.one, self.three, self.five, self.pool)], 1)


# The text, the images, and PyTorch's layers in the usual order: the ReLU comes before pooling.
STACKS = {
    "5x5x4 max2 5x5x6 max2": (
        (1, 28, 28),
        lambda: [
            *(conv(1, 4, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(conv(4, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), linear(6 * 7 * 7, 10)),
        ],
    ),
    "5x5x4/2 3x3x5/2": (
        (3, 32, 32),
        lambda: [
            *(nn.ZeroPad2d((1, 2, 1, 2)), conv(3, 4, 5, stride=2), nn.ReLU()),
            *(nn.ZeroPad2d((0, 1, 0, 1)), conv(4, 5, 3, stride=2), nn.ReLU(), nn.Flatten(), linear(5 * 64, 10)),
        ],
    ),
    "3x3x4 skip2 3x3x4 max3/2 max2/1": (
        (1, 14, 14),
        lambda: [
            *(conv(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(1, 2)),
            *(conv(4, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.MaxPool2d(2, 1)),
            *(nn.Flatten(), linear(16, 10)),
        ],
    ),
    "max2 1x3x4 average2 1x1x5": (
        (2, 14, 14),
        lambda: [
            *(nn.MaxPool2d(2), conv(2, 4, (1, 3), padding=(0, 1)), nn.ReLU(), nn.AvgPool2d(2)),
            *(conv(4, 5, 1), nn.ReLU(), nn.Flatten(), linear(5 * 9, 10)),
        ],
    ),
    "3x3x4 1x1x6 max2 1x1x3/2 global": (
        (1, 14, 14),
        lambda: [
            *(conv(1, 4, 3, padding=1), nn.ReLU(), conv(4, 6, 1), nn.ReLU(), nn.MaxPool2d(2)),
            *(conv(6, 3, 1, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(3, 10)),
        ],
    ),
    "3x3x4 inception(2,3-4,1-2,3) max2 inception(3,3,3-2,4)": (
        (1, 8, 8),
        lambda: [
            *(conv(1, 4, 3, padding=1), nn.ReLU(), Branches(4, 2, 3, 4, 1, 2, 3), nn.MaxPool2d(2)),
            *(Branches(11, 3, None, 3, 3, 2, 4), nn.Flatten(), linear(12 * 16, 10)),
        ],
    ),
    "3x3x3 max2 local3x3x4 max2 dense7 dense6": (
        (1, 12, 12),
        lambda: [
            *(conv(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Locally(3, 4, 6, 6), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), linear(36, 7), nn.ReLU(), linear(7, 6), nn.ReLU(), linear(6, 10)),
        ],
    ),
    "dense7": ((1, 5, 4), lambda: [nn.Flatten(), linear(20, 7), nn.ReLU(), linear(7, 10)]),
    "": ((2, 5, 4), lambda: [nn.Flatten(), linear(40, 10)]),
}


def twins(layers, fused, **settings):
    """A network, and PyTorch's layers with its weights."""
    inputs, made = STACKS[layers]
    model, theirs = network(layers, inputs, fused=fused, **settings), nn.Sequential(*made())
    for mine, other in zip(model.parameters(), theirs.parameters(), strict=True):
        assert mine.shape == other.shape
        other.data = mine.detach().clone(memory_format=torch.contiguous_format)
    return model, theirs


@BOTH
@pytest.mark.parametrize("layers", STACKS)
def test_it_is_the_stack_of_torchs_layers_in_the_usual_order(layers, fused):
    model, theirs = twins(layers, fused)
    x, y = images(3, *model.inputs).requires_grad_(), images(3, *model.inputs).requires_grad_()
    found, expected = model(x), theirs(y)
    assert found.shape == (3, 10)
    torch.testing.assert_close(found, expected)
    for scores in (found, expected):
        (scores * images(3, 10, purpose="slopes")).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    for mine, other in zip(model.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
        assert mine.grad.any()


@BOTH
def test_a_network_without_parts_is_the_logistic_classifier(fused):
    model, classifier = network("", (1, 5, 4), fused=fused), LogisticClassifier(20, 10, dtype=torch.float64)
    classifier.weight.data, classifier.bias.data = model.scores.weight.data, model.scores.bias.data
    torch.testing.assert_close(model(images(3, 1, 5, 4)), classifier(images(3, 20)))


@BOTH
def test_a_stride_is_all_places_with_most_of_them_skipped(fused):
    """Of an odd kernel on an odd number of pixels, where both pad alike."""
    every, some = network("5x5x4 skip2", (1, 13, 13), fused=fused), network("5x5x4/2", (1, 13, 13), fused=fused)
    some.load_state_dict(every.state_dict())
    torch.testing.assert_close(some(images(3, 1, 13, 13)), every(images(3, 1, 13, 13)))


@BOTH
def test_pooling_that_comes_first_keeps_negative_numbers(fused):
    x = -1 - images(3, 1, 6, 6).abs()
    for layers, pooled in (
        ("max2", nn.MaxPool2d(2)),
        ("skip2", lambda x: x[..., ::2, ::2]),
        ("average3", nn.AvgPool2d(3)),
    ):
        model = network(layers, (1, 6, 6), fused=fused)
        torch.testing.assert_close(model(x), model.scores(pooled(x).flatten(1)))
        ((_, maps),) = model.stages(x)
        torch.testing.assert_close(maps, pooled(x))


@BOTH
@pytest.mark.parametrize("layers", STACKS)
def test_the_stages_are_the_activations_in_the_order_of_the_text(layers, fused):
    model, theirs = twins(layers, fused)
    stages, x = model.stages(images(3, *model.inputs)), images(3, *model.inputs)
    assert [part for part, _ in stages] == layers.split()
    last = stages[-1][1] if stages else x
    torch.testing.assert_close(model.scores(last.flatten(1)), model(x))
    after = [x]  # what PyTorch's layers give, one after the other
    for layer in theirs:
        after.append(layer(after[-1]))
    for part, maps in stages:
        assert any(maps.shape == other.shape and torch.allclose(maps, other) for other in after), part
        assert maps.min() >= 0 or layers.startswith(part)  # pooling that comes first


def test_the_parts_stand_for_layers_with_the_sizes_that_they_name():
    model = network(
        "5x3x4/2 max3/2 average2 stochastic2/1 inception(1,2-3,4-5,6) global dense9", (1, 40, 40), classes=3
    )
    found = list(map(repr, model.layers))
    assert found[0] == "Conv2d(1, 4, kernel_size=(5, 3), stride=(2, 2), padding='same', fused)"
    assert found[1] == "MaxPool2d(window=(3, 3), stride=(2, 2), padding='valid')"
    assert found[2] == "AveragePool2d(window=(2, 2), stride=(2, 2), padding='valid')"
    assert found[3] == "StochasticPool2d(window=(2, 2), stride=(1, 1), padding='valid')"
    assert isinstance(model.layers[4], Inception)
    shapes = [tuple(maps.shape[1:]) for _, maps in model.stages(images(2, 1, 40, 40))]
    assert shapes == [(4, 20, 20), (4, 9, 9), (4, 4, 4), (4, 3, 3), (15, 3, 3), (15, 1, 1), (9,)]
    assert model(images(2, 1, 40, 40)).shape == (2, 3)
    assert repr(model).startswith("ConvNet(\n  '5x3x4/2 max3/2 average2")
    valid = network("5x5x4 local3x3x2", (1, 10, 10), padding="valid")
    assert [maps.shape[1:] for _, maps in valid.stages(images(1, 1, 10, 10))] == [(4, 6, 6), (2, 4, 4)]
    assert network("5x5x4", (1, 10, 10), padding=3).stages(images(1, 1, 10, 10))[0][1].shape[2:] == (12, 12)


def test_stochastic_pooling_draws_in_training_and_averages_in_evaluation():
    model, x = network("3x3x4 stochastic2 dense5"), images(5, 1, 14, 14)
    assert isinstance(model.layers[1], StochasticPool2d)
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))
    twin = copy.deepcopy(model.train())
    assert torch.equal(twin(x), model(x))


@BOTH
def test_first_weights_come_from_its_generator_and_biases_are_0(fused, seed):
    layers, settings = "5x5x20 max2 1x1x30 local3x3x4 dense40", {"inputs": (1, 14, 14), "fused": fused}
    model = ConvNet(layers, generator=stream(seed, "weights"), **settings)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            assert not parameter.any(), name
        else:
            scaled = parameter.square().mean().item() * parameter[0].numel() / 2
            assert abs(scaled - 1) < 5 * (2 / parameter.numel()) ** 0.5, name
    twin = ConvNet(layers, generator=stream(seed, "weights"), **settings)
    other = ConvNet(layers, generator=stream(seed, "other"), **settings)
    for one, two, three in zip(model.parameters(), twin.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three) == (one.ndim == 1)
    for one in (model, other):
        one.reset_parameters(stream(seed, "again"))
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_networks_that_begin_alike_have_the_same_first_weights_there():
    one, other = network("5x5x8 max2 3x3x4 dense7"), network("5x5x8 skip2 3x3x4 3x3x2 inception(1,1,1,1)")
    for number in (0, 2):
        assert torch.equal(one.layers[number].weight, other.layers[number].weight)


def test_fused_or_not_the_first_weights_are_the_same():
    for layers in STACKS:
        one, other = (network(layers, STACKS[layers][0], fused=fused) for fused in (True, False))
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
        assert one.state_dict().keys() == other.state_dict().keys()


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "layers", ["5x5x4 max2 1x1x3 3x3x4/2 average2 dense5", "inception(2,3-2,2-2,2) stochastic2 local3x3x2 skip2 global"]
)
def test_every_dtype_and_no_images_at_all(layers, dtype, fused, device):
    model = network(layers, dtype=dtype, fused=fused).to(device)
    x = images(4, 1, 14, 14).to(dtype).to(device)
    assert (model(x).dtype, model(x).device.type, model(x).shape) == (dtype, device, (4, 10))
    nothing = model(x[:0])
    assert nothing.shape == (0, 10)
    nothing.sum().backward()
    assert not any(parameter.grad.any() for parameter in model.parameters())
    model.eval()
    torch.testing.assert_close(
        model(x).double(), copy.deepcopy(model).double()(x.double()), rtol=0, atol=200 * torch.finfo(dtype).eps
    )


def test_made_without_memory_in_the_default_dtype():
    with torch.device("meta"):
        model = ConvNet("3x3x4 max2 local3x3x2 inception(1,1-1,1-1,1) dense3", generator=stream(0, "weights"))
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert all(parameter.is_meta for parameter in model.parameters())
    try:
        torch.set_default_dtype(torch.float64)
        model = ConvNet("3x3x4 dense3", generator=stream(0, "weights"))
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(parameter.dtype == torch.float64 for parameter in model.parameters())


@BOTH
@pytest.mark.parametrize(
    "layers",
    ["3x3x4 max2 3x3x3/2 dense6", "3x3x3 stochastic2 inception(1,1-2,1-1,1) skip2 local3x3x2", "1x1x2 average2"],
)
def test_networks_in_a_sweep_learn_what_they_learn_alone(layers, fused):
    """Each draws for stochastic pooling from a generator of its own."""
    examples = images(20, 1, 8, 8), torch.arange(20) % 10
    together, alone = ([network(layers, (1, 8, 8), seed, fused=fused) for seed in range(3)] for _ in range(2))
    rates = (0.02, 0.05, 0.1)
    groups = [{"params": model.parameters(), "lr": lr} for model, lr in zip(together, rates, strict=True)]
    optimizer = SGD(groups, lr=0.1, momentum=0.9)
    sweep = Sweep(together, cross_entropy, optimizer, Minibatches(examples, 6, stream(0, "batches")))
    losses = torch.tensor([step.losses for step in islice(sweep, 4)])
    for number, (model, lr) in enumerate(zip(alone, rates, strict=True)):
        batches = Minibatches(examples, 6, stream(0, "batches"))
        trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=lr, momentum=0.9), batches)
        expected = torch.tensor([step.loss for step in islice(trainer, 4)])
        torch.testing.assert_close(losses[:, number], expected, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(list(together[number].parameters()), list(model.parameters()), rtol=1e-8, atol=1e-10)


def test_a_training_that_keeps_its_draws_goes_on_with_the_same(tmp_path):
    examples = images(20, 1, 8, 8), torch.arange(20) % 10

    def training():
        draws = stream(0, "draws")
        model = network("3x3x4 stochastic2", (1, 8, 8), draws=draws)
        batches = Minibatches(examples, 6, stream(0, "batches"))
        optimizer = SGD(model.parameters(), lr=0.1)
        return Trainer(model, cross_entropy, optimizer, batches, generators={"draws": draws})

    whole = [step.loss for step in islice(training(), 6)]
    begun = training()
    first = [step.loss for step in islice(begun, 3)]
    save_checkpoint(tmp_path / "run.pt", begun.state_dict())
    resumed = training()
    resumed.load_state_dict(load_checkpoint(tmp_path / "run.pt"))
    assert first + [step.loss for step in islice(resumed, 3)] == whole


def test_a_local_layer_has_as_many_weights_as_places_times_those_of_a_convolution():
    shared, untied = network("3x3x4 3x3x5", (1, 6, 6)), network("3x3x4 local3x3x5", (1, 6, 6))
    assert isinstance(untied.layers[1], LocallyConnected2d)
    assert count_parameters(untied.layers[1]) == 36 * count_parameters(shared.layers[1])


# ----------------------------------------------------------------------------------------------------------------
# Errors
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    ["5x5", "max", "2max", "inception(1,2)", "inception(1,2-,3,4)", "5x5x8,max2", "Max2", "5x5x8/", "conv", "globa"],
)
def test_a_part_that_is_not_understood_is_refused_with_some_that_are(part):
    with pytest.raises(ValueError, match="not understood") as refused:
        network(f"3x3x4 {part}")
    said = str(refused.value)
    assert said.startswith(
        f"{part!r} on images of 4 × 14 × 14: not understood; parts look like 5x5x8 (or 5x5x8/2, local5"
    )
    for name in ("max2", "max3/2", "average2", "stochastic2", "skip2", "inception(8,4-12,2-4,4)", "global", "dense32"):
        assert name in said
        assert network(name, (4, 14, 14))


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("5x5x0", "'5x5x0' on images of 1 × 14 × 14: out_channels must be an int of 1 or more, not 0"),
        ("0x5x1", r"'0x5x1' on images of 1 × 14 × 14: kernel_size must be an int of 1 or more, .* not \(0, 5\)"),
        ("5x5x8/0", "stride must be an int of 1 or more, or a pair of them, not 0"),
        ("max0", "'max0' on images of 1 × 14 × 14: window must be an int of 1 or more"),
        ("max2/0", "stride must be an int of 1 or more"),
        ("skip0", "stride must be an int of 1 or more"),
        ("dense0", "'dense0' on images of 1 × 14 × 14: units must be an int of 1 or more, not 0"),
        ("inception(1,0-1,1,1)", "reduce_three must be an int of 1 or more, not 0"),
        ("inception(1,1,1-0,1)", "five must be an int of 1 or more, not 0"),
        (
            "max14 max2",
            "'max2' on images of 1 × 1 × 1: a window of 2 pixels does not fit into 1: take one of 1 or smaller",
        ),
        ("max15", "'max15' on images of 1 × 14 × 14: a window of 15 pixels does not fit into 14: take one of 14 or"),
        ("dense5 3x3x2", "'3x3x2' after dense units, of which there are 5: they have no places any more"),
        ("dense5 max2", "put dense parts last"),
        ("dense5 global", "put dense parts last"),
    ],
)
def test_a_part_that_does_not_fit_is_refused_with_the_images_that_come_to_it(layers, said):
    with pytest.raises(ValueError, match=said):
        network(layers)


def test_other_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"stochastic pooling needs draws, a generator of its own to draw from"):
        network("stochastic2", draws=None)
    with pytest.raises(
        ValueError, match=r"'5x5x8' on images of 1 × 14 × 14: padding must be \"valid\", \"same\" or a num"
    ):
        network("5x5x8", padding="full")
    with pytest.raises(ValueError, match=r"a window of 5 pixels does not fit into 4"):
        network("5x5x8", (1, 4, 4), padding="valid")
    for inputs in ((14, 14), (1, 14, 14, 1), (1, 0, 14), (1, 14.0, 14), 14, None):
        with pytest.raises(
            ValueError, match=r"inputs must be \(channels, height, width\), three ints of 1 or more, not "
        ):
            network("max2", inputs)
    for classes in (0, 2.0, True):
        with pytest.raises(ValueError, match=f"classes must be an int of 1 or more, not {classes}"):
            network("max2", classes=classes)
    for layers in (["5x5x8", "max2"], None, 5):
        with pytest.raises(TypeError, match=r'^layers must be a text such as "5x5x8 max2", not '):
            network(layers)
    with pytest.raises(TypeError, match=r"^generator must be a torch\.Generator"):
        ConvNet("5x5x8", generator=None)


@BOTH
def test_wrong_images_are_refused(fused):
    for model in (network("5x5x8", fused=fused), network("max2", fused=fused), network("dense3", fused=fused)):
        with pytest.raises(
            ValueError, match=r"inputs must be 1 × 14 × 14 \(channels, height, width\) as the network was "
        ):
            model(images(2, 1, 28, 28))
        with pytest.raises(ValueError, match=r"\(N, 1, H, W\), not \(2, 14, 14\); inputs\.unsqueeze\(1\) makes it"):
            model(images(2, 14, 14))
        with pytest.raises(ValueError, match=r"\(N, 1, H, W\), not \(2, 3, 14, 14\)$"):
            model.stages(images(2, 3, 14, 14))
        with pytest.raises(TypeError, match=r"inputs must be torch\.float64 as the weights are, not torch\.float32"):
            model(images(2, 1, 14, 14).float())
        with pytest.raises(TypeError, match=r"^inputs must be a tensor, not a NumPy array"):
            model(np.ones((2, 1, 14, 14)))
