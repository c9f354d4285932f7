"""The arithmetic of convolutions: the numbers of the page, patches that are no kernels, sizes, and padding."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from dlnotes.conv import Conv2d, output_size, patches
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from tests.trials import judged, reference, replaced

IMAGE = torch.tensor([[0.0, 0, 3, 3], [0, 1, 3, 3], [0, 2, 3, 3], [3, 3, 3, 3]])[None, None]
KERNEL = torch.tensor([[-1.0, 1], [-1, 1]])[None, None]


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("convolution_arithmetic"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def measured(lesson):
    return lesson.trial(lesson.QUICK, 1_000)


@pytest.fixture(scope="module")
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def layer(kernels, **settings):
    made = Conv2d(
        kernels.shape[1], len(kernels), kernels.shape[2:], bias=False, generator=torch.Generator(), **settings
    )
    made.weight.data = kernels
    return made


# The example of the page


def test_the_maps_of_the_example_are_those_of_the_page(lesson):
    valid = [[1, 5, 0], [3, 3, 0], [2, 1, 0]]
    assert layer(KERNEL)(IMAGE)[0, 0].tolist() == lesson.slide(IMAGE, KERNEL)[0, 0].tolist() == valid
    assert layer(KERNEL, stride=2)(IMAGE)[0, 0].tolist() == [[1, 0], [2, 0]]
    same = [[1, 5, 0, -6], [3, 3, 0, -6], [2, 1, 0, -6], [0, 0, 0, -3]]
    assert layer(KERNEL, padding="same")(IMAGE)[0, 0].tolist() == same


def test_the_example_as_a_matrix_product_is_that_of_the_page():
    columns = patches(IMAGE, 2).flatten(1)
    assert columns[:, :3].tolist() == [[0, 0, 3], [0, 3, 3], [0, 1, 3], [1, 3, 3]]
    assert KERNEL.flatten(1).tolist() == [[-1, 1, -1, 1]]
    assert (KERNEL.flatten(1) @ columns)[0, :3].tolist() == [1, 5, 0]
    assert columns.shape == (4, 9)
    assert [output_size(4, 2, stride) for stride in (1, 2)] == [3, 2]


# 3.04: a patch is no kernel


def test_another_image_has_other_patches_and_the_same_kernels(draw):
    convolution = Conv2d(3, 5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kernels, found = convolution.weight.detach().clone(), []
    for image in (draw(1, 3, 6, 7), draw(1, 3, 6, 7)):
        convolution(image)
        assert torch.equal(convolution.weight, kernels)
        found.append(patches(image, 2))
    assert not torch.isclose(*found).any()


def test_patches_are_windows_of_the_image_and_kernels_are_weights(draw):
    image = draw(2, 3, 6, 7)
    convolution = Conv2d(3, 5, 2, generator=torch.Generator())
    assert patches(image, 2).shape == (3 * 2 * 2, 2, 5, 6)  # a column for each place of each image
    assert convolution.weight.shape == (5, 3, 2, 2)  # whatever the size of images
    assert torch.equal(patches(image, 2)[:, 1, 4, 2], image[1, :, 4:6, 2:4].flatten())


# 3.05: feature maps


def test_a_feature_map_depends_on_its_own_kernel_alone(draw):
    image, kernels = draw(2, 3, 6, 7), draw(4, 3, 3, 3)
    before = layer(kernels)(image)
    for one in range(4):
        changed = kernels.clone()
        changed[one] = draw(3, 3, 3)
        after = layer(changed)(image)
        assert [torch.equal(before[:, o], after[:, o]) for o in range(4)] == [o != one for o in range(4)]


def test_sums_by_hand_are_what_pytorch_gives(lesson, draw):
    image, kernels = draw(1, 3, 6, 7), draw(4, 3, 3, 3)
    torch.testing.assert_close(lesson.slide(image, kernels), functional.conv2d(image, kernels))
    torch.testing.assert_close(lesson.maps(image, kernels, stride=2), functional.conv2d(image, kernels, stride=2))


# 3.06: stride


@pytest.mark.parametrize("stride", [2, 3, (1, 2), (3, 2)])
def test_a_stride_of_s_keeps_every_s_th_place(draw, stride):
    image, kernels = draw(2, 3, 9, 8), draw(4, 3, 3, 3)
    down, right = (stride, stride) if isinstance(stride, int) else stride
    torch.testing.assert_close(layer(kernels, stride=stride)(image), layer(kernels)(image)[..., ::down, ::right])


def test_windows_move_on_by_a_stride_of_their_own_down_and_across(draw):
    image = draw(1, 1, 9, 9)
    windows = Conv2d(1, 1, 3, stride=(3, 2), generator=torch.Generator()).windows.of(image)
    assert windows.shape == (1, 1, 3, 4, 3, 3)
    assert torch.equal(windows[0, 0, 2, 3], image[0, 0, 6:9, 6:9])


def test_places_are_counted_as_the_formula_says():
    for n, k, s, p in (
        (n, k, s, p) for n in range(1, 13) for k in range(1, 13) for s in (1, 2, 3, 12) for p in (0, 1, 5)
    ):
        if k <= n + 2 * p:
            assert output_size(n, k, s, p) == len(range(0, n + 2 * p - k + 1, s))
        else:
            with pytest.raises(ValueError, match="does not fit"):
                output_size(n, k, s, p)


def test_a_formula_that_is_wrong_is_counted(lesson, monkeypatch):
    assert set(lesson.sizes().values()) == {0}
    monkeypatch.setattr(lesson, "patches", lambda images, k, **settings: images)
    assert lesson.sizes()["same at stride 1/wrong"] == 0
    assert lesson.sizes()["same at stride 2/wrong"] == 132  # all but those of one pixel
    monkeypatch.setattr(lesson, "patches", lambda images, k, **settings: images[..., :1, :1])
    assert lesson.sizes()["same at stride 1/wrong"] == 132


# 3.07: valid padding


def test_valid_padding_sees_the_image_alone(lesson, measured, draw):
    image, kernels = draw(1, 3, 9, 8), draw(4, 3, 3, 3)
    canvas = draw(1, 3, 13, 12)
    canvas[..., 2:-2, 2:-2] = image
    on_canvas = layer(kernels)(canvas)
    torch.testing.assert_close(layer(kernels)(image), on_canvas[..., 2:-2, 2:-2])
    torch.testing.assert_close(layer(kernels)(image), layer(kernels, padding="same")(image)[..., 1:-1, 1:-1])
    assert lesson.Conv2d(1, 1, 3, generator=torch.Generator()).windows.padding == "valid"
    assert measured["valid/seen of the outside"] == 0


def test_pixels_near_the_edge_lie_in_fewer_patches(lesson):
    used = lesson.times_used(6, 3)
    assert used[0].tolist() == [1, 2, 3, 3, 2, 1]
    assert used[2].tolist() == [3, 6, 9, 9, 6, 3]
    assert used.sum() == 16 * 9


# 3.08: same padding


def test_same_padding_is_a_frame_of_zeros(draw):
    image, kernels = draw(1, 3, 9, 8), draw(4, 3, 3, 3)
    framed = functional.pad(image, (1, 1, 1, 1))
    torch.testing.assert_close(layer(kernels, padding="same")(image), layer(kernels)(framed))


def test_same_padding_puts_the_larger_half_at_the_end_as_tensorflow_does():
    """The pixels before and after a side, for (n, k, s): TensorFlow's table, from the formula in its documentation."""
    table = {(4, 2, 1): (0, 1), (4, 3, 1): (1, 1), (28, 5, 1): (2, 2), (28, 3, 2): (0, 1), (28, 5, 2): (1, 2)}
    table |= {(7, 3, 2): (1, 1), (7, 2, 2): (0, 1), (6, 2, 2): (0, 0), (5, 4, 1): (1, 2), (10, 1, 3): (0, 0)}
    for (n, k, s), (before, after) in table.items():
        windows = Conv2d(1, 1, k, stride=s, padding="same", generator=torch.Generator()).windows
        assert windows.margins(n, n) == (before, after, before, after)


