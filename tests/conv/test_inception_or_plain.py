"""Inception or plain: networks that differ in their second layer, what it costs, and that its branches are branches."""

import sys
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import conv2d, max_pool2d

from dlnotes.conv import ConvNet, Inception, count_parameters
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.training import accuracy, evaluate
from tests.trials import batches_seen

FIRST_OF_GOOGLENET = {"one": 64, "three": 128, "five": 32, "pool": 32}


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("inception_or_plain"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def letters(lesson):
    return lesson.load(lesson.QUICK, 1_000)


def second_layer(parts):
    return ConvNet(parts, inputs=(16, 7, 7), generator=torch.Generator().manual_seed(0)).layers


# The module


def test_a_module_joins_the_maps_of_its_four_branches_each_as_it_is_alone():
    """In float64, by PyTorch's own operations."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"one": 3, "three": 5, "five": 2, "pool": 4}
    options = {"reduce_three": 4, "reduce_five": 2, "generator": generator, "dtype": torch.float64}
    module = Inception(6, **sizes, **options)
    inputs = torch.rand(3, 6, 9, 8, generator=generator, dtype=torch.float64) - 0.5

    def weighed(maps, layer):
        return conv2d(maps, layer.weight, layer.bias, padding="same").relu()

    alone = [
        weighed(inputs, module.one[0]),
        weighed(weighed(inputs, module.three[0]), module.three[2]),
        weighed(weighed(inputs, module.five[0]), module.five[2]),
        weighed(max_pool2d(inputs, 3, stride=1, padding=1), module.pool[1]),
    ]
    kernels = [module.one[0], module.three[2], module.five[2], module.pool[1]]
    assert [layer.weight.shape[-1] for layer in kernels] == [1, 3, 5, 1]
    joined = module(inputs)
    assert joined.shape == (3, sum(sizes.values()), 9, 8)
    for part, branch in zip(joined.split(list(sizes.values()), dim=1), alone, strict=True):
        torch.testing.assert_close(part, branch, rtol=1e-12, atol=1e-12)


def test_what_the_text_counts(lesson):
    branch = second_layer(lesson.Config().module)[0]
    assert count_parameters(branch.five) == 16 * 4 + 4 + 25 * 4 * 4 + 4 == 472
    assert count_parameters(second_layer("5x5x4")) == 25 * 16 * 4 + 4 == 1_604
    assert count_parameters(branch) == 1_688
    assert count_parameters(second_layer("3x3x28")) == 9 * 16 * 28 + 28 == 4_060
    assert [part[-2].out_channels for part in branch.children()] == [8, 12, 4, 4]
    assert [branch.three[0].out_channels, branch.five[0].out_channels] == [8, 4]


def test_reductions_more_than_halve_the_parameters_of_googlenets_first_module():
    reductions = {"reduce_three": 96, "reduce_five": 16}
    modules = [Inception(192, **FIRST_OF_GOOGLENET, **some, generator=torch.Generator()) for some in (reductions, {})]
    assert [count_parameters(module) for module in modules] == [163_696, 393_472]


def test_googlenet_has_a_ninth_of_the_parameters_of_alexnet_nearly_all_of_which_are_dense():
    from torchvision.models import alexnet, googlenet

    with torch.device("meta"):
        large, small = alexnet(), googlenet(aux_logits=False, init_weights=False)
    assert count_parameters(large) / count_parameters(small) == pytest.approx(9.2, abs=0.05)
    assert count_parameters(large.classifier) / count_parameters(large) == pytest.approx(0.96, abs=0.005)
    assert [type(layer).__name__ for layer in (small.avgpool, small.fc)] == ["AdaptiveAvgPool2d", "Linear"]


# The arms


def test_the_arms_differ_in_the_second_layer_alone(lesson, letters):
    config = replace(lesson.QUICK, steps=1)
    models = {arm: lesson.trained(config, 0, letters.train, arm, lr=0.0) for arm in lesson.ARMS}
    assert {arm: model.parts for arm, model in models.items()} == {
        "Inception": ["3x3x16", "max2", "inception(8,8-12,4-4,4)", "max2"],
        "as many maps": ["3x3x16", "max2", "3x3x28", "max2"],
        "as many parameters": ["3x3x16", "max2", "3x3x18", "max2"],
        "reduced": ["3x3x16", "max2", "1x1x8", "3x3x24", "max2"],
    }
    for model in models.values():
        assert torch.equal(model.layers[0].weight, models["Inception"].layers[0].weight)
    maps = [
        model.stages(letters.test.inputs[:1])[2][1].shape for model in (models["Inception"], models["as many maps"])
    ]
    assert maps[0] == maps[1] == (1, 28, 7, 7)


def test_the_parameters_are_as_the_names_of_the_arms_say(lesson):
    networks = {arm: f"3x3x16 max2 {parts} max2" for arm, parts in lesson.PLAIN.items()}
    networks["Inception"] = f"3x3x16 max2 {lesson.Config().module} max2"
    counts = {
        arm: count_parameters(ConvNet(parts, inputs=(1, 14, 14), generator=torch.Generator()))
        for arm, parts in networks.items()
    }
    assert counts == {"Inception": 4_378, "as many maps": 6_750, "as many parameters": 4_400, "reduced": 4_218}


def test_all_arms_see_the_same_batches(lesson, letters, monkeypatch):
    seen = batches_seen(lesson, monkeypatch)
    for arm in lesson.ARMS:
        seen.append([])
        lesson.trained(replace(lesson.QUICK, steps=3), 0, letters.train, arm, lr=0.05)
    for batches in seen[1:]:
        assert all(torch.equal(one, other) for one, other in zip(seen[0], batches, strict=True))
    assert not torch.equal(seen[0][0], seen[0][1])


def test_the_rate_falls_to_zero_along_a_cosine(lesson, letters, monkeypatch):
    rates = []
    decay = lesson.linear.cosine_decay

    def noted(optimizer, steps):
        rates.append((optimizer, steps))
        return decay(optimizer, steps)

    monkeypatch.setattr(lesson.linear, "cosine_decay", noted)
    lesson.trained(lesson.QUICK, 0, letters.train, "as many parameters", lr=0.05)
    ((optimizer, steps),) = rates
    assert steps == lesson.QUICK.steps
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


# What is measured


def test_the_error_of_the_branches_sees_a_branch_that_is_another(lesson):
    module, inputs = (
        second_layer(lesson.Config().module)[0],
        torch.rand(2, 16, 7, 7, generator=torch.Generator().manual_seed(0)),
    )
    assert lesson.error_of_branches(module, inputs) < 1e-5
    right = module.forward
    module.forward = lambda maps: right(maps).roll(1, dims=1)  # joined in another order
    assert lesson.error_of_branches(module, inputs) > 0.01
    module.forward = lambda maps: right(maps).index_fill(1, torch.tensor([27]), 0.0)  # the last map is lost
    assert lesson.error_of_branches(module, inputs) > 0.01


def test_a_trial_measures_mistakes_on_the_letters_that_judge(lesson, letters):
    measured = lesson.trial(lesson.QUICK, 1_000, dict.fromkeys(lesson.ARMS, 0.05) | {"reduced": 0.1})
    model = lesson.trained(lesson.QUICK, 1_000, letters.train, "reduced", lr=0.1)
    assert measured["reduced/mistakes"] == 1 - accuracy(model, letters.test)
    assert measured["reduced/parameters of the layer"] == 16 * 8 + 8 + 9 * 8 * 24 + 24
    assert measured["Inception/parameters of the layer"] == 1_688
    assert measured["as many maps/parameters of the layer"] == 4_060
    assert measured["branches/largest error"] < 1e-4


def test_rates_are_chosen_by_validation_letters_which_no_verdict_sees(lesson, letters):
    scores = lesson.tune(lesson.QUICK, 1_000, "as many maps", (0.05, 0.1))
    models = [lesson.trained(lesson.QUICK, 1_000, letters.train, "as many maps", lr=lr) for lr in (0.05, 0.1)]
    assert scores == [evaluate(model, letters.validation, lesson.cross_entropy) for model in models]
    assert not torch.equal(letters.validation.inputs[:50], letters.test.inputs[:50])
