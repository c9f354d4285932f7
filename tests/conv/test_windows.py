"""Windows on images: how many there are, what they see, and what lies around the image."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch.autograd import gradcheck, gradgradcheck
from torch.func import vmap
from torch.nn import functional

from dlnotes.conv import output_size, patches
from dlnotes.conv.windows import Windows
from dlnotes.randomness import stream
from tests import reference


def images(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=stream(0, "images"), dtype=dtype)


# (n, k, s): the zeros before and after, as TensorFlow places them for "same".
SAME = {
    (5, 1, 1): (0, 0),
    (5, 3, 1): (1, 1),
    (5, 2, 1): (0, 1),
    (5, 4, 1): (1, 2),
    (6, 3, 2): (0, 1),
    (5, 3, 2): (1, 1),
    (28, 5, 2): (1, 2),
    (28, 5, 1): (2, 2),
    (7, 2, 2): (0, 1),
    (8, 2, 2): (0, 0),
    (10, 3, 3): (1, 1),
    (11, 3, 3): (0, 1),
    (9, 1, 3): (0, 0),
    (10, 1, 3): (0, 0),
    (2, 5, 1): (2, 2),
    (1, 4, 3): (1, 2),
}


@pytest.mark.parametrize(("size", "expected"), SAME.items())
def test_same_puts_the_larger_half_of_the_zeros_at_the_end(size, expected):
    n, k, s = size
    assert Windows((k, 1), (s, 1), "same").margins(n, 9) == (*expected, 0, 0)
    assert Windows((1, k), (1, s), "same").margins(9, n) == (0, 0, *expected)
    assert reference.margins_of_same(*size) == expected


@given(
    n=some.integers(1, 12),
    k=some.integers(1, 12),
    s=some.integers(1, 12),
    padding=some.sampled_from(["valid", "same", 0, 1, 2, 5]),
)
def test_the_number_of_places_is_counted_by_sliding(n, k, s, padding):
    if padding == "same":
        margins = reference.margins_of_same(n, k, s)
        assert output_size(n, k, s, padding) == -(-n // s)
    else:
        margins = (0, 0) if padding == "valid" else (padding, padding)
    expected = reference.count_places(n, k, s, *margins)
    if expected:
        assert output_size(n, k, s, padding) == expected
        assert Windows((k, 1), (s, 1), padding).places(n, 7)[0] == expected
        assert Windows((1, k), (1, s), padding).places(7, n)[1] == expected
    else:
        with pytest.raises(ValueError, match=f"a window of {k} pixels does not fit into {n + sum(margins)}"):
            output_size(n, k, s, padding)


@pytest.mark.parametrize("padding", ["valid", "same", 0, 2])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), ((2, 3), 1), ((3, 2), (1, 3)), (2, 2), (2, 3)])
def test_patches_are_those_of_unfold_in_value_and_gradient(kernel, stride, padding):
    x, y = images(3, 2, 6, 7).requires_grad_(), images(3, 2, 6, 7).requires_grad_()
    found = patches(x, kernel, stride=stride, padding=padding)
    size, step = (pair if isinstance(pair, tuple) else (pair, pair) for pair in (kernel, stride))
    top, bottom, left, right = Windows(size, step, padding).margins(6, 7)
    expected = functional.unfold(functional.pad(y, (left, right, top, bottom)), size, stride=step)
    assert torch.equal(found.flatten(2).transpose(0, 1), expected)
    slope = images(*expected.shape)
    found.flatten(2).transpose(0, 1).backward(slope)
    expected.backward(slope)
    torch.testing.assert_close(x.grad, y.grad)


def test_a_patch_is_read_channel_by_channel_and_row_by_row():
    image = torch.arange(18.0).view(1, 2, 3, 3)
    assert patches(image, 2).shape == (8, 1, 2, 2)
    assert patches(image, 2)[:, 0, 1, 0].tolist() == [3, 4, 6, 7, 12, 13, 15, 16]
    assert patches(image, 2, padding=1)[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 9]
    assert patches(image, 2, padding="same")[:, 0, 2, 2].tolist() == [8, 0, 0, 0, 17, 0, 0, 0]


def test_the_gradient_has_a_gradient():
    x = images(2, 1, 4, 3).requires_grad_()
    for stride in (1, 2):
        assert gradcheck(lambda x, s=stride: patches(x, 2, stride=s, padding="same"), x)
        slopes = torch.ones_like(patches(x, 2, stride=stride, padding="same")).requires_grad_()
        assert gradgradcheck(lambda x, s=stride: patches(x, 2, stride=s, padding="same").square(), x, slopes)


def test_patches_of_many_stacks_at_once_are_those_of_each():
    stacks = images(4, 2, 1, 5, 5).requires_grad_()
    found = vmap(lambda x: patches(x, 3, stride=2, padding=1))(stacks)
    expected = torch.stack([patches(x, 3, stride=2, padding=1) for x in stacks])
    assert torch.equal(found, expected)
    (one,) = torch.autograd.grad(found.square().sum(), stacks)
    (other,) = torch.autograd.grad(expected.square().sum(), stacks)
    torch.testing.assert_close(one, other)
    slopes = vmap(torch.func.grad(lambda x: patches(x, 3, stride=2, padding=1).square().sum()))(stacks.detach())
    torch.testing.assert_close(slopes, one)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32])
def test_patches_keep_dtype_and_device_and_take_no_images(dtype, device):
    whole = (10 * images(2, 3, 5, 5).abs()).to(dtype).to(device)
    found = patches(whole, 2, padding="same")
    assert (found.dtype, found.device.type) == (dtype, device)
    assert patches(whole[:0], 2).shape == (12, 0, 4, 4)


def test_a_window_that_does_not_fit_is_refused_with_one_that_would():
    with pytest.raises(ValueError, match=r"of 7 pixels does not fit into 5: take one of 5 or smaller, or padding=1 or"):
        output_size(5, 7)
    assert output_size(5, 7, padding=1) == output_size(5, 5) == 1
    with pytest.raises(
        ValueError, match=r"of 12 pixels does not fit into 9 \(7 and padding of 2\): take one of 9 or smaller, or padd"
    ):
        output_size(7, 12, padding=1)
    with pytest.raises(ValueError, match=r"a window of 4 pixels does not fit into 3"):
        patches(images(1, 1, 5, 3), (2, 4))
    with pytest.raises(ValueError, match=r"a window of 2 pixels does not fit into 0: padding=1 or more$"):
        patches(images(1, 1, 5, 0), 2)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3", (3,), (1, 2, 3), (2, 0), (2, 2.0)])
@pytest.mark.parametrize("name", ["kernel_size", "stride"])
def test_sizes_and_strides_that_are_none_are_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be an int of 1 or more, or a pair of them, not "):
        patches(images(1, 1, 5, 5), **{"kernel_size": 2, name: value})


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3", (3, 3)])
@pytest.mark.parametrize("name", ["size", "kernel_size", "stride"])
def test_one_side_has_whole_numbers_of_pixels(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be an int of 1 or more, not "):
        output_size(**{"size": 9, "kernel_size": 2, name: value})


@pytest.mark.parametrize("padding", ["full", -1, 1.0, None, True, (1, 1)])
def test_another_padding_is_refused(padding):
    with pytest.raises(ValueError, match='padding must be "valid", "same" or a number of pixels from 0 up, not '):
        output_size(9, 2, padding=padding)


def test_what_is_no_batch_of_images_is_refused_with_the_shape_that_would_fit():
    with pytest.raises(
        ValueError,
        match=r"^images must be \[batch, channel, height, width\], \(N, C, H, W\), not \(2, 5, 6\); "
        r"images\.unsqueeze\(1\) makes it \(2, 1, 5, 6\)$",
    ):
        patches(images(2, 5, 6), 2)
    for shape in ((5, 6), (), (1, 1, 1, 5, 5)):
        with pytest.raises(ValueError, match=r"must be \[batch, channel, height, width\]"):
            patches(images(*shape), 2)
    with pytest.raises(TypeError, match=r"^images must be a tensor, not a NumPy array: make it one by torch\.from_num"):
        patches(np.ones((1, 1, 5, 5)), 2)
