"""The chain of gradient transforms, against its formulas and against torch.

Most tests walk: three parameters of 3, 4 and 3 numbers follow a random sequence of gradients, and whole paths are
compared.
"""

import copy
import io
import itertools
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.testing import assert_close

from dlnotes.linear import (
    SGD,
    AdaGrad,
    GradientDescent,
    Link,
    adagrad_scaling,
    average_momentum,
    clip_by_global_norm,
    l2,
    momentum,
)
from tests import reference

STEPS = 30
SHAPES = [(3,), (2, 2), (3,)]


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def draws(steps=STEPS, size=1.0, seed=0):
    """A random sequence of gradients: a list of tensors for each step."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [size * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES] for _ in range(steps)
    ]


START = draws(1, seed=99)[0]
GRADIENTS = draws()


def start():
    return [nn.Parameter(tensor.clone()) for tensor in START]


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def parameters_of(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def walk(optimizer, gradients=GRADIENTS, *, scheduler=None, before_step=None):
    """The parameters after each step, (steps, 10)."""
    parameters, path = parameters_of(optimizer), []
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        if before_step:
            before_step(parameters)
        optimizer.step()
        if scheduler:
            scheduler.step()
        path.append(flat(parameters))
    return torch.stack(path)


def twin(direction, lr=0.1, gradients=GRADIENTS):
    """The same walk by the slow twin: ``direction`` takes and gives lists of numbers."""
    weights, path = flat(START).tolist(), []
    for step in gradients:
        weights = reference.descend(weights, [flat(step).tolist()], direction, lr)
        path.append(weights)
    return torch.tensor(path, dtype=torch.float64)


def assert_same_path(path, expected, tolerance=1e-12):
    assert (expected[0] - expected[-1]).abs().max() > 1000 * tolerance, "the path is too short to tell anything"
    assert_close(path, expected, rtol=0, atol=tolerance)


def moves(optimizer, gradients):
    """How far a single parameter of one number goes at each step."""
    (parameter,) = parameters_of(optimizer)
    found = []
    for gradient in gradients:
        before = parameter.item()
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
        found.append(before - parameter.item())
    return found


def point(*values):
    return [nn.Parameter(tensor(*values or (0.0,)))]


# ----------------------------------------------------------------------------------------------------------------
# Facts worked by hand
# ----------------------------------------------------------------------------------------------------------------


def test_descent_goes_against_the_gradient_by_the_rate():
    assert moves(SGD(point(), lr=0.5), [2.0, -4.0]) == [1.0, -2.0]


def test_a_gradient_of_norm_five_is_clipped_to_norm_one_over_all_parameters_together():
    w, b = point(0.0) + point(0.0)
    optimizer = GradientDescent([{"params": [w]}, {"params": [b]}], clip_by_global_norm(1.0), lr=1.0)
    w.grad, b.grad = tensor(3.0), tensor(4.0)
    optimizer.step()
    assert (w.item(), b.item()) == pytest.approx((-0.6, -0.8), abs=1e-15)


def test_a_gradient_within_the_norm_is_left_as_it_is():
    assert moves(SGD(point(), lr=1.0, max_norm=5.0), [4.0, 5.0, 7.0, 0.0]) == [4.0, 5.0, 5.0, 0.0]


def test_l2_alone_shrinks_weights_by_the_same_factor_each_step():
    optimizer = SGD(point(1.0), lr=0.5, weight_decay=0.2)
    moves(optimizer, [0.0] * 3)
    assert parameters_of(optimizer)[0].item() == pytest.approx(0.9**3)


def test_the_chain_is_applied_in_the_order_in_which_it_is_given():
    clip_first = GradientDescent(point(10.0), clip_by_global_norm(1.0), l2(1.0), lr=1.0)
    clip_last = GradientDescent(point(10.0), l2(1.0), clip_by_global_norm(1.0), lr=1.0)
    assert moves(clip_first, [5.0]) == [11.0]
    assert moves(clip_last, [5.0]) == [1.0]


def test_adagrads_first_step_is_the_rate_whatever_the_size_of_the_gradient():
    for gradient in (1e-3, 1.0, -1e3):
        assert moves(AdaGrad(point(), lr=0.5), [gradient]) == pytest.approx([math.copysign(0.5, gradient)])


def test_adagrads_steps_on_a_constant_gradient_fall_as_one_over_the_root_of_their_number():
    assert moves(AdaGrad(point(), lr=1.0), [7.0] * 100) == pytest.approx([1 / math.sqrt(t) for t in range(1, 101)])


def test_adagrads_epsilon_is_added_to_the_root_and_not_under_it():
    assert moves(AdaGrad(point(), lr=1.0, eps=3.0), [1.0]) == pytest.approx([1 / 4])


def test_adagrads_sum_of_squares_starts_where_it_is_told_to():
    assert moves(AdaGrad(point(), lr=1.0, initial_accumulator_value=3.0), [1.0]) == pytest.approx([1 / 2])


# ----------------------------------------------------------------------------------------------------------------
# What the notes say about momentum: 1.16 to 1.18
# ----------------------------------------------------------------------------------------------------------------


def test_momentum_goes_along_the_accumulated_past_gradients_in_place_of_the_present_one():
    assert moves(SGD(point(), lr=1.0, momentum=0.5), [8.0, 0.0, 0.0, 0.0]) == [8.0, 4.0, 2.0, 1.0]
    assert moves(SGD(point(), lr=1.0, momentum=0.5), [8.0, -4.0]) == [8.0, 0.0]


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_momentum_on_a_constant_gradient_grows_to_the_sum_and_its_average_to_the_gradient(beta):
    assert moves(SGD(point(), lr=1.0, momentum=beta), [3.0] * 400)[-1] == pytest.approx(3 / (1 - beta))
    averaged = moves(GradientDescent(point(), average_momentum(beta), lr=1.0), [3.0] * 400)
    assert averaged[0] == pytest.approx(3 * (1 - beta))
    assert averaged[-1] == pytest.approx(3)


def test_momentum_on_alternating_gradients_shrinks():
    alternating = [3.0 * (-1) ** t for t in range(400)]
    assert abs(moves(SGD(point(), lr=1.0, momentum=0.9), alternating)[-1]) == pytest.approx(3 / 1.9)


@pytest.mark.parametrize("link", [momentum, average_momentum])
def test_momentum_zero_is_plain_descent_and_remembers_nothing(link):
    optimizer = GradientDescent(start(), link(0.0), lr=0.1)
    assert walk(optimizer).equal(walk(GradientDescent(start(), lr=0.1)))
    assert not any(optimizer.state.values())


def test_the_weights_of_past_gradients_sum_up_to_ten_and_those_of_an_average_to_one():
    once = [1.0] + [0.0] * 400
    assert sum(moves(GradientDescent(point(), momentum(0.9), lr=1.0), once)) == pytest.approx(10)
    assert sum(moves(GradientDescent(point(), average_momentum(0.9), lr=1.0), once)) == pytest.approx(1)


def test_the_averaged_reading_of_momentum_is_the_sum_at_one_over_one_minus_beta_of_its_rate():
    averaged = GradientDescent(start(), average_momentum(0.9), lr=0.5)
    summed = GradientDescent(start(), momentum(0.9), lr=0.5 * (1 - 0.9))
    assert_same_path(walk(averaged), walk(summed))


def test_the_averaged_reading_of_momentum_is_not_torchs_dampening():
    averaged = walk(GradientDescent(start(), average_momentum(0.9), lr=0.5))
    dampened = walk(torch.optim.SGD(start(), lr=0.5, momentum=0.9, dampening=0.9))
    assert_close(flat(START) - dampened[0], 10 * (flat(START) - averaged[0]), rtol=1e-12, atol=0)


def as_printed(gradients, slots):
    """M ← 0.9 M + Δα, with the change of the rate since the step before."""
    directions = []
    for gradient, slot in zip(gradients, slots, strict=True):
        change = slot.settings["lr"] - slot.memory.get("rate", slot.settings["lr"])
        slot.memory["rate"] = slot.settings["lr"]
        slot.memory["M"] = 0.9 * slot.memory.get("M", torch.zeros_like(gradient)) + change
        directions.append(slot.memory["M"])
    return directions


def test_the_momentum_formula_as_printed_never_moves_at_a_constant_rate_and_its_correction_does():
    assert moves(GradientDescent(point(), Link({}, as_printed), lr=0.1), [3.0, -1.0, 5.0]) == [0.0, 0.0, 0.0]
    assert moves(GradientDescent(point(), momentum(0.9), lr=0.1), [3.0, -1.0]) == pytest.approx([0.3, 0.17])


def steps_to_the_minimum(curvatures, beta, steps=5_000):
    """Of Σ cᵢ wᵢ² / 2 from ones at the rate 1, until all coordinates stay within a hundredth of it."""
    curvatures = tensor(*curvatures)
    (w,) = parameters = point(*[1.0] * len(curvatures))
    optimizer, arrival = SGD(parameters, lr=1.0, momentum=beta), 1
    for step in range(1, steps + 1):
        w.grad = curvatures * w.detach()
        optimizer.step()
        if w.detach().abs().max() > 0.01:
            arrival = step + 1
    return arrival


def test_momentum_needs_a_fifth_of_the_steps_in_a_long_valley_and_more_steps_in_a_round_bowl():
    long_valley, round_bowl = (1.0, 0.001), (1.0, 1.0)
    plain = math.ceil(math.log(0.01) / math.log(1 - 0.001))
    assert steps_to_the_minimum(long_valley, 0.0) == plain
    assert steps_to_the_minimum(long_valley, 0.9) < plain / 5
    assert steps_to_the_minimum(round_bowl, 0.0) == 1
    assert steps_to_the_minimum(round_bowl, 0.9) > 50


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5))
def test_a_rate_of_one_over_the_largest_curvature_never_raises_the_loss_and_one_above_twice_that_diverges(curvatures):
    curvatures = tensor(*curvatures)

    def losses(lr):
        (w,) = parameters = point(*[1.0] * len(curvatures))
        optimizer, found = SGD(parameters, lr=lr), []
        for _ in range(20):
            w.grad = curvatures * w.detach()
            optimizer.step()
            found.append(float((curvatures * w.detach() ** 2).sum() / 2))
        return found

    downhill, uphill = (losses(lr / float(curvatures.max())) for lr in (1.0, 2.2))
    assert downhill == sorted(downhill, reverse=True)
    assert downhill[0] <= float(curvatures.sum()) / 2
    assert uphill[-1] > 10 * float(curvatures.max()) / 2


# ----------------------------------------------------------------------------------------------------------------
# What the notes say about AdaGrad: 1.25 and 1.26
# ----------------------------------------------------------------------------------------------------------------


def test_adagrad_moves_nothing_on_a_zero_gradient_where_momentum_goes_on():
    once = [3.0, 0.0, 0.0]
    assert moves(AdaGrad(point(), lr=1.0), once) == pytest.approx([1.0, 0.0, 0.0])
    assert moves(SGD(point(), lr=1.0, momentum=0.9), once) == pytest.approx([3.0, 2.7, 2.43])


@given(st.lists(st.floats(-1e3, 1e3).filter(lambda g: abs(g) > 1e-3), min_size=2, max_size=20))
def test_adagrads_rate_never_grows_and_each_step_goes_against_the_present_gradient(gradients):
    effective = [move / g for move, g in zip(moves(AdaGrad(point(), lr=1.0), gradients), gradients, strict=True)]
    assert min(effective) > 0
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in itertools.pairwise(effective))


def test_the_scale_of_a_coordinate_does_not_matter_to_adagrad():
    scales = [tensor(1e-3, 1.0, 1e3), tensor(1e6, 1e-2, 1.0, 7.0).view(2, 2), tensor(0.1, 10.0, 1e-6)]
    scaled = [[gradient * scale for gradient, scale in zip(step, scales, strict=True)] for step in GRADIENTS]
    expected = walk(AdaGrad(start(), lr=0.1, eps=0.0))
    assert_same_path(walk(AdaGrad(start(), lr=0.1, eps=0.0), scaled), expected)


# ----------------------------------------------------------------------------------------------------------------
# Equality with the slow twin
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.5, 2.5, 100.0])
def test_clipping_follows_its_formula(limit):
    path = walk(GradientDescent(start(), clip_by_global_norm(limit), lr=0.1))
    assert_same_path(path, twin(lambda gradient, weights: reference.clip(gradient, limit)))


def test_l2_follows_its_formula():
    path = walk(GradientDescent(start(), l2(0.3), lr=0.1))
    assert_same_path(path, twin(lambda gradient, weights: reference.l2(gradient, weights, 0.3)))


@pytest.mark.parametrize("link", [momentum, average_momentum])
def test_both_readings_of_momentum_follow_their_formulas(link):
    direction = getattr(reference, link.__name__)(0.8)
    path = walk(GradientDescent(start(), link(0.8), lr=0.1))
    assert_same_path(path, twin(lambda gradient, weights: direction(gradient)))


@pytest.mark.parametrize("settings", [(0.0, 1e-10), (0.1, 1e-10), (0.0, 0.5)])
def test_adagrad_scaling_follows_its_formula(settings):
    direction = reference.adagrad_scaling(*settings)
    path = walk(GradientDescent(start(), adagrad_scaling(*settings), lr=0.1))
    assert_same_path(path, twin(lambda gradient, weights: direction(gradient)))


def test_a_chain_of_all_links_is_one_link_after_the_other():
    summed, scaled = reference.momentum(0.9), reference.adagrad_scaling()

    def direction(gradient, weights):
        return scaled(summed(reference.l2(reference.clip(gradient, 1.0), weights, 0.1)))

    links = clip_by_global_norm(1.0), l2(0.1), momentum(0.9), adagrad_scaling()
    assert_same_path(walk(GradientDescent(start(), *links, lr=0.1)), twin(direction))


# ----------------------------------------------------------------------------------------------------------------
# Equality with torch
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_sgd_is_torchs_step_for_step(beta, weight_decay):
    settings = {"lr": 0.1, "momentum": beta, "weight_decay": weight_decay}
    assert_same_path(walk(SGD(start(), **settings)), walk(torch.optim.SGD(start(), **settings)))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("initial", [0.0, 0.1])
def test_adagrad_is_torchs_step_for_step(initial, weight_decay):
    settings = {"lr": 0.1, "initial_accumulator_value": initial, "weight_decay": weight_decay, "eps": 1e-6}
    assert_same_path(walk(AdaGrad(start(), **settings)), walk(torch.optim.Adagrad(start(), **settings)))


def clip_in_place(parameters):
    nn.utils.clip_grad_norm_(parameters, 1.0)


def test_clipped_sgd_is_torchs_up_to_the_millionth_that_torch_adds_to_the_norm():
    # Torch divides by the norm + 1e-6: a clipped step is shorter by that part of the norm, here at least 1e3.
    gradients, settings = draws(size=1e3), {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    assert min(flat(step).norm() for step in gradients) > 1e3
    theirs = walk(torch.optim.SGD(start(), **settings), gradients, before_step=clip_in_place)
    assert_same_path(walk(SGD(start(), **settings, max_norm=1.0), gradients), theirs, tolerance=STEPS * 1e-9)


def test_clipped_adagrad_is_torchs_up_to_the_millionth_that_torch_adds_to_the_norm():
    gradients, settings = draws(size=1e3), {"lr": 0.1, "weight_decay": 0.1}
    theirs = walk(torch.optim.Adagrad(start(), **settings), gradients, before_step=clip_in_place)
    assert_same_path(walk(AdaGrad(start(), **settings, max_norm=1.0), gradients), theirs, tolerance=STEPS * 1e-9)


def groups(parameters):
    """Weights with settings of their own, and biases without L2."""
    *weights, bias = parameters
    return [
        {"params": weights, "lr": 0.05, "momentum": 0.5, "weight_decay": 0.2},
        {"params": [bias], "weight_decay": 0.0},
    ]


def test_groups_have_settings_of_their_own_as_in_torch():
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    theirs = walk(torch.optim.SGD(groups(start()), **settings))
    assert_same_path(walk(SGD(groups(start()), **settings)), theirs)
    assert (theirs - walk(torch.optim.SGD(start(), **settings))).abs().amax(0).min() > 0.01


def test_a_group_that_comes_later_starts_fresh_with_the_optimizers_settings_as_in_torch():
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    paths = []
    for kind in (SGD, torch.optim.SGD):
        first, *others = start()
        optimizer = kind([first], **settings)
        early = walk(optimizer, [step[:1] for step in GRADIENTS[:10]])
        optimizer.add_param_group({"params": others, "momentum": 0.5})
        paths.append((early, walk(optimizer, GRADIENTS[10:])))
    assert_same_path(paths[0][0], paths[1][0])
    assert_same_path(paths[0][1], paths[1][1])


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_missing_gradients_are_skipped_and_nothing_is_forgotten_as_in_torch(name):
    missing = [[None if (i + t) % 3 == 0 else g for i, g in enumerate(step)] for t, step in enumerate(GRADIENTS)]
    missing[7] = [None, None, None]
    kind, settings = (SGD, {"lr": 0.1, "momentum": 0.9}) if name == "SGD" else (AdaGrad, {"lr": 0.1})
    theirs = walk(getattr(torch.optim, name)(start(), weight_decay=0.1, **settings), missing)
    assert_same_path(walk(kind(start(), weight_decay=0.1, **settings), missing), theirs)


# ----------------------------------------------------------------------------------------------------------------
# Schedulers of torch
# ----------------------------------------------------------------------------------------------------------------

SCHEDULERS = {
    "StepLR": {"step_size": 7, "gamma": 0.5},
    "CosineAnnealingLR": {"T_max": 20},
    "LambdaLR": {"lr_lambda": lambda step: 1 / (1 + step)},
    "OneCycleLR": {"max_lr": 0.2, "total_steps": STEPS},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 7},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_of_torch_drive_sgd_as_they_drive_torchs(name):
    paths = []
    for kind in (SGD, torch.optim.SGD):
        optimizer = kind(groups(start()), lr=0.1, momentum=0.9)
        scheduler = getattr(lr_scheduler, name)(optimizer, **SCHEDULERS[name])
        paths.append(walk(optimizer, scheduler=scheduler))
    assert_same_path(*paths)


# ----------------------------------------------------------------------------------------------------------------
# States and copies
# ----------------------------------------------------------------------------------------------------------------

CHAINS = {
    "sgd": lambda parameters: SGD(groups(parameters), lr=0.1, momentum=0.9, max_norm=1.0),
    "adagrad": lambda parameters: AdaGrad(parameters, lr=0.1, weight_decay=0.1, max_norm=1.0),
    "average": lambda parameters: GradientDescent(parameters, l2(0.1), average_momentum(0.9), lr=0.1),
    "nothing": lambda parameters: GradientDescent(parameters, lr=0.1),
}
every_chain = pytest.mark.parametrize("make", CHAINS.values(), ids=CHAINS.keys())


@every_chain
def test_a_run_goes_on_from_its_saved_state_bit_for_bit(make):
    whole = walk(make(start()))
    first = make(start())
    walk(first, GRADIENTS[:11])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    second = make([nn.Parameter(parameter.detach().clone()) for parameter in parameters_of(first)])
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert walk(second, GRADIENTS[11:]).equal(whole[11:])


@every_chain
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
def test_a_copy_goes_on_by_itself_bit_for_bit(make, duplicate):
    original = make(start())
    walk(original, GRADIENTS[:11])
    twin = duplicate(original)
    expected = walk(make(start()))[11:]
    assert walk(twin, GRADIENTS[11:]).equal(expected)
    assert walk(original, GRADIENTS[11:]).equal(expected)


def test_a_loaded_state_brings_its_settings_along():
    optimizer = SGD(start(), lr=0.5)
    optimizer.load_state_dict(SGD(start(), lr=0.1, momentum=0.9, weight_decay=0.1).state_dict())
    assert_same_path(walk(optimizer), walk(SGD(start(), lr=0.1, momentum=0.9, weight_decay=0.1)))


def test_a_chain_with_torchs_settings_goes_on_from_the_state_of_torchs_sgd():
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
    theirs = torch.optim.SGD(start(), **settings)
    walk(theirs, GRADIENTS[:11])
    parameters = [nn.Parameter(parameter.detach().clone()) for parameter in parameters_of(theirs)]
    ours = GradientDescent(parameters, l2(0.0), momentum(0.0), lr=1.0)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    assert_same_path(walk(ours, GRADIENTS[11:]), walk(theirs, GRADIENTS[11:]))


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_torchs_optimizers_go_on_from_what_ours_remember(name):
    kind, settings = (SGD, {"lr": 0.1, "momentum": 0.9}) if name == "SGD" else (AdaGrad, {"lr": 0.1})
    ours = kind(start(), **settings)
    walk(ours, GRADIENTS[:11])
    parameters = [nn.Parameter(parameter.detach().clone()) for parameter in parameters_of(ours)]
    theirs = getattr(torch.optim, name)(parameters, **settings)
    state, remembered = theirs.state_dict(), copy.deepcopy(ours.state_dict()["state"])
    state["state"] = {number: {**state["state"].get(number, {}), **remembered[number]} for number in remembered}
    theirs.load_state_dict(state)
    assert_same_path(walk(theirs, GRADIENTS[11:]), walk(ours, GRADIENTS[11:]))


# ----------------------------------------------------------------------------------------------------------------
# Contracts
# ----------------------------------------------------------------------------------------------------------------


@every_chain
def test_the_parameters_own_gradients_are_never_written_to(make):
    optimizer = make(start())
    for step in GRADIENTS:
        walk(optimizer, [step])
        for parameter, gradient in zip(parameters_of(optimizer), step, strict=True):
            assert parameter.grad.equal(gradient)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6), st.floats(0.01, 100))
def test_clipping_keeps_the_direction_and_lets_no_norm_through_that_is_larger(values, limit):
    parameters = [nn.Parameter(tensor(0.0)) for _ in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = tensor(value)
    GradientDescent(parameters, clip_by_global_norm(limit), lr=1.0).step()
    clipped, gradient = -flat(parameters), tensor(*values)
    assert clipped.norm().item() == pytest.approx(min(gradient.norm().item(), limit), rel=1e-12)
    assert_close(clipped * gradient.norm(), gradient * clipped.norm(), rtol=1e-9, atol=1e-9)


def test_a_sparse_gradient_raises_before_anything_has_moved_and_passes_through_a_chain_without_links():
    def embedding():
        generator = torch.Generator().manual_seed(0)
        table = nn.Embedding.from_pretrained(torch.randn(5, 2, generator=generator), freeze=False, sparse=True)
        table(torch.tensor([1, 3, 3])).square().sum().backward()
        return table.weight

    bias = nn.Parameter(torch.zeros(2))
    bias.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match=r"gradient of a parameter of shape \(5, 2\) is sparse"):
        SGD([bias, embedding()], lr=0.1).step()
    assert bias.tolist() == [0.0, 0.0]
    ours, theirs = embedding(), embedding()
    GradientDescent([ours], lr=0.1).step()
    torch.optim.SGD([theirs], lr=0.1).step()
    assert ours.equal(theirs)
    assert not ours.equal(embedding())


def test_a_closure_computes_the_loss_and_the_gradients_of_the_step():
    (w,) = parameters = point(3.0)
    optimizer = SGD(parameters, lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert [optimizer.step(closure).item() for _ in range(3)] == [9.0, 2.25, 0.5625]
    assert w.item() == 0.375
    assert optimizer.step() is None


# What PyTorch puts around a step


@pytest.mark.parametrize("kind", [SGD, torch.optim.SGD])
def test_hooks_of_a_step_are_called_as_torchs_are(kind):
    called = []

    def note(word):
        return lambda *_: called.append(word)

    (w,) = parameters = point(1.0)
    w.grad = tensor(1.0)
    optimizer = kind(parameters, lr=0.5)
    ends = [optimizer.register_step_pre_hook(note("before")), optimizer.register_step_post_hook(note("after"))]
    optimizer.step()
    for end in ends:
        end.remove()
    optimizer.step()
    ends = [register_optimizer_step_pre_hook(note("before all")), register_optimizer_step_post_hook(note("after all"))]
    optimizer.step()
    for end in ends:
        end.remove()
    optimizer.step()
    assert called == ["before", "after", "before all", "after all"]
    assert w.item() == -1.0


@pytest.mark.parametrize("kind", [SGD, torch.optim.SGD])
def test_a_profiler_sees_the_steps_as_it_sees_torchs(kind):
    (w,) = parameters = point(1.0)
    w.grad = tensor(1.0)
    optimizer = kind(parameters, lr=0.5)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
        optimizer.zero_grad()
    name = type(optimizer).__name__
    seen = {event.key for event in profile.key_averages()}
    assert {f"Optimizer.step#{name}.step", f"Optimizer.zero_grad#{name}.zero_grad"} <= seen


def test_a_step_compiles_as_a_whole_and_is_the_same():
    compiled, eager = point(1.0, 2.0), point(1.0, 2.0)
    for (w,), around in (
        (compiled, partial(torch.compile, backend="eager", fullgraph=True)),
        (eager, lambda step: step),
    ):
        optimizer = SGD([w], lr=0.5, momentum=0.5)
        step = around(lambda optimizer=optimizer: optimizer.step())
        for gradient in ((3.0, 4.0), (1.0, 0.0)):
            w.grad = tensor(*gradient)
            step()
    assert_close(compiled, eager)


def test_a_state_of_torchs_that_has_no_velocity_yet_begins_one():
    (w,) = parameters = point(1.0)
    optimizer = SGD(parameters, lr=0.5, momentum=0.5)
    state = torch.optim.SGD(parameters, lr=0.5, momentum=0.5).state_dict()
    optimizer.load_state_dict({**state, "state": {0: {"momentum_buffer": None}}})
    w.grad = tensor(2.0)
    optimizer.step()
    assert w.item() == 0.0


def test_gradients_are_forgotten_or_zero():
    (w,) = parameters = point(1.0, 2.0)
    optimizer = SGD(parameters, lr=0.5)
    w.grad = tensor(3.0, 4.0)
    optimizer.zero_grad(set_to_none=False)
    assert w.grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert w.grad is None


def test_a_subclass_with_a_step_of_its_own_keeps_it():
    class Twice(GradientDescent):
        def step(self, closure=None):
            super().step(closure)
            return super().step()

    (w,) = parameters = point(1.0)
    w.grad = tensor(1.0)
    Twice(parameters, lr=0.25).step()
    assert w.item() == 0.5


def test_a_link_of_your_own_takes_its_place_in_the_chain():
    def take_signs(gradients, slots):
        return [slot.settings["size"] * gradient.sign() for gradient, slot in zip(gradients, slots, strict=True)]

    optimizer = GradientDescent(point(), Link({"size": 3.0}, take_signs), momentum(0.5), lr=1.0)
    assert optimizer.param_groups[0]["size"] == 3.0
    assert moves(optimizer, [0.1, -70.0]) == [3.0, -1.5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("kind", [SGD, AdaGrad])
def test_parameters_of_different_dtypes_keep_them_and_are_clipped_together(kind, dtype):
    w, b = nn.Parameter(torch.zeros(1, dtype=dtype)), point()[0]
    optimizer = kind([w, b], lr=1.0, max_norm=1.0, weight_decay=0.5, **({"eps": 1e-3} if kind is AdaGrad else {}))
    w.grad, b.grad = torch.full_like(w, 3), torch.full_like(b, 4)
    optimizer.step()
    assert (w.dtype, b.dtype) == (dtype, torch.float64)
    expected = (-0.6, -0.8) if kind is SGD else (-1, -1)
    assert (w.item(), b.item()) == pytest.approx(expected, abs=5e-3)


def test_a_group_with_a_norm_of_its_own_is_refused():
    w, b = point(0.0) + point(0.0)
    with pytest.raises(ValueError, match="max_norm is one number for all groups"):
        SGD([{"params": [w]}, {"params": [b], "max_norm": 1.0}], lr=1.0)


def test_a_state_without_a_setting_is_completed_from_the_chain():
    (w,) = point(1.0)
    theirs = torch.optim.SGD([w], lr=0.25, momentum=0.5)
    ours = SGD([w], lr=1.0, max_norm=2.0)
    ours.load_state_dict(theirs.state_dict())
    w.grad = tensor(4.0)
    ours.step()
    assert w.item() == pytest.approx(1.0 - 0.25 * 2.0)


def clipped(values, limit, dtype=torch.float32):
    """A gradient, as it passes through the link."""
    w = nn.Parameter(torch.zeros(len(values), dtype=dtype))
    w.grad = torch.tensor(values, dtype=dtype)
    GradientDescent([w], clip_by_global_norm(limit), lr=1.0).step()
    return (-w).tolist()


@pytest.mark.parametrize(
    ("dtype", "size", "limit"),
    [
        *(
            (torch.float32, *sizes)
            for sizes in ((1e20, 1.0), (6e37, 1e-5), (1e-30, 1e-30), (1e-22, 1e-30), (1e5, 1e-30))
        ),
        *((torch.float64, *sizes) for sizes in ((1e200, 1.0), (3e307, 1.0), (1e-200, 1e-200), (1e-160, 1e-170))),
        *((torch.float16, *sizes) for sizes in ((1e4, 0.01), (1e4, 1e-4))),
        *((torch.bfloat16, *sizes) for sizes in ((1e4, 0.01), (1e30, 1.0), (1e-30, 1e-30))),
    ],
)
def test_clipping_is_right_also_where_squares_overflow_or_vanish(dtype, size, limit):
    rounding = {"rel": 4 * torch.finfo(dtype).eps, "abs": 3e-8 if dtype == torch.float16 else 0}
    assert clipped([3 * size, 4 * size], limit, dtype) == pytest.approx([0.6 * limit, 0.8 * limit], **rounding)
    assert clipped([3 * size, 4 * size], 6 * size, dtype) == pytest.approx([3 * size, 4 * size], **rounding)


def test_the_norm_of_several_parameters_is_one_also_where_squares_overflow():
    w, b = nn.Parameter(torch.zeros(1)), point()[0]
    w.grad, b.grad = torch.tensor([3e20]), tensor(4e20)
    GradientDescent([w, b], clip_by_global_norm(1.0), lr=1.0).step()
    assert (w.item(), b.item()) == pytest.approx((-0.6, -0.8), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_large_gradient_of_half_precision_keeps_the_size_that_the_factor_has_not(dtype):
    assert clipped([60_000.0], 0.01, dtype) == pytest.approx([0.01], rel=torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    "values", [[math.inf, 1.0], [-math.inf, 1.0], [math.nan, 1.0], [math.nan, math.inf], [0.0, 0.0]]
)
def test_gradients_without_a_direction_are_clipped_as_in_torch(values, dtype):
    w = nn.Parameter(torch.zeros(2, dtype=dtype))
    w.grad = torch.tensor(values, dtype=dtype)
    nn.utils.clip_grad_norm_([w], 1.0)
    assert clipped(values, 1.0, dtype) == pytest.approx(w.grad.tolist(), nan_ok=True)


def test_no_numbers_at_all_are_clipped_to_none():
    assert clipped([], 1.0) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [0.0, 1e-10])
def test_adagrad_does_not_move_on_a_zero_gradient_whatever_dtype_and_epsilon(dtype, eps):
    w = nn.Parameter(torch.ones(3, dtype=dtype))
    optimizer = AdaGrad([w], lr=0.5, eps=eps)
    for moving in (0.0, 2.0, 0.0):
        w.grad = torch.tensor([0.0, -0.0, moving], dtype=dtype)
        optimizer.step()
    assert w[:2].tolist() == [1.0, 1.0]
    assert w[2].item() == pytest.approx(0.5)


@pytest.mark.parametrize(("dtype", "small"), [(torch.float16, 1e-4), (torch.float32, 1e-30)])
def test_adagrad_goes_no_further_than_the_rate_where_the_square_of_a_gradient_vanishes(dtype, small):
    w = nn.Parameter(torch.zeros(2, dtype=dtype))
    w.grad = torch.tensor([small, -small], dtype=dtype)
    assert not w.grad.square().any()
    AdaGrad([w], lr=0.5, eps=0.0).step()
    left, right = w.tolist()
    assert -0.5 <= left <= 0 <= right <= 0.5


def test_adagrad_moves_on_a_nan_gradient_to_nan():
    w = nn.Parameter(torch.zeros(1, dtype=torch.float16))
    w.grad = torch.full_like(w, math.nan)
    AdaGrad([w], lr=0.5).step()
    assert w.isnan().all()


def test_half_precision_gradients_are_clipped_by_a_norm_that_does_not_overflow():
    w = torch.nn.Parameter(torch.zeros(4, dtype=torch.float16))
    w.grad = torch.full((4,), 50_000.0, dtype=torch.float16)
    SGD([w], lr=1.0, max_norm=2.0).step()
    torch.testing.assert_close(w.detach(), torch.full((4,), -1.0, dtype=torch.float16))


# ----------------------------------------------------------------------------------------------------------------
# Errors
# ----------------------------------------------------------------------------------------------------------------

NOT_NEGATIVE = "0 or larger and finite", (-0.1, math.inf, math.nan)
RANGES = {
    "lr": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "initial_accumulator_value": NOT_NEGATIVE,
    "eps": NOT_NEGATIVE,
    "momentum": ("from 0 to below 1", (-0.1, 1.0, 1.5, math.nan)),
    "max_norm": ("larger than 0", (0.0, -1.0, math.nan)),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, (_, wrong) in RANGES.items() for value in wrong])
def test_a_setting_out_of_its_range_is_refused_for_all_and_for_a_group(name, value):
    kind = AdaGrad if name in ("eps", "initial_accumulator_value") else SGD
    message = f"^{name} must be {RANGES[name][0]}, not {value}$"
    with pytest.raises(ValueError, match=message):
        kind(point(), **{"lr": 0.1, name: value})
    with pytest.raises(ValueError, match=message):
        kind([{"params": point(), name: value}], lr=0.1)
    with pytest.raises(ValueError, match=message):
        kind(point(), lr=0.1).add_param_group({"params": point(), name: value})


@pytest.mark.parametrize("value", ["0.1", None, True, [0.1], torch.ones(2), 1j])
@pytest.mark.parametrize("name", RANGES)
def test_a_setting_that_is_no_number_is_refused_for_all_and_for_a_group(name, value):
    kind = AdaGrad if name in ("eps", "initial_accumulator_value") else SGD
    came = "a tensor" if isinstance(value, torch.Tensor) else type(value).__name__
    message = f"^{name} must be a number, not {came}"
    with pytest.raises(TypeError, match=message):
        kind(point(), **{"lr": 0.1, name: value})
    with pytest.raises(TypeError, match=message):
        kind([{"params": point(), name: value}], lr=0.1)
    with pytest.raises(TypeError, match=message):
        kind(point(), lr=0.1).add_param_group({"params": point(), name: value})


@pytest.mark.parametrize("one_half", [torch.tensor(0.5), np.float64(0.5), np.float32(0.5)])
def test_a_rate_may_be_a_number_of_torch_or_numpy(one_half):
    assert moves(SGD(point(), lr=one_half), [2.0, -4.0]) == [1.0, -2.0]


def test_the_ends_of_the_ranges_are_allowed():
    assert moves(SGD(point(), lr=0.0, momentum=0.0, weight_decay=0.0, max_norm=math.inf), [1.0]) == [0.0]
    assert moves(AdaGrad(point(), lr=1.0, initial_accumulator_value=0.0, eps=0.0), [2.0]) == [1.0]


def test_two_links_with_a_setting_of_the_same_name_are_refused():
    with pytest.raises(ValueError, match="two links of the chain have a setting named momentum"):
        GradientDescent(point(), momentum(0.9), average_momentum(0.9), lr=0.1)
    with pytest.raises(ValueError, match="two links of the chain have a setting named lr"):
        GradientDescent(point(), Link({"lr": 1.0}, lambda gradients, slots: gradients), lr=0.1)
