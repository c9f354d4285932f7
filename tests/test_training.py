"""Training: batches, steps, divergence, going on after a stop, evaluation, and checkpoints."""

import contextlib
import copy
import hashlib
import math
import multiprocessing
import pickle
import signal
import warnings
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, count, islice, repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import skip_init
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from dlnotes.minibatches import limit_batch_size
from dlnotes.randomness import stream, streams
from dlnotes.sweeps import Sweep
from dlnotes.training import (
    CheckpointError,
    DivergedError,
    Minibatches,
    Step,
    Trainer,
    accuracy,
    evaluate,
    load_checkpoint,
    save_checkpoint,
)


def linear(inputs, outputs, generator):
    """A layer with weights from ``generator``: PyTorch's own layers draw from the global one."""
    layer = skip_init(nn.Linear, inputs, outputs)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    return layer


def network(generator, *between):
    return nn.Sequential(linear(6, 5, generator), nn.Tanh(), *between, linear(5, 3, generator))


def problem(seed, examples=23):
    """Inputs ``(N, 6)`` and targets ``(N, 3)``."""
    chance = stream(seed, "problem")
    return torch.randn(examples, 6, generator=chance), torch.randn(examples, 3, generator=chance)


def numbers(model):
    """All weights in one tensor, a copy."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def losses(trainer, steps):
    return [step.loss for step in islice(trainer, steps)]


def run(trainer, steps):
    deque(islice(trainer, steps), maxlen=0)


def same(one, other):
    """Whether two states are equal: the same keys and types, numbers and tensors to the bit, and nan equal to nan."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and one.equal(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


# ----------------------------------------------------------------------------------------------------------------
# Minibatches
# ----------------------------------------------------------------------------------------------------------------


def numbered(seed, examples, batch_size, **options):
    """Minibatches of the numbers from 0: what they hold is which examples they are."""
    return Minibatches((torch.arange(examples),), batch_size, stream(seed, "batches"), **options)


def taken(batches, count):
    return [batch.tolist() for (batch,) in islice(batches, count)]


def flat(several):
    return list(chain.from_iterable(several))


@pytest.mark.parametrize(
    ("examples", "batch_size", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (4, 4, [4]), (1, 1, [1])]
)
def test_each_pass_gives_each_example_once_and_ends_with_the_smaller_batch(seed, examples, batch_size, sizes):
    batches = numbered(seed, examples, batch_size)
    for _ in range(3):
        one_pass = taken(batches, len(sizes))
        assert [len(batch) for batch in one_pass] == sizes
        assert sorted(flat(one_pass)) == list(range(examples))


def test_drop_last_gives_whole_batches_only_and_leaves_out_other_examples_each_pass(seed):
    batches = numbered(seed, 11, 4, drop_last=True)
    passes = [taken(batches, 2) for _ in range(20)]
    assert all(len(set(flat(one_pass))) == 8 for one_pass in passes)
    assert set().union(*(flat(one_pass) for one_pass in passes)) == set(range(11))


def test_drop_last_drops_nothing_where_the_batch_size_divides_the_examples(seed):
    assert taken(numbered(seed, 6, 3, drop_last=True), 8) == taken(numbered(seed, 6, 3), 8)


def test_inputs_and_targets_stay_together(seed):
    inputs = torch.arange(9)
    for one, two, three in islice(Minibatches((inputs, inputs * 10, -inputs), 4, stream(seed, "batches")), 6):
        assert two.equal(one * 10)
        assert three.equal(-one)


def test_the_order_changes_from_pass_to_pass_and_is_shuffled_in_the_first(seed):
    batches = numbered(seed, 30, 30)
    passes = [tuple(order) for (order,) in (taken(batches, 1) for _ in range(10))]
    assert len({tuple(range(30)), *passes}) == 11


def test_every_example_is_as_likely_in_the_first_place_as_any_other(seed):
    passes, examples = 4_000, 5
    first = torch.tensor([order[0] for order in taken(numbered(seed, examples, examples), passes)])
    expected = passes / examples
    statistic = ((first.bincount(minlength=examples) - expected).square() / expected).sum()
    # Chi-squared with 4 degrees of freedom exceeds 30 once in 200,000 times: e^(-15) (1 + 15).
    assert statistic < 30


def test_equal_seeds_give_equal_orders_and_others_do_not(seed):
    assert taken(numbered(seed, 20, 6), 12) == taken(numbered(seed, 20, 6), 12)
    assert taken(numbered(seed, 20, 6), 12) != taken(numbered(seed + 1, 20, 6), 12)


def test_the_generator_is_drawn_from_once(seed):
    chance, once = stream(seed, "batches"), stream(seed, "batches")
    taken(Minibatches((torch.arange(5),), 2, chance), 20)
    torch.randint(2**62, (), generator=once)
    assert chance.get_state().equal(once.get_state())


@pytest.mark.parametrize("drop_last", [False, True])
def test_from_every_position_of_two_passes_the_state_leads_to_the_same_batches(seed, drop_last):
    expected = taken(numbered(seed, 10, 3, drop_last=drop_last), 20)
    for position in range(9):
        stopped = numbered(seed, 10, 3, drop_last=drop_last)
        taken(stopped, position)
        fresh = numbered(seed + 1, 10, 3, drop_last=drop_last)
        taken(fresh, 5)
        fresh.load_state_dict(stopped.state_dict())
        assert taken(fresh, 20 - position) == expected[position:]


def test_the_state_is_a_few_numbers_which_later_batches_do_not_change():
    batches = numbered(0, 10, 3)
    before = batches.state_dict()
    taken(batches, 6)
    assert {name: before[name] for name in ("pass", "position")} == {"pass": 0, "position": 0}
    assert batches.state_dict() == {**before, "pass": 1, "position": 6}


def test_going_back_is_possible_with_the_same_object():
    batches = numbered(0, 10, 3)
    start = batches.state_dict()
    first = taken(batches, 9)
    batches.load_state_dict(start)
    assert taken(batches, 9) == first


def test_batches_are_copies_and_writing_to_them_changes_no_example():
    examples = torch.arange(4)
    (batch,) = next(Minibatches((examples,), 4, stream(0, "batches")))
    batch.zero_()
    assert examples.tolist() == [0, 1, 2, 3]


def test_minibatches_never_move_the_global_generator():
    before = torch.get_rng_state()
    taken(numbered(0, 10, 3), 20)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("lengths", [(), (0,), (0, 0), (3, 4), (4, 3), (4, 4, 3)])
def test_examples_that_do_not_fit_each_other_are_a_value_error(lengths):
    with pytest.raises(ValueError, match="equal first dimension"):
        Minibatches([torch.zeros(length) for length in lengths], 1, stream(0, "batches"))


@pytest.mark.parametrize("batch_size", [0, -1, 5])
def test_a_batch_size_outside_one_to_the_number_of_examples_is_a_value_error(batch_size):
    with pytest.raises(ValueError, match=f"from 1 to the 4 examples there are, not {batch_size}"):
        numbered(0, 4, batch_size)


@pytest.mark.parametrize("wrong", [torch.zeros(4, 2), [[1.0, 2.0]], ["text"]])
def test_examples_that_are_no_tuple_of_tensors_are_a_type_error(wrong):
    with pytest.raises(TypeError, match="tuple of tensors"):
        Minibatches(wrong, 1, stream(0, "batches"))


