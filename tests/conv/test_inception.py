"""The Inception module: its branches, their order, and torchvision's module of the same name."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from dlnotes.conv import Inception, count_parameters
from dlnotes.randomness import stream

SIZES = {"one": 3, "three": 4, "five": 2, "pool": 5, "reduce_three": 6, "reduce_five": 1}


def images(*shape, purpose="images"):
    return torch.randn(shape, generator=stream(0, purpose), dtype=torch.float64)


def inception(channels=7, dtype=torch.float64, fused=False, **changes):
    module = Inception(channels, **{**SIZES, **changes}, fused=fused, generator=stream(0, "weights"), dtype=dtype)
    for name, parameter in module.named_parameters():
        if "bias" in name:
            parameter.data = images(*parameter.shape, purpose=name).to(dtype)
    return module


@pytest.mark.parametrize("fused", [False, True])
def test_it_is_torchvisions_module_with_a_5x5_where_that_has_a_3x3(fused):
    """torchvision says in its source that its third branch is a 3×3 by mistake. Its batch norm is made our bias."""
    from sys import modules

    import torchvision.models.googlenet  # noqa: F401 (the module, which a function of the same name hides)

    kinds = modules["torchvision.models.googlenet"]
    state = torch.get_rng_state()
    theirs = kinds.Inception(7, 3, 6, 4, 1, 2, 5)
    theirs.branch3[1] = kinds.BasicConv2d(1, 2, kernel_size=5, padding=2)
    torch.set_rng_state(state)  # PyTorch draws first weights, which are replaced
    theirs.double().eval()
    mine = inception(fused=fused)
    ours = [layer for layer in mine.modules() if hasattr(layer, "weight")]
    blocks = [block for block in theirs.modules() if isinstance(block, kinds.BasicConv2d)]
    assert len(ours) == len(blocks) == 6
    for layer, block in zip(ours, blocks, strict=True):  # (z - mean) / √(variance + 0.001) · weight + bias = z + b
        block.conv.weight.data = layer.weight.detach().clone()
        block.bn.running_var.fill_(1 - block.bn.eps)
        block.bn.weight.data.fill_(1.0)
        block.bn.bias.data = layer.bias.detach().clone()
    x, y = images(3, 7, 6, 5).requires_grad_(), images(3, 7, 6, 5).requires_grad_()
    found, expected = mine(x), theirs(y)
    torch.testing.assert_close(found, expected)
    slopes = images(*expected.shape, purpose="slopes")
    found.backward(slopes)
    expected.backward(slopes)
    torch.testing.assert_close(x.grad, y.grad)
    for layer, block in zip(ours, blocks, strict=True):
        torch.testing.assert_close(layer.weight.grad, block.conv.weight.grad)
        torch.testing.assert_close(layer.bias.grad, block.bn.bias.grad)
        assert layer.weight.grad.any()


def test_without_reductions_the_larger_kernels_see_all_channels():
    module, x = inception(reduce_three=None, reduce_five=None), images(2, 7, 5, 5)
    parameters = dict(module.named_parameters())
    assert parameters["three.0.weight"].shape == (4, 7, 3, 3)
    assert parameters["five.0.weight"].shape == (2, 7, 5, 5)

    def convolved(branch, maps, padding):
        weight, bias = parameters[f"{branch}.weight"], parameters[f"{branch}.bias"]
        return functional.conv2d(maps, weight, bias, padding=padding).relu()

    largest = functional.max_pool2d(x, 3, 1, 1)
    expected = [convolved("one.0", x, 0), convolved("three.0", x, 1), convolved("five.0", x, 2)]
    torch.testing.assert_close(module(x), torch.cat([*expected, convolved("pool.1", largest, 0)], 1))


def test_the_parameters_are_those_of_six_convolutions():
    expected = (7 + 1) * 3 + (7 + 1) * 6 + (9 * 6 + 1) * 4 + (7 + 1) * 1 + (25 * 1 + 1) * 2 + (7 + 1) * 5
    assert count_parameters(inception()) == expected
    assert count_parameters(inception(reduce_three=None)) == expected - (7 + 1) * 6 + 9 * (7 - 6) * 4


def test_first_weights_are_drawn_again_from_the_same_generator():
    fresh = Inception(7, **SIZES, generator=stream(0, "weights"))
    other = Inception(7, **SIZES, generator=stream(1, "weights"))
    other.reset_parameters(stream(0, "weights"))
    for one, two in zip(fresh.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_and_no_images_at_all(dtype, fused, device):
    module = inception(dtype=dtype, fused=fused).to(device)
    x = images(2, 7, 4, 4).to(dtype).to(device)
    assert (module(x).dtype, module(x).device.type) == (dtype, device)
    assert module(x).shape == (2, module.out_channels, 4, 4) == (2, 14, 4, 4)
    assert module(x[:0]).shape == (0, 14, 4, 4)
    exact = copy.deepcopy(module).double()(x.double())
    torch.testing.assert_close(module(x).double(), exact, rtol=0.05, atol=100 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("value", [0, -1, 2.0, True])
@pytest.mark.parametrize("name", list(SIZES))
def test_channels_that_are_none_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be an int of 1 or more, not {value}"):
        inception(**{name: value})


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match=r"^inputs must be \[batch, .*\], \(N, 7, H, W\), not \(2, 3, 4, 4\)$"):
        inception()(images(2, 3, 4, 4))
    with pytest.raises(TypeError, match=r"inputs must be torch\.float64 as the weights are, not torch\.float32"):
        inception()(images(2, 7, 4, 4).float())
    with pytest.raises(TypeError, match=r"^generator must be a torch\.Generator"):
        Inception(7, **SIZES, generator=3)


def test_made_without_memory():
    with torch.device("meta"):
        module = inception()
    assert all(parameter.is_meta for parameter in module.parameters() if parameter.ndim > 1)
    assert isinstance(module, nn.Module)
