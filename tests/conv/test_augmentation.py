"""Images moved, turned and scaled: where each pixel goes, and who draws."""

import math

import numpy as np
import pytest
import torch

from dlnotes.conv import augment, shift
from dlnotes.randomness import stream
from tests import reference


def images(*shape, dtype=torch.float64):
    return torch.rand(shape, generator=stream(0, "images"), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("down", [0, 1, -2, 7, -100])
@pytest.mark.parametrize("right", [0, 3, -1, 100])
def test_a_shift_puts_each_pixel_where_it_says_and_zeros_behind(down, right):
    x = images(2, 3, 6, 7)
    expected = torch.zeros_like(x)
    for i in range(6):
        for j in range(7):
            if 0 <= i + down < 6 and 0 <= j + right < 7:
                expected[:, :, i + down, j + right] = x[:, :, i, j]
    assert torch.equal(shift(x, down, right), expected)


def test_each_image_may_have_a_shift_of_its_own():
    x, down, right = images(5, 1, 6, 6), torch.tensor([0, 1, -2, 1, 9]), torch.tensor([1, 0, 2, 0, 9])
    expected = torch.cat([shift(one, int(d), int(r)) for one, d, r in zip(x.split(1), down, right, strict=True)])
    assert torch.equal(shift(x, down, right), expected)
    assert torch.equal(shift(x, down.tolist(), right.to(torch.int8)), expected)
    assert torch.equal(shift(x, 1, right), shift(x, torch.ones(5, dtype=torch.int64), right))
    assert torch.equal(x, images(5, 1, 6, 6))


def test_there_and_back_is_the_image_but_for_its_edge():
    x = images(2, 1, 8, 8)
    x[:, :, [0, 1, -2, -1]] = x[..., [0, 1, -2, -1]] = 0
    assert torch.equal(shift(shift(x, 2, -1), -2, 1), x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32])
def test_a_shift_keeps_dtype_and_device_and_takes_no_images(dtype, device):
    x = (100 * images(3, 1, 5, 5)).to(dtype).to(device)
    moved = shift(x, 1, torch.tensor([1, 0, -1], device=device))
    assert (moved.dtype, moved.device.type) == (dtype, device)
    assert torch.equal(moved[1, :, 1:], x[1, :, :-1])
    assert shift(x[:0], 1, torch.zeros(0, dtype=torch.int64)).shape == (0, 1, 5, 5)
    assert shift(x[:0], 1, 1).shape == (0, 1, 5, 5)


def test_gradients_go_back_to_where_pixels_came_from():
    x = images(2, 1, 4, 4).requires_grad_()
    shift(x, torch.tensor([1, 0]), 0).sum().backward()
    assert torch.equal(x.grad[0, 0], torch.tensor([[1.0]] * 3 + [[0.0]], dtype=torch.float64).expand(4, 4))
    assert torch.equal(x.grad[1], torch.ones(1, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize(
    "settings",
    [
        {"shift": 2.5, "angle": 0, "scale": 0},
        {"shift": 0, "angle": 40, "scale": 0},
        {"shift": 0, "angle": 0, "scale": 0.4},
        {"shift": 3.0, "angle": 180.0, "scale": 0.5},
        {},
    ],
)
def test_an_image_is_turned_and_scaled_around_its_middle_and_then_moved(settings):
    x, (most, angle, scale) = images(6, 2, 7, 8), {"shift": 2.0, "angle": 10.0, "scale": 0.1, **settings}.values()
    drawn = torch.rand(6, 4, generator=stream(0, "moves"), dtype=torch.float64).mul(2).sub(1).tolist()
    found = augment(x, stream(0, "moves"), **settings)
    for image, moved, (down, right, turned, grown) in zip(x, found, drawn, strict=True):
        for channel, one in zip(image.tolist(), moved, strict=True):
            expected = reference.move(channel, most * down, most * right, angle * turned, 1 + scale * grown)
            torch.testing.assert_close(one, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-5)


def test_moves_come_from_their_own_generator_and_go_on():
    x, state = images(4, 1, 9, 9), torch.get_rng_state()
    chance = stream(0, "moves")
    first, second = augment(x, chance), augment(x, chance)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(augment(x, stream(0, "moves")), first)
    assert not torch.equal(first, second)
    assert torch.equal(x, images(4, 1, 9, 9))
    assert not torch.equal(*augment(x[:1].repeat(2, 1, 1, 1), stream(0, "moves")).unbind())  # each image its own
    idle, busy = stream(0, "moves"), stream(0, "moves")
    augment(x, idle, shift=0, angle=0, scale=0)
    augment(x, busy)
    assert torch.equal(idle.get_state(), busy.get_state())  # two arms, of which one moves nothing, stay paired


def test_moves_are_drawn_evenly_up_to_their_limits(seed):
    """Where a single bright pixel goes."""
    x, count = torch.zeros(1, 1, 21, 21, dtype=torch.float64), 400
    x[0, 0, 10, 10] = 1.0
    moved = augment(x.expand(count, 1, 21, 21), stream(seed, "moves"), shift=4.0, angle=0, scale=0)
    places = torch.arange(21.0, dtype=torch.float64) - 10
    for axis in (1, 2):
        went = (moved[:, 0].sum(3 - axis) * places).sum(1)
        assert went.abs().max() <= 4.0 + 1e-5
        assert abs(went.mean().item()) < 5 * (4 / math.sqrt(3)) / math.sqrt(count)
        assert abs(went.square().mean().item() - 16 / 3) < 5 * 16 * math.sqrt(4 / 45) / math.sqrt(count)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_augmented_images_keep_shape_dtype_and_device(dtype, device):
    x = (100 * images(3, 2, 6, 5)).to(dtype).to(device)
    moved = augment(x, stream(0, "moves"))
    assert (moved.shape, moved.dtype, moved.device.type) == (x.shape, dtype, device)
    assert moved.any()
    assert augment(x[:0], stream(0, "moves")).shape == (0, 2, 6, 5)


def test_settings_that_make_no_sense_are_refused():
    x = images(3, 1, 5, 5)
    for name in ("shift", "angle", "scale"):
        for value in (-1, math.nan, math.inf):
            with pytest.raises(ValueError, match=f"^{name} must be 0 or larger.*, not {value}$"):
                augment(x, stream(0, "moves"), **{name: value})
        with pytest.raises(TypeError, match=f"^{name} must be a number, not str"):
            augment(x, stream(0, "moves"), **{name: "1"})
    with pytest.raises(ValueError, match=r"^scale must be 0 or larger and below 1, not 1$"):
        augment(x, stream(0, "moves"), scale=1)
    for name, moves in (("down", {"down": 1.0, "right": 0}), ("right", {"down": 0, "right": torch.ones(3)})):
        with pytest.raises(TypeError, match=f"^{name} must be whole pixels, not "):
            shift(x, **moves)
    for moves in (None, True, "1", [1.5, 1.0, 2.0]):
        with pytest.raises(TypeError):
            shift(x, 0, moves)
    with pytest.raises(ValueError, match=r"^right must be one number or one for each of 3 images, not \(2,\)"):
        shift(x, 0, torch.tensor([1, 2]))
    for function in (lambda x: shift(x, 0, 0), lambda x: augment(x, stream(0, "moves"))):
        with pytest.raises(
            ValueError, match=r"^images must be \[batch, channel, height, width\], \(N, C, H, W\), not \(3, 5"
        ):
            function(x[:, 0])
        with pytest.raises(TypeError, match=r"^images must be a tensor, not a NumPy array"):
            function(np.ones((3, 1, 5, 5)))