@pytest.mark.parametrize("wrong", [2.0, True, "2"])
def test_a_batch_size_that_is_not_an_int_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="batch_size must be an int"):
        numbered(0, 4, wrong)


@pytest.mark.parametrize(("examples", "batch_size", "words"), [(9, 3, "examples=10"), (10, 2, "batch_size=3")])
def test_a_state_of_other_sizes_is_refused_before_anything_changes(examples, batch_size, words):
    batches = numbered(0, examples, batch_size)
    before = batches.state_dict()
    with pytest.raises(ValueError, match=words):
        batches.load_state_dict(numbered(1, 10, 3).state_dict())
    assert batches.state_dict() == before


class Squares(Dataset):
    """The numbers from 0 and their squares, example by example."""

    def __init__(self, count, form=lambda x, y: (x, y)):
        self.count, self.form = count, form

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        if not 0 <= place < self.count:
            raise IndexError(place)
        return self.form(torch.tensor(place), np.float32(place**2))


class Bare:
    """A data set without the base class."""

    def __len__(self):
        return 10

    def __getitem__(self, place):
        return torch.tensor(place), place**2


NUMBERS = torch.arange(10)
DATA_SETS = {
    "tensors": TensorDataset(NUMBERS, NUMBERS**2),
    "a subset": Subset(TensorDataset(torch.arange(20), torch.arange(20) ** 2), range(10)),
    "examples one by one": Squares(10),
    "no base class": Bare(),
}


@pytest.mark.parametrize("examples", DATA_SETS.values(), ids=DATA_SETS)
def test_a_data_set_gives_the_batches_of_its_tensors_and_the_same_state(seed, examples):
    found = Minibatches(examples, 3, stream(seed, "batches"))
    expected = Minibatches((NUMBERS, NUMBERS**2), 3, stream(seed, "batches"))
    for (inputs, targets), (numbers, squares) in islice(zip(found, expected, strict=False), 9):
        assert inputs.equal(numbers)
        assert targets.tolist() == squares.tolist()
        assert found.state_dict() == expected.state_dict()


class Doubled(TensorDataset):
    def __getitem__(self, place):
        return tuple(2 * part for part in super().__getitem__(place))


def test_a_tensor_data_set_with_examples_of_its_own_is_asked_for_them():
    (batch,) = next(Minibatches(Doubled(torch.arange(4)), 4, stream(0, "batches")))
    assert sorted(batch.tolist()) == [0, 2, 4, 6]


class Endless(IterableDataset):
    def __iter__(self):
        return repeat((torch.zeros(1), 0))


NO_LENGTH = type("NoLength", (Dataset,), {"__getitem__": lambda self, place: (place, place)})
REFUSED_EXAMPLES = {
    "a loader": (DataLoader(Squares(4)), "a DataLoader cannot be asked .* chain.from_iterable"),
    "an iterable data set": (Endless(), "a Endless cannot be asked"),
    "arrays": ((np.zeros(3), np.zeros(3)), "not tuple of ndarray, ndarray: torch.from_numpy"),
    "an array": (np.zeros((3, 2)), "not ndarray: torch.from_numpy"),
    "a dict": ({"x": torch.zeros(3)}, "not dict"),
    "no length": (NO_LENGTH(), "must have a length"),
}


@pytest.mark.parametrize(("wrong", "words"), REFUSED_EXAMPLES.values(), ids=REFUSED_EXAMPLES)
def test_what_has_no_examples_by_their_places_is_a_type_error_that_says_what_to_do(wrong, words):
    with pytest.raises(TypeError, match=words):
        Minibatches(wrong, 1, stream(0, "batches"))


def test_a_data_set_of_dicts_is_refused_and_its_place_kept():
    batches = Minibatches(Squares(4, lambda x, y: {"x": x, "y": y}), 2, stream(0, "batches"))
    with pytest.raises(TypeError, match=r"tuples \(\*inputs, target\).* not to dict"):
        next(batches)
    assert batches.state_dict()["position"] == 0
    with pytest.raises(ValueError, match="Squares is empty"):
        Minibatches(Squares(0), 1, stream(0, "batches"))


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_order_is_the_same_under_another_default_device_and_dtype(seed, device, dtype):
    expected = taken(numbered(seed, 7, 3), 9)
    inputs = torch.arange(7)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            found = taken(Minibatches((inputs,), 3, stream(seed, "batches")), 9)
    finally:
        torch.set_default_dtype(before)
    assert found == expected


def test_what_is_no_state_of_minibatches_is_refused_before_anything_changes():
    batches = numbered(0, 10, 3)
    next(batches)
    before = batches.state_dict()
    with pytest.raises(ValueError, match="lacks position, seed"):
        batches.load_state_dict({name: before[name] for name in before if name not in ("seed", "position")})
    with pytest.raises(TypeError):
        batches.load_state_dict({**before, "seed": "text"})
    assert batches.state_dict() == before


# ----------------------------------------------------------------------------------------------------------------
# The trainer
# ----------------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.02),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_equals_the_loop_written_by_hand_to_the_bit(seed, optimizer):
    examples = problem(seed)
    model, twin = (network(stream(seed, "weights")) for _ in range(2))
    start = numbers(model)

    trainer = Trainer(
        model, F.mse_loss, optimizer(model.parameters()), Minibatches(examples, 5, stream(seed, "batches"))
    )
    found = losses(trainer, 30)

    by_hand, expected = optimizer(twin.parameters()), []
    for inputs, targets in islice(Minibatches(examples, 5, stream(seed, "batches")), 30):
        by_hand.zero_grad()
        loss = F.mse_loss(twin(inputs), targets)
        loss.backward()
        by_hand.step()
        expected.append(loss.item())

    assert found == expected
    assert numbers(model).equal(numbers(twin))
    assert (numbers(model) - start).abs().max() > 0.1


def test_steps_are_numbered_from_one_and_a_second_islice_goes_on(seed):
    def trainer():
        model = network(stream(seed, "weights"))
        batches = Minibatches(problem(seed), 5, stream(seed, "batches"))
        return Trainer(model, F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.1), batches)

    in_one, in_parts = trainer(), trainer()
    steps = list(islice(in_one, 12))
    assert [*islice(in_parts, 5), next(in_parts), *islice(in_parts, 6)] == steps
    assert iter(in_parts) is in_parts
    assert [step.number for step in steps] == list(range(1, 13))
    assert all(type(step) is Step for step in steps)
    assert numbers(in_one.model).equal(numbers(in_parts.model))