def test_same_padding_keeps_the_size_at_stride_1_only_and_pytorch_refuses_a_stride():
    assert [output_size(28, 5, stride, "same") for stride in (1, 2, 3)] == [28, 14, 10]
    with pytest.raises(ValueError, match="padding='same' is not supported for strided"):
        nn.Conv2d(1, 1, 5, stride=2, padding="same")


def test_edges_at_the_border_are_counted_there(lesson, monkeypatch):
    """One column of ink: its edges, and in the negative also those where the paper ends."""
    image = torch.zeros(1, 1, 8, 8)
    image[..., 3] = 1
    monkeypatch.setattr(lesson, "load", lambda config, seed: image)
    answers = lesson.maps(image, lesson.EDGES, padding="same")
    assert answers[0, 0, 4].tolist() == [0, 0, 3, 0, -3, 0, 0, 0]
    assert answers[0, 0, 0].tolist() == [0, 0, 2, 0, -2, 0, 0, 0]
    shares = lesson.edges(lesson.QUICK, 0)
    assert shares["same/ink/share at the border"] == pytest.approx(8 / (8 + 6 * 6))
    assert shares["same/negative/share at the border"] == pytest.approx((8 + 8 + 36) / (8 + 8 + 36 + 36))
    assert shares["valid/ink/share at the border"] == shares["valid/negative/share at the border"]


def test_both_images_and_negatives_are_answered_by_the_same_kernel(measured):
    ink = measured["valid/ink/share at the border"]
    assert measured["valid/negative/share at the border"] == pytest.approx(ink, abs=1e-5)
    assert measured["same/negative/share at the border"] > measured["same/ink/share at the border"] + 0.1


def test_a_corner_in_another_number_of_patches_is_no_support():
    experiment, trials, _ = reference("convolution_arithmetic")
    planted = replaced(trials, {"patches/middle over corner": 0 * trials["patches/middle over corner"] + 24})
    assert judged(experiment, "corner", planted).verdict == "refuted"
