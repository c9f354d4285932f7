"""Translation: what moves along with an image, what stays, and networks that differ in one thing."""

import sys
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import pad

from dlnotes.conv import Conv2d, ConvNet, GlobalAveragePool2d, MaxPool2d, shift
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.training import Minibatches, evaluate


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("translation"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def letters(lesson):
    return lesson.load(lesson.QUICK, 1_000)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


# The statement


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -3), (2, 3), (-3, -3)])
def test_a_feature_map_moves_with_the_image_and_its_mean_stays(down, right):
    """Exactly, for whole pixels and an image that stays clear of the border by as much as a kernel reaches."""
    images = pad(torch.rand(4, 2, 6, 6, dtype=torch.float64, generator=torch.Generator()), (5,) * 4)
    layer = Conv2d(2, 3, 5, padding="same", generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    maps, moved = layer(images).relu(), layer(shift(images, down, right)).relu()
    torch.testing.assert_close(moved, shift(maps, down, right), rtol=0, atol=1e-12)
    assert not torch.allclose(moved, maps)
    mean = GlobalAveragePool2d()
    torch.testing.assert_close(mean(moved), mean(maps), rtol=0, atol=1e-12)


def test_pooling_breaks_it_for_odd_moves_and_keeps_it_for_even_ones():
    images = pad(torch.rand(4, 1, 6, 6, dtype=torch.float64, generator=torch.Generator()), (9,) * 4)
    once, twice = (
        ConvNet(layers, inputs=(1, 24, 24), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        for layers in ("5x5x4 max2 global", "5x5x4 max2 3x3x6 max2 global")
    )
    for network, period in ((once, 2), (twice, 4)):
        here = network(images)
        errors = [(network(shift(images, 0, pixels)) - here).abs().max().item() for pixels in range(5)]
        assert [error < 1e-12 for error in errors] == [pixels % period == 0 for pixels in range(5)]


def test_at_the_border_even_a_map_without_pooling_loses_what_leaves_the_frame():
    images = pad(torch.rand(4, 1, 6, 6, dtype=torch.float64, generator=torch.Generator()), (5,) * 4)
    layer = Conv2d(1, 3, 5, padding="same", generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    means = [layer(shift(images, 0, pixels)).relu().mean((2, 3)) for pixels in (0, 3, 5)]
    torch.testing.assert_close(means[0], means[1], rtol=0, atol=1e-12)
    assert (means[2] - means[0]).abs().max() > 1e-3


def test_the_example_by_hand():
    layer = Conv2d(1, 1, (1, 2), padding="same", bias=False, generator=torch.Generator())
    layer.weight.data = torch.tensor([[[[-1.0, 1.0]]]])
    row = torch.tensor([0.0, 0, 1, 3, 0, 0, 0, 0]).view(1, 1, 1, 8)
    maps = [layer(shift(row, 0, pixels)).relu() for pixels in range(3)]
    assert [one.flatten().tolist() for one in maps] == [
        [0, 1, 2, 0, 0, 0, 0, 0],
        [0, 0, 1, 2, 0, 0, 0, 0],
        [0, 0, 0, 1, 2, 0, 0, 0],
    ]
    assert [one.mean().item() for one in maps] == [3 / 8] * 3
    pooled = [MaxPool2d((1, 2))(one) for one in maps]
    assert [one.flatten().tolist() for one in pooled] == [[1, 2, 0, 0], [0, 2, 0, 0], [0, 1, 2, 0]]
    assert [one.mean().item() for one in pooled] == [3 / 4, 1 / 2, 3 / 4]


# The arms


def test_letters_lie_in_the_middle_and_stay_inside_wherever_they_move(lesson, letters):
    config = lesson.QUICK
    inputs = letters.test.inputs
    assert inputs.shape[1:] == (1, 24, 24)
    torch.testing.assert_close(pad(inputs[:, :, 5:-5, 5:-5], (5,) * 4), inputs)
    moved = lesson.anywhere(config, inputs, torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved.sum((1, 2, 3)), inputs.sum((1, 2, 3)))
    places = {tuple((one > 0).nonzero()[0].tolist()) for one in moved[:, 0]}
    assert len(places) > 30  # of 81
    assert not torch.equal(moved, inputs)


def test_the_convolutional_arms_share_their_kernels_and_differ_in_the_global_mean_alone(lesson):
    places, mean = (lesson.network_of(lesson.QUICK, 3, arm) for arm in ("places", "mean"))
    assert [*places.parts, "global"] == mean.parts
    convolutions = [[one for one in network.layers if isinstance(one, Conv2d)] for network in (places, mean)]
    assert all(torch.equal(one.weight, other.weight) for one, other in zip(*convolutions, strict=True))
    assert (places.scores.in_features, mean.scores.in_features) == (6 * 6 * 8, 8)


def test_the_dense_arms_share_first_weights_and_see_the_same_letters_one_of_them_moved(lesson, letters, monkeypatch):
    seen = {}

    class Noted(Minibatches):
        def __next__(self):
            batch = super().__next__()
            seen[arm].append(batch)
            return batch

    monkeypatch.setattr(lesson, "Minibatches", Noted)
    started = {}
    for arm in lesson.ARMS:
        seen[arm] = []
        started[arm] = weights(lesson.trained(replace(lesson.QUICK, steps=5), 0, letters.train, arm, lr=0.0))
    assert torch.equal(started["dense"], started["dense on moved"])
    for arm in lesson.ARMS[1:]:
        assert len(seen[arm]) == len(seen["dense"]) == 5
        for batch, other in zip(seen[arm], seen["dense"], strict=True):
            assert all(torch.equal(*pair) for pair in zip(batch, other, strict=True))
    trained = {arm: lesson.trained(lesson.QUICK, 0, letters.train, arm, lr=0.05) for arm in lesson.ARMS}
    assert not torch.equal(weights(trained["dense"]), weights(trained["dense on moved"]))


def test_a_frame_that_images_would_leave_is_refused(lesson):
    for wrong in ({"frame": 23}, {"far": 6}, {"far": 3}):
        with pytest.raises(ValueError, match="even frame and 4 ≤ far"):
            replace(lesson.Config(), **wrong)


# What is measured


def test_a_trial_counts_right_answers_and_those_that_changed(lesson, monkeypatch):
    """With networks that look at one pixel of the middle, and letters that are one black pixel there."""
    config = replace(lesson.QUICK, test=40)
    test = lesson.load(config, 5).test
    dot = torch.zeros(40, 1, 24, 24)
    dot[:, :, 12, 12] = 1
    targets = torch.arange(40) % 2
    parts = lesson.data.Parts(test, test, lesson.data.Examples(dot, targets))
    monkeypatch.setattr(lesson, "load", lambda config, seed: parts)

    class Stub(torch.nn.Module):
        """Answers 1 where the pixel in the middle is black, and 0 elsewhere."""

        def forward(self, images):
            black = images[:, 0, 12, 12]
            return torch.stack([0.5 + 0 * black, black], dim=1)

    monkeypatch.setattr(lesson, "trained", lambda *arguments, lr: Stub())
    monkeypatch.setattr(lesson, "anywhere", lambda config, images, moves: shift(images, 1, 1))
    measured = lesson.trial(config, 5, dict.fromkeys(lesson.ARMS, 0.1))
    for arm in lesson.ARMS:
        assert measured[f"{arm}/accuracy"] == [0.5] * 5  # half are a 1; moved, half are a 0
        assert measured[f"{arm}/changed"] == [0.0, 1.0, 1.0, 1.0, 1.0]
        assert (measured[f"{arm}/lost"], measured[f"{arm}/mistakes"]) == (0.0, 0.5)
        assert (measured[f"{arm}/by 1/changes"], measured[f"{arm}/by 4/changes"]) == (1.0, 1.0)


def test_rates_are_chosen_by_validation_letters_that_lie_where_the_training_letters_do(lesson, letters):
    inputs, targets = letters.validation
    for arm in ("places", "dense on moved"):
        (score,) = lesson.tune(lesson.QUICK, 1_000, arm, (0.1,))
        model = lesson.trained(lesson.QUICK, 1_000, letters.train, arm, lr=0.1)
        centred = evaluate(model, (inputs, targets), lesson.cross_entropy)
        assert (score == centred) == (arm == "places")