def test_training_ends_when_the_batches_end(seed):
    inputs, targets = problem(seed)
    model = network(stream(seed, "weights"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(model, F.mse_loss, optimizer, zip(inputs.split(5), targets.split(5), strict=True))
    assert [step.number for step in trainer] == [1, 2, 3, 4, 5]
    with pytest.raises(StopIteration):
        next(trainer)
    assert trainer.steps == 5


class Scaled(nn.Module):
    """w · a · b: a model with two inputs."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def forward(self, a, b):
        return self.w * a * b


def test_a_model_may_have_several_inputs_and_the_last_tensor_is_the_target():
    model = Scaled()
    batch = (torch.tensor([2.0]), torch.tensor([3.0]), torch.tensor([5.0]))
    trainer = Trainer(model, F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.01), [batch])
    # (6 w - 5)² = 1 at w = 1, with the gradient 2 · 6 · (6 - 5) = 12.
    assert list(trainer) == [Step(1, 1.0)]
    assert model.w.item() == pytest.approx(1 - 0.12)


SCHEDULERS = {
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 7, gamma=0.5),
    "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=40),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.7),
    "CosineAnnealingWarmRestarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=6),
}


def rates(optimizer):
    """What schedulers change: OneCycleLR cycles the momentum as well."""
    return [(group["lr"], group["momentum"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_moves_once_a_step_as_in_the_loop_written_by_hand(seed, name):
    model, twin = (network(stream(seed, "weights")) for _ in range(2))
    optimizer, by_hand = (torch.optim.SGD(each.parameters(), lr=0.1, momentum=0.5) for each in (model, twin))
    scheduler, twin_scheduler = SCHEDULERS[name](optimizer), SCHEDULERS[name](by_hand)
    batches = (Minibatches(problem(seed), 5, stream(seed, "batches")) for _ in range(2))
    trainer = Trainer(model, F.mse_loss, optimizer, next(batches), scheduler=scheduler)
    seen = set()
    for step, (inputs, targets) in zip(islice(trainer, 30), next(batches)):  # noqa: B905 - the batches are endless
        by_hand.zero_grad()
        loss = F.mse_loss(twin(inputs), targets)
        loss.backward()
        by_hand.step()
        twin_scheduler.step(*([loss.item()] if name == "ReduceLROnPlateau" else []))
        assert rates(optimizer) == rates(by_hand), step
        seen.add(optimizer.param_groups[0]["lr"])
    assert numbers(model).equal(numbers(twin))
    assert len(seen) > 3


def test_lbfgs_gets_its_closure_and_solves_least_squares_in_a_few_steps(seed):
    inputs = torch.randn(20, 4, generator=stream(seed, "inputs"), dtype=torch.float64)
    targets = torch.randn(20, 1, generator=stream(seed, "targets"), dtype=torch.float64)
    model = skip_init(nn.Linear, 4, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.LBFGS(model.parameters(), tolerance_change=1e-14, line_search_fn="strong_wolfe")
    trainer = Trainer(model, F.mse_loss, optimizer, repeat((inputs, targets)))
    before, *_, after = losses(trainer, 6)
    solution = torch.linalg.lstsq(inputs, targets).solution
    assert before == pytest.approx(targets.square().mean().item())
    assert after < before
    assert model.weight.T.allclose(solution, atol=1e-5)
    assert trainer.steps == 6


def test_lbfgs_that_diverges_inside_a_step_names_that_step():
    model = Scaled()
    batch = (torch.ones(1), torch.ones(1), torch.zeros(1))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=3)
    trainer = Trainer(model, lambda outputs, targets: (outputs - targets).pow(4).sum(), optimizer, repeat(batch))
    with pytest.raises(DivergedError, match="at step 2"):
        run(trainer, 5)
    assert trainer.steps == 1


def test_training_changes_the_mode_of_no_part_of_the_model():
    model = network(stream(0, "weights"), nn.Dropout(0.5))
    for training in (False, True):
        model.train(training)
        model[0].train(not training)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        batches = Minibatches(problem(0), 5, stream(0, "batches"))
        model[2].eval()
        modes = [part.training for part in model.modules()]
        run(Trainer(model, F.mse_loss, optimizer, batches), 2)
        assert [part.training for part in model.modules()] == modes


def test_batches_of_one_tensor_are_a_type_error():
    """Unpacked, a tensor would pass for a tuple: its rows for inputs, and the last of them for the targets."""
    model = network(stream(0, "weights"))
    trainer = Trainer(model, F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.1), torch.zeros(4, 2, 6))
    with pytest.raises(TypeError, match=r"tuples \(\*inputs, targets\), not a tensor"):
        next(trainer)


def test_a_trainer_and_its_batches_say_what_they_are():
    trainer = ready(0)
    run(trainer, 3)
    assert repr(trainer) == "Trainer(Sequential, SGD, Minibatches(23 examples, batch_size=5), after 3 steps)"


@pytest.mark.parametrize("shape", [(1,), (5, 3)])
def test_a_loss_that_is_not_a_scalar_is_a_value_error_that_says_its_shape(shape):
    model = network(stream(0, "weights"))
    start = numbers(model)
    trainer = Trainer(
        model,
        lambda outputs, targets: (outputs - targets).square().mean().expand(shape),
        torch.optim.SGD(model.parameters(), lr=0.1),
        Minibatches(problem(0), 5, stream(0, "batches")),
    )
    with pytest.raises(ValueError, match="scalar") as raised:
        next(trainer)
    assert str(shape) in str(raised.value)
    assert numbers(model).equal(start)
    assert trainer.steps == 0


# Divergence


def poisoned(seed, value, step, groups=1):
    """A trainer whose loss is ``value`` at ``step``, and the trainer of the same run with sound batches."""

    def batches(poison):
        for number, (inputs, targets) in zip(count(1), Minibatches(problem(seed), 5, stream(seed, "batches"))):
            yield inputs, targets + (value if number == poison else 0)

    def trainer(poison):
        model = network(stream(seed, "weights"))
        parameters = [{"params": [one]} for one in model.parameters()] if groups > 1 else model.parameters()
        optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
        for group, one in enumerate(optimizer.param_groups):
            one["lr"] /= 2**group
        # The squared error of an infinite target is inf; the difference itself may be -inf.
        loss = F.mse_loss if value > 0 or value != value else lambda outputs, targets: (targets - outputs).mean()
        return Trainer(model, loss, optimizer, batches(poison))

    return trainer(step), trainer(None)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("step", [1, 2, 9])
def test_a_loss_that_is_not_finite_stops_before_the_update(seed, value, step):
    diverging, sound = poisoned(seed, value, step)
    run(sound, step - 1)
    before = copy.deepcopy(sound.optimizer.state_dict())
    with pytest.raises(DivergedError) as raised:
        run(diverging, 20)
    assert raised.value.step == step
    assert same(raised.value.loss, value)
    assert diverging.steps == step - 1
    assert numbers(diverging.model).equal(numbers(sound.model))
    assert same(diverging.optimizer.state_dict(), before)


def test_the_error_knows_the_last_finite_loss_and_each_groups_rate():
    diverging, sound = poisoned(0, math.inf, 3, groups=4)
    last = losses(sound, 2)[-1]
    with pytest.raises(DivergedError, match="lower the learning rate") as raised:
        run(diverging, 20)
    assert raised.value.last_loss == last
    assert raised.value.lr == [0.05, 0.025, 0.0125, 0.00625]
    for part in ("inf at step 3", "learning rate 0.05, 0.025, 0.0125, 0.00625", f"last finite loss {last:g}"):
        assert part in str(raised.value)


def test_where_there_was_no_finite_loss_the_last_one_is_nan():
    with pytest.raises(DivergedError) as raised:
        next(poisoned(0, math.inf, 1)[0])
    assert math.isnan(raised.value.last_loss)


def test_a_rate_that_is_too_large_diverges_and_a_tenth_of_it_does_not(seed):
    """(20 w)²/2 has the curvature 400: rates above 2/400 diverge."""
    for rate, finite in ((0.02, False), (0.002, True)):
        model = Scaled()
        batch = (torch.tensor([20.0]), torch.tensor([1.0]), torch.tensor([0.0]))
        half = lambda outputs, targets: (outputs - targets).square().mean() / 2  # noqa: E731
        trainer = Trainer(model, half, torch.optim.SGD(model.parameters(), lr=rate), repeat(batch))
        if finite:
            assert losses(trainer, 500)[-1] < 1e-6
        else:
            with pytest.raises(DivergedError):
                run(trainer, 500)
            assert model.w.isfinite()


def diverge():
    raise DivergedError(7, -math.inf, [0.5, 0.25], 3.5)


def test_the_error_survives_the_way_back_from_a_worker_process():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool, pytest.raises(DivergedError) as raised:
        pool.submit(diverge).result()
    for error in (raised.value, pickle.loads(pickle.dumps(raised.value)), copy.copy(raised.value)):
        assert (error.step, error.loss, error.lr, error.last_loss) == (7, -math.inf, [0.5, 0.25], 3.5)
        assert str(error).startswith("the loss is -inf at step 7 (learning rate 0.5, 0.25; last finite loss 3.5)")


# Going on after a stop


class Noise(nn.Module):
    """Adds noise from a generator of its own."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def forward(self, inputs):
        return inputs + 0.1 * torch.randn(inputs.shape, generator=self.generator)


def ready(
    seed,
    optimizer=OPTIMIZERS["momentum"],
    scheduler=None,
    noise=False,
    between=(),
    batch_size=5,
    endless=True,
    device="cpu",
):
    """A new trainer on problem 0: everything else, first weights included, is drawn from ``seed``."""
    chance = streams(seed, "weights", "batches", "noise")
    model = network(chance["weights"], *([Noise(chance["noise"])] if noise else []), *between).to(device)
    fitted = optimizer(model.parameters())
    examples = [tensor.to(device) for tensor in problem(0)]
    return Trainer(
        model,
        F.mse_loss,
        fitted,
        Minibatches(examples, batch_size, chance["batches"]) if endless else [examples] * 9,
        scheduler=scheduler and scheduler(fitted),
        generators={"noise": chance["noise"]} if noise else None,
    )


def run_with_a_stop(make, seed, steps, path):
    """Twice ``steps``: a run that is never stopped, and one that is stopped half-way and gone on with elsewhere."""
    whole = make(seed)
    expected = losses(whole, 2 * steps)

    stopped = make(seed)
    first = losses(stopped, steps)
    save_checkpoint(path, stopped.state_dict())

    # Other weights, other batches, other noise: all that counts is in the file.
    resumed = make(seed + 1)
    run(resumed, 3)
    resumed.load_state_dict(load_checkpoint(path))
    assert resumed.steps == steps
    assert first + losses(resumed, steps) == expected
    assert resumed.steps == 2 * steps
    return whole, resumed


SETTINGS = {
    **{name: {"optimizer": one} for name, one in OPTIMIZERS.items()},
    **{name: {"scheduler": one} for name, one in SCHEDULERS.items()},
    "L-BFGS": {"optimizer": lambda parameters: torch.optim.LBFGS(parameters, lr=0.1, max_iter=3)},
    "batch norm": {"between": (nn.BatchNorm1d(5),)},
    "noise, momentum and a scheduler": {"noise": True, "scheduler": SCHEDULERS["OneCycleLR"]},
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(seed, setting, tmp_path):
    def make(seed):
        return ready(seed, **copy.deepcopy(setting))

    whole, resumed = run_with_a_stop(make, seed, 11, tmp_path / "run.pt")
    assert same(whole.state_dict(), resumed.state_dict())


@pytest.mark.global_generator
def test_dropout_from_the_global_generator_goes_on_to_the_same_bits_too(device, tmp_path):
    def make(seed):
        torch.manual_seed(seed)
        return ready(seed, between=[nn.Dropout(0.5)], device=device)

    whole, resumed = run_with_a_stop(make, 0, 11, tmp_path / "run.pt")
    assert same(whole.state_dict(), resumed.state_dict())


def test_the_state_holds_everything_that_the_next_step_depends_on():
    trainer = ready(0, scheduler=SCHEDULERS["StepLR"], noise=True)
    state = trainer.state_dict()
    assert set(state) == {
        *("steps", "last_loss", "model", "optimizer", "scheduler"),
        *("batches", "generators", "global"),
    }
    assert set(state["generators"]) == {"noise"}
    assert set(state["global"]) == {"cpu", "cuda"}


def test_a_state_that_was_copied_leads_back_to_where_it_was_taken(seed):
    trainer = ready(seed, noise=True)
    run(trainer, 5)
    state = copy.deepcopy(trainer.state_dict())
    first = losses(trainer, 8)
    trainer.load_state_dict(state)
    assert losses(trainer, 8) == first


def test_a_run_that_goes_on_and_diverges_knows_the_last_finite_loss_before_the_stop(tmp_path):
    trainer = ready(0)
    last = losses(trainer, 4)[-1]
    resumed = ready(1)
    resumed.load_state_dict(load_checkpoint(save_checkpoint(tmp_path / "run.pt", trainer.state_dict())))
    resumed.loss = lambda outputs, targets: outputs.sum() * math.inf
    with pytest.raises(DivergedError) as raised:
        next(resumed)
    assert (raised.value.step, raised.value.last_loss) == (5, last)


STEP_LR = {"scheduler": SCHEDULERS["StepLR"]}
REFUSED = {
    "the trainer's batches keep no state": ({}, {"endless": False}, TypeError, "list keep no state"),
    "the saved batches kept no state": ({"endless": False}, {}, TypeError, "keep no state"),
    "the batches have another size": ({}, {"batch_size": 4}, ValueError, "batch_size=5"),
    "the trainer has no scheduler": (STEP_LR, {}, ValueError, "scheduler"),
    "the state has no scheduler": ({}, STEP_LR, ValueError, "scheduler"),
    "the trainer has no generator": ({"noise": True}, {}, ValueError, r"\['noise'\], this Trainer \[\]"),
    "the state has no generator": ({}, {"noise": True}, ValueError, r"\[\], this Trainer \['noise'\]"),
}


@pytest.mark.parametrize(("saved", "loading", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_a_state_that_does_not_fit_is_refused_before_anything_changes(saved, loading, error, words):
    saved, loading = ready(0, **saved), ready(1, **loading)
    run(saved, 3)
    before = copy.deepcopy(loading.state_dict())
    with pytest.raises(error, match=words):
        loading.load_state_dict(saved.state_dict())
    assert same(loading.state_dict(), before)


def test_what_is_not_a_state_of_a_trainer_is_refused_and_what_it_lacks_is_named():
    trainer = ready(0)
    with pytest.raises(ValueError, match="lacks batches, generators, global, last_loss, model, optimizer, scheduler"):
        trainer.load_state_dict({"steps": 3})


def noisy(seed):
    return ready(seed, noise=True, scheduler=SCHEDULERS["StepLR"], between=[nn.Dropout(0.5)])


def wider(seed):
    """The state of a model whose first layer fits, and whose last does not."""
    trainer = noisy(seed)
    trainer.model[4] = linear(5, 4, stream(seed, "weights"))
    return trainer.model.state_dict()


def broken(part, value):
    def make(seed):
        state = copy.deepcopy(noisy(seed).state_dict())
        name, *rest = part
        state[name] = value if not rest else {**state[name], rest[0]: value}
        return state

    return make


MISFITS = {
    "another model": (lambda seed: {**broken(["steps"], 3)(seed), "model": wider(seed)}, "size"),
    "another optimizer": (
        lambda seed: {
            **broken(["steps"], 3)(seed),
            "optimizer": ready(seed, OPTIMIZERS["adam"]).state_dict()["optimizer"],
        },
        "another optimizer than this SGD: .*betas",
    ),
    "other groups": (broken(["optimizer", "param_groups"], []), "different number of parameter groups"),
    "another scheduler": (
        lambda seed: {**broken(["steps"], 3)(seed), "scheduler": {"last_epoch": 3}},
        "another scheduler than this StepLR: they differ in .*step_size",
    ),
    "other batches": (broken(["batches", "batch_size"], 4), "batch_size=4"),
    "no generator's state": (broken(["generators", "noise"], torch.zeros(3)), "RNG state|ByteTensor"),
    "no global generator's state": (broken(["global", "cpu"], torch.zeros(3)), "RNG state|ByteTensor"),
}


@pytest.mark.global_generator
@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize(("make", "words"), MISFITS.values(), ids=MISFITS)
def test_a_load_that_fails_leaves_everything_as_it_was(seed, make, words, interrupted):
    def trainer():
        torch.manual_seed(seed)
        made = noisy(seed)
        run(made, 3)
        return made

    expected = losses(trainer(), 6)
    found = trainer()
    if interrupted:
        measure, found.loss = found.loss, lambda outputs, targets: 1 / 0
        with pytest.raises(ZeroDivisionError):
            next(found)
        found.loss = measure
    before = copy.deepcopy(found.state_dict())
    state = make(seed + 1)
    with pytest.raises((ValueError, RuntimeError, TypeError), match=words):
        found.load_state_dict(state)
    assert same(found.state_dict(), before)
    assert losses(found, 6) == expected


ALL_SCHEDULERS = {
    **SCHEDULERS,
    "MultiStepLR": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [3, 9, 9, 14], gamma=0.5),
    "ConstantLR": lambda optimizer: lr_scheduler.ConstantLR(optimizer, 0.5, 13),
    "LinearLR": lambda optimizer: lr_scheduler.LinearLR(optimizer, total_iters=13),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9),
    "PolynomialLR": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, 20, power=2),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 8),
    "CyclicLR": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, step_size_up=4, mode="triangular2"),
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "MultiplicativeLR": lambda optimizer: lr_scheduler.MultiplicativeLR(optimizer, lambda step: 1 - 0.5 / step),
    "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer, [lr_scheduler.LinearLR(optimizer, total_iters=5), lr_scheduler.MultiStepLR(optimizer, [4, 8])], [6]
    ),
    "ChainedScheduler": lambda optimizer: lr_scheduler.ChainedScheduler(
        [lr_scheduler.MultiStepLR(optimizer, [4, 13]), lr_scheduler.ExponentialLR(optimizer, 0.95)]
    ),
}
EVERY_SCHEDULER = [name for name in lr_scheduler.__all__ if name != "LRScheduler"]


