"""Shared weights: arms of one size and one start, settings of the same images, and what sharing is in numbers."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dlnotes.conv import Conv2d, ConvNet, LocallyConnected2d, count_multiply_adds, count_parameters
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.lesson.tuned import tuned_settings
from dlnotes.training import accuracy, evaluate
from tests.trials import batches_seen


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("shared_weights"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def settings(lesson):
    return {name: lesson.load(lesson.QUICK, 1_000, name) for name in lesson.SETTINGS}


@pytest.fixture(scope="module")
def tuned(lesson):
    return tuned_settings(contents.lesson_named("shared_weights"), lesson.QUICK).values


@pytest.fixture(scope="module")
def measured(lesson, tuned):
    return lesson.trial(lesson.QUICK, 1_000, tuned)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# The example that is worked by hand


def test_the_example_of_the_text():
    kernel, rows = torch.tensor([1.0, -1.0]), {"left": [0.0, 3, 1, 0, 0, 0], "right": [0.0, 0, 0, 3, 1, 0]}
    patches = {name: torch.tensor(row).unfold(0, 2, 1) for name, row in rows.items()}
    assert (patches["left"] @ kernel).tolist() == [-3, 2, 1, 0, 0]
    moved = kernel + 0.1 * patches["left"][1]
    assert torch.allclose(moved, torch.tensor([1.3, -0.9]))
    assert float(patches["left"][1] @ moved) == pytest.approx(3.0)
    assert float(patches["right"][3] @ moved) == pytest.approx(3.0)
    assert float(patches["right"][3] @ kernel) == 2
    assert float(torch.tensor([-3.0, -1.0]) @ moved) == pytest.approx(-3.0)


# What sharing is


@pytest.mark.parametrize("fused", [False, True])
def test_each_number_of_a_feature_map_is_the_same_kernel_times_its_patch(fused):
    generator = torch.Generator().manual_seed(1)
    layer = Conv2d(3, 4, 5, stride=2, fused=fused, generator=generator, dtype=torch.float64)
    images = drawn(2, 3, 11, 9)
    maps = layer(images)
    for down, across in np.ndindex(*maps.shape[2:]):
        patch = images[:, :, 2 * down : 2 * down + 5, 2 * across : 2 * across + 5]
        for kernel in range(4):
            answer = (patch * layer.weight[kernel]).sum((1, 2, 3)) + layer.bias[kernel]
            assert torch.allclose(maps[:, kernel, down, across], answer)


def test_the_gradient_of_a_shared_kernel_is_the_sum_of_those_of_separate_ones():
    generator = torch.Generator().manual_seed(1)
    shared = Conv2d(2, 3, 3, generator=generator, dtype=torch.float64)
    separate = LocallyConnected2d(2, 3, 3, size=(6, 7), generator=generator, dtype=torch.float64)
    places = 4 * 5
    separate.load_state_dict({name: one.repeat_interleave(places, 0) for name, one in shared.state_dict().items()})
    images, pull = drawn(5, 2, 6, 7), drawn(5, 3, 4, 5)
    for layer in (shared, separate):
        (layer(images) * pull).sum().backward()
    assert torch.allclose(shared.weight.grad, separate.weight.grad.view(3, places, 2, 3, 3).sum(1))
    assert torch.allclose(shared.bias.grad, separate.bias.grad.view(3, places).sum(1))
    assert not torch.allclose(shared.weight.grad, separate.weight.grad.view(3, places, 2, 3, 3)[:, 0])


def test_shared_weights_are_as_many_whatever_the_size_of_the_image_and_separate_ones_are_not():
    layer = Conv2d(2, 4, 5, generator=torch.Generator())
    assert layer(torch.zeros(1, 2, 9, 9)).shape[2:] == (5, 5)
    assert layer(torch.zeros(1, 2, 28, 40)).shape[2:] == (24, 36)
    assert count_parameters(layer) == 4 * (2 * 5 * 5 + 1)
    for side in (9, 16):
        separate = LocallyConnected2d(2, 4, 5, size=(side, side), generator=torch.Generator())
        assert count_parameters(separate) == (side - 4) ** 2 * count_parameters(layer)


def test_separate_kernels_behind_other_maps_work_in_the_memory_format_of_the_fused_ones():
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    one, other = (
        ConvNet("local3x3x4 local3x3x5", inputs=(1, 8, 8), fused=fused, generator=generator)
        for fused, generator in zip((True, False), generators, strict=True)
    )
    images = drawn(3, 1, 8, 8).float()
    assert torch.allclose(one(images), other(images), atol=1e-5)


# The arms


def test_the_arms_have_the_sizes_that_the_text_gives(lesson):
    models = {arm: lesson.network(arm, 0) for arm in lesson.ARMS}
    weights = {arm: count_parameters(model) for arm, model in models.items()}
    assert weights == {"shared": 4_074, "separate": 105_354, "dense": 105_226}
    multiplications = [count_multiply_adds(model) for model in models.values()]
    assert multiplications[0] == multiplications[1]
    assert [round(one, -3) for one in multiplications] == [103_000, 103_000, 105_000]


def test_the_separate_network_starts_as_the_same_function_with_a_copy_at_each_place(lesson, settings):
    shared, separate = lesson.network("shared", 3), lesson.network("separate", 3)
    images = settings["many images"].test.inputs
    assert torch.allclose(shared(images), separate(images), atol=1e-5)
    for at, (kernels, places) in {0: (8, 256), 2: (16, 16)}.items():
        copies = separate.layers[at].weight.reshape(kernels, places, *shared.layers[at].weight.shape[1:])
        assert (copies == shared.layers[at].weight[:, None]).all()


def test_separate_copies_part_with_the_first_step_and_shared_ones_cannot(lesson, settings):
    config = replace(lesson.QUICK, steps=1)
    model = lesson.trained("separate", settings["many images"].train, config, 0, lr=0.1)
    copies = model.layers[0].weight.detach().reshape(8, 256, 25)
    assert (copies.std(1) > 0).any()
    assert lesson.trained("shared", settings["many images"].train, config, 0, lr=0.1).layers[0].weight.shape[0] == 8


def test_a_long_gradient_is_shortened(lesson, settings):
    """Of a step at the rate 1, whatever the gradient."""
    config = replace(lesson.QUICK, steps=1)
    before = lesson.network("shared", 0).state_dict()
    after = lesson.trained("shared", settings["many images"].train, config, 0, lr=1.0).state_dict()
    moved = torch.cat([(after[name] - before[name]).flatten() for name in before]).norm()
    assert float(moved) == pytest.approx(1.0, rel=1e-3)


def test_all_arms_see_the_same_batches(lesson, settings, monkeypatch):
    seen = batches_seen(lesson, monkeypatch)
    for arm in lesson.ARMS:
        seen.append([])
        lesson.trained(arm, settings["many images"].train, replace(lesson.QUICK, steps=8), 0, lr=0.01)
    assert len(seen[0]) == 8
    assert not torch.equal(seen[0][0], seen[0][1])
    for other in seen[1:]:
        assert all(torch.equal(one, same) for one, same in zip(seen[0], other, strict=True))


def test_no_padding_tells_a_kernel_where_it_is(lesson):
    """On an empty image each place of a feature map has the same number."""
    model = lesson.network("shared", 0)
    maps = model.stages(torch.ones(1, 1, 20, 20))[0][1]
    assert maps.shape == (1, 8, 16, 16)
    assert torch.allclose(maps, maps[:, :, :1, :1].expand_as(maps), atol=1e-6)


# The settings


def test_images_lie_whole_at_all_places_of_their_frames(lesson):
    config = replace(lesson.QUICK, train=1_000)
    images = lesson.load(config, 1_000, "many images").train.inputs[:, 0]
    assert images.shape == (1_000, 20, 20)
    plain = lesson.data.load("letters", 1_000, train=1_000, validation=100, test=200, side=14).train.inputs[:, 0]
    found = set()
    for image, letter in zip(images, plain, strict=True):
        fits = [at for at in np.ndindex(7, 7) if torch.equal(image[at[0] : at[0] + 14, at[1] : at[1] + 14], letter)]
        assert fits
        found.update(fits[:1])
    assert torch.allclose(images.sum((1, 2)), plain.sum((1, 2)), rtol=1e-4)  # nothing else is in the frame
    assert len(found) == 49


def test_the_settings_have_the_same_images_and_differ_in_number_or_signs(lesson, settings):
    few, many, codes = settings.values()
    assert torch.equal(few.train.inputs, many.train.inputs[:100])
    assert torch.equal(few.train.targets, many.train.targets[:100])
    for name in ("train", "validation", "test"):
        one, other = getattr(many, name), getattr(codes, name)
        assert torch.equal(one.inputs, other.inputs.abs())
        assert torch.equal(one.targets, other.targets)
    inked = torch.cat([part.inputs for part in codes])[:, 0]
    negative, positive = (inked < 0).any(0), (inked > 0).any(0)
    assert not (negative & positive).any()  # a pixel has the same sign in all images of all parts
    assert 0.35 < float(negative.float().mean()) < 0.65


def test_separate_weights_lose_nothing_by_the_codes(lesson, settings):
    """With the signs of the pixels upon its first weights, a separate network gives the same scores."""
    codes, plain = settings["own codes"].test.inputs, settings["many images"].test.inputs
    model = lesson.network("separate", 0)
    before = model(plain)
    signs = torch.where((codes < 0).any(0), -1.0, 1.0)[0]
    patches = signs.unfold(0, 5, 1).unfold(1, 5, 1).reshape(1, 256, 1, 5, 5)
    with torch.no_grad():
        weight = model.layers[0].weight
        weight.copy_((weight.reshape(8, 256, 1, 5, 5) * patches).reshape(weight.shape))
    assert torch.allclose(model(codes), before, atol=1e-4)


# What is measured


def test_a_trial_measures_mistakes_on_unseen_images(lesson, measured, settings, tuned):
    for setting, arm in (("few images", "shared"), ("own codes", "separate"), ("many images", "dense")):
        train, _, test = settings[setting]
        model = lesson.trained(arm, train, lesson.QUICK, 1_000, lr=tuned[f"{setting}/{arm}"])
        assert measured[f"{setting}/{arm}/mistakes"] == pytest.approx(1 - accuracy(model, test))


def test_the_kernels_of_the_figure_are_those_at_their_places(lesson, measured, settings, tuned):
    train = settings["many images"].train
    separate = lesson.trained("separate", train, lesson.QUICK, 1_000, lr=tuned["many images/separate"])
    weights = separate.layers[0].weight.detach().reshape(8, 16, 16, 25)
    for name, (down, right) in {"top left": (0, 0), "middle": (8, 8), "bottom right": (15, 15)}.items():
        assert measured[f"kernels/separate/{name}"] == weights[:4, down, right].flatten().tolist()
        assert measured[f"kernels/shared/{name}"] == measured["kernels/shared/middle"]


def test_the_error_of_the_patches_is_rounding_and_one_place_would_be_seen(lesson, settings):
    images, model = settings["many images"].test.inputs[:20].double(), lesson.network("shared", 1).double()
    assert lesson.error_of_patches(model, images) < 1e-12

    def off_at_one_place(layer, inputs, maps):
        return maps + 0.01 * torch.nn.functional.one_hot(torch.tensor(100), 256).view(16, 16)

    with model.layers[0].register_forward_hook(off_at_one_place):
        assert lesson.error_of_patches(model, images) == pytest.approx(0.01)


def test_rates_are_chosen_by_validation_images_which_no_verdict_sees(lesson, settings):
    (score,) = lesson.tune(lesson.QUICK, 1_000, "few images/dense", (0.08,))
    train, validation, test = settings["few images"]
    model = lesson.trained("dense", train, lesson.QUICK, 1_000, lr=0.08)
    assert score == evaluate(model, validation, lesson.cross_entropy)
    assert not torch.equal(validation.inputs[:50], test.inputs[:50])