@pytest.mark.parametrize("name", EVERY_SCHEDULER)
def test_every_scheduler_of_torch_is_saved_and_goes_on_to_the_same_bits(seed, name, tmp_path):
    def make(seed):
        return ready(seed, scheduler=ALL_SCHEDULERS[name])

    whole, resumed = run_with_a_stop(make, seed, 11, tmp_path / "run.pt")
    assert same(whole.state_dict(), resumed.state_dict())
    assert same(torch.load(tmp_path / "run.pt", weights_only=True), load_checkpoint(tmp_path / "run.pt"))


def test_a_scheduler_of_other_parts_is_refused():
    trainer = ready(0, scheduler=ALL_SCHEDULERS["ChainedScheduler"])
    state = copy.deepcopy(trainer.state_dict())
    state["scheduler"]["_schedulers"].pop()
    with pytest.raises(ValueError, match="number of schedulers, 1 and 2"):
        trainer.load_state_dict(state)


# Steps that are made whole or not at all


class Stop:
    """Raises the error the first time that it is passed, from the given step on."""

    def __init__(self, step, error):
        self.left, self.error = step, error

    def __call__(self):
        self.left -= 1
        if self.left == 0:
            raise self.error


def stoppable(seed, at=None, look=lambda: None, scheduler="StepLR"):
    """A trainer with noise, batch norm, dropout, momentum and a scheduler; a step passes ``look`` at one place."""
    chance = streams(seed, "weights", "batches", "noise")
    torch.manual_seed(seed)
    model = network(chance["weights"], Noise(chance["noise"]), nn.BatchNorm1d(5), nn.Dropout(0.5))
    if at == "the model":
        model.register_forward_hook(lambda *_: look())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = SCHEDULERS[scheduler](optimizer)

    def loss(outputs, targets):
        if at == "the loss":
            look()
        return F.mse_loss(outputs, targets)

    batches = Minibatches(problem(0), 5, chance["batches"])
    if at == "the scheduler":
        step = scheduler.step

        def stopping(*arguments):
            before = scheduler.last_epoch, optimizer.param_groups[0]["lr"]
            scheduler.last_epoch, optimizer.param_groups[0]["lr"] = 7, 3.0  # left in the middle
            look()
            scheduler.last_epoch, optimizer.param_groups[0]["lr"] = before
            step(*arguments)

        scheduler.step = stopping
        scheduler.state_dict = lambda: {
            name: value for name, value in vars(scheduler).items() if name not in ("optimizer", "step", "state_dict")
        }
    if at == "the backward pass":
        model[0].weight.register_hook(lambda gradient: look())
    return Trainer(model, loss, optimizer, batches, scheduler=scheduler, generators={"noise": chance["noise"]})


PLACES = ("the model", "the loss", "the backward pass", "the scheduler")


@pytest.mark.global_generator
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("at", PLACES)
def test_a_step_that_was_stopped_is_made_again_to_the_same_bits(seed, at, error):
    whole = stoppable(seed)
    expected = losses(whole, 9)
    trainer = stoppable(seed, at, Stop(5, error("stop")))
    found = losses(trainer, 4)
    with pytest.raises(error, match="stop"):
        next(trainer)
    assert trainer.steps == 4
    assert found + losses(trainer, 5) == expected
    assert same(trainer.state_dict(), whole.state_dict())


@pytest.mark.global_generator
@pytest.mark.parametrize("at", PLACES[:3])
def test_the_state_after_a_step_that_was_stopped_is_that_of_the_last_whole_step(seed, at):
    whole = stoppable(seed)
    run(whole, 4)
    expected = copy.deepcopy(whole.state_dict())
    trainer = stoppable(seed, at, Stop(5, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(trainer, 9)
    state = copy.deepcopy(trainer.state_dict())
    assert same(state, expected)
    following = losses(stoppable(seed), 9)[4:]
    resumed = stoppable(seed + 1)
    resumed.load_state_dict(state)
    assert losses(resumed, 5) == following


@pytest.mark.global_generator
def test_the_state_after_a_scheduler_that_stopped_is_that_of_the_whole_step(seed):
    whole = stoppable(seed)
    run(whole, 5)
    expected = copy.deepcopy(whole.state_dict())
    trainer = stoppable(seed, "the scheduler", Stop(5, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(trainer, 9)
    assert same(trainer.state_dict(), expected)


class Positions:
    """Batches with a state, which draw their noise from the global generator."""

    def __init__(self, stop=lambda: None):
        self.place, self.stop = [0], stop

    def __iter__(self):
        return self

    def __next__(self):
        inputs, targets = problem(self.place[0])
        inputs = inputs + torch.randn(inputs.shape)
        self.stop()
        self.place[0] += 1
        return inputs, targets

    def state_dict(self):
        return {"place": self.place}  # the living list, as PyTorch's states refer to living tensors

    def load_state_dict(self, state):
        self.place = list(state["place"])


@pytest.mark.global_generator
@pytest.mark.parametrize("in_batches", [False, True])
def test_batches_that_draw_go_on_to_the_same_bits(seed, in_batches):
    def trainer(seed, stop=lambda: None):
        torch.manual_seed(seed)
        model = network(stream(seed, "weights"), nn.Dropout(0.5))
        if not in_batches:
            model.register_forward_hook(lambda *_: stop())
        batches = Positions(stop if in_batches else lambda: None)
        return Trainer(model, F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.05), batches)

    expected = losses(trainer(seed), 6)
    stopped = trainer(seed, Stop(4, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run(stopped, 6)
    state = copy.deepcopy(stopped.state_dict())
    assert state["batches"] == {"place": [3]}
    assert losses(stopped, 3) == expected[3:]
    resumed = trainer(seed + 1)
    resumed.load_state_dict(state)
    assert losses(resumed, 3) == expected[3:]


def test_a_loss_that_is_not_finite_leaves_the_state_of_the_last_whole_step(seed):
    trainer, whole = ready(seed), ready(seed)
    run(whole, 3)
    run(trainer, 3)
    trainer.loss = lambda outputs, targets: outputs.sum() * math.inf
    with pytest.raises(DivergedError):
        next(trainer)
    assert same(trainer.state_dict(), whole.state_dict())
    trainer.loss = F.mse_loss
    assert next(trainer) == next(whole)


class TornSGD(torch.optim.SGD):
    """Moves the first parameter, and is stopped."""

    def step(self, closure):
        closure()
        with torch.no_grad():
            self.param_groups[0]["params"][0].add_(1)
        raise RuntimeError("out of memory")


def test_an_update_that_was_left_in_the_middle_is_no_state_until_one_is_loaded(seed):
    trainer, whole = ready(seed), ready(seed)
    run(trainer, 2)
    state = copy.deepcopy(trainer.state_dict())
    trainer.optimizer.__class__ = TornSGD
    with pytest.raises(RuntimeError, match="out of memory"):
        next(trainer)
    trainer.optimizer.__class__ = torch.optim.SGD
    for go_on in (trainer.state_dict, trainer.__next__):
        with pytest.raises(RuntimeError, match=r"update of step 3 was left in the middle.* Load a checkpoint"):
            go_on()
    trainer.load_state_dict(state)
    assert losses(trainer, 5) == losses(whole, 7)[2:]


class PressedSGD(torch.optim.SGD):
    """Ctrl-C is pressed in the middle of its update."""

    presses = 1

    def step(self, closure=None):
        loss = super().step(closure)
        for _ in range(self.presses):
            signal.raise_signal(signal.SIGINT)
        return loss


@pytest.mark.parametrize("kind", ["trainer", "sweep"])
def test_ctrl_c_in_an_update_waits_until_the_step_is_whole(seed, kind):
    trainer, whole = ready(seed), ready(seed)
    if kind == "sweep":
        trainer, whole = (Sweep([one.model], one.loss, one.optimizer, one._source) for one in (trainer, whole))
    trainer.optimizer.__class__ = PressedSGD
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        next(trainer)
    assert trainer.steps == 1
    assert signal.getsignal(signal.SIGINT) is handler is signal.default_int_handler
    trainer.optimizer.__class__ = torch.optim.SGD
    following = list(islice(whole, 5))[1:]
    assert list(islice(trainer, 4)) == following


def test_a_second_ctrl_c_does_not_wait():
    trainer = ready(0)
    trainer.optimizer.__class__ = type("Pressed", (PressedSGD,), {"presses": 2})
    with pytest.raises(KeyboardInterrupt):
        next(trainer)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(RuntimeError, match="left in the middle"):
        trainer.state_dict()


def test_ctrl_c_under_a_handler_of_the_users_is_his():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        trainer = ready(0)
        trainer.optimizer.__class__ = PressedSGD
        with contextlib.suppress(KeyboardInterrupt):  # which would end pytest, and not this test alone
            next(trainer)
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [True]


# What looks like training and is not


def finite(steps):
    model = network(stream(0, "weights"))
    return Trainer(model, F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.1), [problem(0)] * steps)


def test_a_loop_over_batches_that_have_ended_says_so():
    trainer = finite(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(trainer)) == 3
        assert next(trainer, None) is None
    for again in (iter, lambda trainer: islice(trainer, 5)):
        with pytest.warns(RuntimeWarning, match="made no step.*chain.from_iterable") as warned:
            assert list(again(trainer)) == []
        assert warned[0].filename == __file__


def test_a_loop_that_used_up_the_batches_by_their_number_says_so_next_time():
    trainer = finite(3)
    assert len(list(islice(trainer, 3))) == 3
    with pytest.warns(RuntimeWarning, match="made no step"):
        assert list(islice(trainer, 3)) == []
    with pytest.warns(RuntimeWarning, match="made no step"):
        assert list(finite(0)) == []


def test_a_loop_that_makes_the_step_that_was_stopped_is_not_empty():
    trainer = finite(1)
    trainer.loss = lambda outputs, targets: outputs.sum() * math.inf
    with pytest.raises(DivergedError):
        next(trainer)
    trainer.loss = F.mse_loss
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(trainer)) == 1


def test_an_optimizer_of_another_model_is_refused_before_the_update():
    model, other = (network(stream(0, "weights")) for _ in range(2))
    trainer = Trainer(model, F.mse_loss, torch.optim.Adam(other.parameters()), repeat(problem(0)))
    with pytest.raises(ValueError, match=r"none of the optimizer's 4 parameters .* not those of the model"):
        next(trainer)
    assert trainer.steps == 0


@pytest.mark.parametrize("loss", [lambda y, t: F.mse_loss(y.detach(), t), lambda y, t: torch.tensor(1.0)])
def test_a_loss_that_no_weight_changes_is_refused(loss):
    trainer = ready(0)
    trainer.loss = loss
    with pytest.raises(ValueError, match="no weight that learns"):
        next(trainer)
    trainer.loss = lambda outputs, targets: 1.0
    with pytest.raises(TypeError, match="scalar tensor, not float"):
        next(trainer)


def under_autocast(**options):
    model = network(stream(0, "weights"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(model, F.mse_loss, optimizer, repeat(problem(0)), **options)


def test_under_autocast_it_learns_as_the_loop_that_enters_it_anew_at_each_step():
    trainer = under_autocast(autocast=torch.autocast("cpu", torch.bfloat16))
    found = losses(trainer, 20)
    model = network(stream(0, "weights"))
    optimizer, (inputs, targets), expected = torch.optim.SGD(model.parameters(), lr=0.1), problem(0), []
    for _ in range(20):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert found == expected
    assert found[-1] < 0.8 * found[0]
    assert found != losses(under_autocast(), 20)


def test_autocast_around_the_loop_is_refused_unless_its_cache_is_off():
    trainer = under_autocast()
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(RuntimeError, match=r"autocast=torch.autocast\('cpu'"),
    ):
        next(trainer)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        found = losses(trainer, 20)
    assert found[-1] < 0.8 * found[0]


WRONG_BATCHES = {
    "a dict": ({"x": torch.zeros(2, 6), "y": torch.zeros(2, 3)}, r"not a dict: of the names 'x', 'y', choose"),
    "an array": (np.zeros((2, 6)), "not a ndarray: torch.from_numpy"),
    "an empty tuple": ((), "not an empty one"),
    "arrays": ((np.zeros((2, 6)), np.zeros((2, 3))), "not of ndarray, ndarray: torch.from_numpy"),
}


@pytest.mark.parametrize(("batch", "words"), WRONG_BATCHES.values(), ids=WRONG_BATCHES)
def test_a_batch_that_is_no_tuple_of_tensors_is_a_type_error_that_says_what_to_do(batch, words):
    model = network(stream(0, "weights"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for kind in (Trainer, lambda model, *rest: Sweep([model], *rest)):
        with pytest.raises(TypeError, match=words):
            next(kind(model, F.mse_loss, optimizer, repeat(batch)))


def test_a_data_set_as_batches_is_refused():
    with pytest.raises(TypeError, match="a TensorDataset gives single ones: wrap it in Minibatches"):
        Trainer(nn.Identity(), F.mse_loss, None, TensorDataset(*problem(0)))


# ----------------------------------------------------------------------------------------------------------------
# Evaluation
# ----------------------------------------------------------------------------------------------------------------


def scored(seed, examples=23):
    """A model in float64, and inputs ``(N, 6)`` with labels from 0 to 2."""
    chance = stream(seed, "scored")
    model = network(chance).double()
    return model, (
        torch.randn(examples, 6, generator=chance, dtype=torch.float64),
        torch.randint(3, (examples,), generator=chance),
    )


MEASURES = {
    "the mean of a batch": F.cross_entropy,
    "a value an example": lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("batch_size", [1, 4, 7, 22, 23, 1_000])
def test_evaluation_equals_the_slow_loop_whatever_the_batch_size(seed, measure, batch_size):
    model, (inputs, labels) = scored(seed)
    slow = [-F.log_softmax(model(one), 0)[label].item() for one, label in zip(inputs, labels, strict=True)]
    found = evaluate(model, (inputs, labels), measure, batch_size=batch_size)
    assert found == pytest.approx(math.fsum(slow) / len(slow), rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 4, 23, 1_000])
def test_accuracy_equals_the_slow_loop_whatever_the_batch_size(seed, batch_size):
    model, (inputs, labels) = scored(seed)
    right = [
        max(range(3), key=model(one).tolist().__getitem__) == label
        for one, label in zip(inputs, labels.tolist(), strict=True)
    ]
    assert 0 < sum(right) < 23
    assert accuracy(model, (inputs, labels), batch_size=batch_size) == pytest.approx(sum(right) / 23, rel=1e-12)


def test_evaluation_takes_several_inputs():
    examples = (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([3.0, 10.0]))
    assert evaluate(Scaled(), examples, F.mse_loss, batch_size=1) == 2.0


def test_evaluation_is_in_evaluation_mode_and_without_gradients(seed):
    model, examples = scored(seed)
    model.insert(1, nn.Dropout(0.5))
    seen = []

    def measure(outputs, targets):
        seen.append((any(part.training for part in model.modules()), torch.is_grad_enabled(), outputs.requires_grad))
        return F.cross_entropy(outputs, targets)

    evaluate(model.train(), examples, measure, batch_size=10)
    assert seen == [(False, False, False)] * 3
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("fails", [False, True])
def test_every_part_gets_its_mode_back_also_after_an_error(fails):
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)))
    model.train()
    model[1][1].eval()  # frozen, as in fine-tuning
    modes = [part.training for part in model.modules()]
    assert modes == [True, True, True, True, False]

    def measure(outputs, targets):
        if fails:
            raise RuntimeError("no measure today")
        return F.mse_loss(outputs, targets)

    try:
        evaluate(model, (torch.ones(4, 3), torch.ones(4, 3)), measure)
    except RuntimeError:
        assert fails
    assert [part.training for part in model.modules()] == modes
    assert model[0].num_batches_tracked == 0


def test_a_model_in_evaluation_mode_stays_in_it():
    model, examples = scored(0)
    accuracy(model.eval(), examples)
    assert not any(part.training for part in model.modules())


@pytest.mark.parametrize("examples", [(), (torch.zeros(0, 6), torch.zeros(0))])
def test_no_examples_are_a_value_error(examples):
    with pytest.raises(ValueError, match="at least one example"):
        evaluate(nn.Identity(), examples, F.mse_loss)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_a_value_error(batch_size):
    with pytest.raises(ValueError, match=r"batch_size|arg 3"):
        accuracy(nn.Identity(), (torch.eye(3), torch.arange(3)), batch_size=batch_size)


@pytest.mark.parametrize(("scores", "targets"), [((4,), (4,)), ((4, 3), (4, 1)), ((4, 3, 2), (4,)), ((4, 3), (4, 3))])
def test_accuracy_of_other_shapes_is_a_value_error_that_says_them(scores, targets):
    with pytest.raises(ValueError, match="class numbers") as raised:
        accuracy(nn.Identity(), (torch.zeros(scores), torch.zeros(targets)))
    assert f"{scores} and {targets}" in str(raised.value)


@pytest.mark.parametrize("lengths", [(4, 3), (3, 4), (0, 4), (4, 0)])
def test_inputs_and_targets_of_different_lengths_are_a_value_error(lengths):
    examples = torch.eye(4)[: lengths[0]], torch.arange(4)[: lengths[1]]
    for given in (examples, [examples]):
        with pytest.raises(ValueError, match="equal first dimension"):
            accuracy(nn.Identity(), given)
        with pytest.raises(ValueError, match="equal first dimension"):
            evaluate(nn.Identity(), given, lambda outputs, targets: outputs.mean())


def loader(examples, batch_size=5):
    return DataLoader(TensorDataset(*examples), batch_size, generator=stream(0, "loader"))


IN_BATCHES = {
    "a loader": loader,
    "a list of batches": lambda examples: list(loader(examples)),
    "a generator": lambda examples: (batch for batch in loader(examples)),
    "an iterator": lambda examples: zip(*(tensor.split(5) for tensor in examples), strict=True),
    "a data set": lambda examples: TensorDataset(*examples),
    "a subset": lambda examples: Subset(TensorDataset(*examples), range(23)),
    "a list of tensors": list,
}


@pytest.mark.parametrize("make", IN_BATCHES.values(), ids=IN_BATCHES)
@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_batches_give_the_mean_over_all_their_examples(seed, make, measure):
    model, examples = scored(seed)  # 23 examples: the last batch has 3
    assert evaluate(model, make(examples), measure) == pytest.approx(evaluate(model, examples, measure), rel=1e-12)
    assert accuracy(model, make(examples)) == pytest.approx(accuracy(model, examples), rel=1e-12)


def test_an_empty_batch_counts_nothing_and_an_iterator_that_has_ended_is_a_value_error():
    batches = iter([(torch.ones(2), torch.zeros(2)), (torch.zeros(0), torch.zeros(0))])
    assert evaluate(nn.Identity(), batches, F.mse_loss) == 1.0
    with pytest.raises(ValueError, match="have the batches ended before"):
        evaluate(nn.Identity(), batches, F.mse_loss)


WRONG_EXAMPLES = {
    "endless minibatches": (Minibatches((torch.eye(3),), 2, stream(0, "batches")), "never end"),
    "arrays": ((np.eye(3), np.arange(3)), "torch.from_numpy"),
    "an array": (np.eye(3), "torch.from_numpy"),
    "a tensor": (torch.eye(3), "tuple of tensors"),
    "batches of arrays": ([(np.eye(3), np.arange(3))], "torch.from_numpy"),
    "batches of dicts": ([{"x": torch.eye(3)}], "not a dict: of the names 'x'"),
    "batches of tensors": (iter(torch.eye(3)), "not a tensor"),
    "a dict": ({"x": torch.eye(3)}, "not dict"),
}


@pytest.mark.parametrize(("wrong", "words"), WRONG_EXAMPLES.values(), ids=WRONG_EXAMPLES)
def test_what_cannot_be_evaluated_is_a_type_error_that_says_what_to_do(wrong, words):
    model = nn.Sequential(nn.Identity()).train()
    with pytest.raises(TypeError, match=words):
        evaluate(model, wrong, F.mse_loss)
    assert model[0].training


@pytest.mark.parametrize("wrong", [2.0, True, "2", None])
def test_a_batch_size_for_evaluation_that_is_not_an_int_is_a_type_error(wrong):
    with pytest.raises(TypeError, match="batch_size must be an int"):
        accuracy(nn.Identity(), (torch.eye(3), torch.arange(3)), batch_size=wrong)


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1, ValueError), (99.0, TypeError), (True, TypeError)])
def test_no_limit_hides_a_wrong_batch_size(wrong, error):
    with pytest.raises(error, match="batch_size must be"):
        limit_batch_size(wrong, (torch.zeros(5),))
    assert [limit_batch_size(size, TensorDataset(torch.zeros(5), torch.zeros(5))) for size in (4, 5, 6)] == [4, 5, 5]


# ----------------------------------------------------------------------------------------------------------------
# Checkpoints
# ----------------------------------------------------------------------------------------------------------------

DTYPES = (torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.complex64)
STATE = {
    "steps": 3,
    "large": 2**62 + 1,
    "numbers": [1.5, math.inf, -math.inf, math.nan],
    "text": "µ",
    "bytes": b"\x00\xff",
    "nothing": None,
    "flag": True,
    "pair": (1, (2.0, "three")),
    "tensors": {
        "deep": {"er": torch.arange(6).reshape(2, 3).T},
        "scalar": torch.tensor(0.1, dtype=torch.float64),
        "empty": torch.zeros(0, 4),
        "special": torch.tensor([math.inf, -0.0, 1e-45]),
        **{str(dtype): torch.tensor([0, 1, 2]).to(dtype) for dtype in DTYPES},
    },
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The path of a checkpoint."""
    return save_checkpoint(tmp_path_factory.mktemp("run") / "run.pt", STATE)


def test_what_was_saved_is_loaded(checkpoint):
    assert same(load_checkpoint(checkpoint), STATE)


def test_a_parameter_and_a_view_come_back_with_their_numbers(tmp_path):
    state = {"parameter": nn.Parameter(torch.ones(2)), "view": torch.arange(10)[2:4]}
    loaded = load_checkpoint(save_checkpoint(tmp_path / "run.pt", state))
    assert loaded["parameter"].tolist() == [1, 1]
    assert loaded["view"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"a": {"b": [1, Path("x")]}}, r"state\['a'\]\['b'\]\[1\] must be plain .* not PosixPath"),
        ({"loss": np.float64(1.5)}, "float64"),
        ({"losses": np.zeros(3)}, "ndarray"),
        ({"rates": {Path("x"): 0.1}}, r"name in state\['rates'\] must be plain .* not PosixPath"),
        ({"model": nn.Identity()}, "Identity: give its state_dict"),
        (nn.Identity(), "Identity: give its state_dict"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(wrong, words, tmp_path):
    with pytest.raises(TypeError, match=words):
        save_checkpoint(tmp_path / "run.pt", wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_replaced_by_the_next(tmp_path):
    for steps in (1, 2):
        save_checkpoint(tmp_path / "run.pt", {"steps": steps})
    assert load_checkpoint(tmp_path / "run.pt") == {"steps": 2}
    assert len(list(tmp_path.iterdir())) == 1


def test_plain_torch_load_reads_the_file_too(checkpoint):
    assert same(torch.load(checkpoint, weights_only=True), STATE)


def test_bytes_behind_the_seal_are_noticed(checkpoint, tmp_path):
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(checkpoint.read_bytes() + b"\n")
    with pytest.raises(CheckpointError):
        load_checkpoint(damaged)


def test_a_file_written_by_plain_torch_save_is_refused(tmp_path):
    torch.save({"steps": 3}, tmp_path / "plain.pt")
    with pytest.raises(CheckpointError, match="not written by save_checkpoint"):
        load_checkpoint(tmp_path / "plain.pt")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.mkdir, (Path(self.path),)


def test_code_in_a_sealed_file_does_not_run(tmp_path):
    trap, sprung = tmp_path / "trap.pt", tmp_path / "sprung"
    torch.save({"model": Trap(sprung)}, trap)
    archive = trap.read_bytes()
    trap.write_bytes(archive + b"\nsha256:" + hashlib.sha256(archive).hexdigest().encode())
    with pytest.raises((pickle.UnpicklingError, CheckpointError)):
        load_checkpoint(trap)
    assert not sprung.exists()
    torch.load(trap, weights_only=False)  # the control: it is a trap
    assert sprung.exists()


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "nothing.pt")


def test_a_save_that_fails_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path / "run.pt", {"steps": 1})
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, {"steps": 2})
    assert load_checkpoint(path) == {"steps": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_scores_that_are_not_numbers_have_no_accuracy():
    scores = torch.tensor([[2.0, 1.0], [math.nan, 0.0]])
    assert math.isnan(accuracy(nn.Identity(), (scores, torch.tensor([0, 0]))))


def test_a_state_with_another_end_of_a_pass_is_refused():
    batches = Minibatches((torch.arange(5),), 2, stream(0, "batches"), drop_last=True)
    with pytest.raises(ValueError, match="end=4"):
        Minibatches((torch.arange(5),), 2, stream(0, "batches")).load_state_dict(batches.state_dict())
