"""What trials measure with: targets, budgets, losses that are missing, errors, grids."""

import math
from itertools import islice, pairwise, repeat

import pytest
import torch

from dlnotes.linear import SGD, LogisticClassifier, cross_entropy
from dlnotes.measuring import grid, largest_error, losses_of, steps_until, train_for
from dlnotes.training import DivergedError, Trainer


def slow_steps_until(target, losses, window):
    for end in range(window, len(losses) + 1):
        if sum(losses[end - window : end]) / window <= target:
            return end - 1
    return math.nan


@pytest.mark.parametrize("window", [1, 2, 3, 10])
def test_steps_until_a_target_are_those_of_a_slow_twin(window, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(50):
        losses = (torch.rand(40, generator=generator).cumsum(0).flip(0) / 20).tolist()
        target = losses[int(torch.randint(40, (1,), generator=generator))]
        found = steps_until(target, losses, window=window)
        expected = slow_steps_until(target, losses, window)
        assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_a_target_is_reached_by_the_mean_of_a_whole_window():
    assert steps_until(0.5, [0.1, 0.9, 0.9, 0.5, 0.5], window=2) == 1  # (0.1 + 0.9) / 2
    assert steps_until(0.5, [0.1, 0.95, 0.9, 0.5, 0.5], window=2) == 4
    assert math.isnan(steps_until(0.5, [0.1], window=2))


def test_no_more_losses_are_asked_for_than_are_needed():
    losses = iter([2.0, 1.0, 0.4, 0.3])
    assert steps_until(0.5, losses) == 2
    assert next(losses) == 0.3


def test_a_relative_target_is_a_share_of_the_first_loss():
    assert steps_until(0.1, [50.0, 6.0, 5.0, 4.0], relative=True) == 2


def test_a_loss_that_is_not_a_number_reaches_no_target():
    assert math.isnan(steps_until(0.5, [math.nan] * 5))


def test_the_losses_after_a_divergence_are_missing():
    def diverging():
        yield from (2.0, 3.0)
        raise DivergedError(3, math.inf, [1.0], 3.0)

    losses = list(losses_of(diverging(), 5))
    assert losses[:2] == [2.0, 3.0]
    assert [math.isnan(loss) for loss in losses[2:]] == [True] * 3
    assert list(losses_of(iter([1.0, 2.0]), 2)) == [1.0, 2.0]


def test_training_for_so_many_steps_is_the_loop_written_out():
    inputs, targets = torch.rand(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    ends = []
    for take in (train_for, lambda trainer, steps: [None for _ in islice(trainer, steps)]):
        model = LogisticClassifier(3, 2)
        take(Trainer(model, cross_entropy, SGD(model.parameters(), lr=0.5), repeat((inputs, targets))), 7)
        ends.append(model.weight.detach().clone())
    assert torch.equal(*ends)
    assert ends[0].any()


def test_training_ends_where_batches_end_and_goes_on_where_it_ended():
    batch = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)), torch.arange(4) % 2
    model = LogisticClassifier(3, 2)
    trainer = Trainer(model, cross_entropy, SGD(model.parameters(), lr=0.5), iter([batch] * 5))
    assert train_for(train_for(trainer, 2), 10).steps == 5
    with pytest.raises(ValueError, match="0 or more, not -1"):
        train_for(trainer, -1)


def test_the_largest_error_is_an_absolute_one():
    assert largest_error(torch.tensor([[1.0, -2.0]]), torch.tensor([[1.5, 1.0]])) == 3.0


def test_tensors_of_two_shapes_have_no_largest_error():
    with pytest.raises(ValueError, match=r"one shape, not \(3,\) and \(1,\)"):
        largest_error(torch.zeros(3), torch.zeros(1))


def test_a_grid_is_even_in_its_logarithms_and_written_as_it_is_read():
    rates = grid(2**-9, 4, per_octave=2)
    assert len(rates) == 23
    assert (rates[0], rates[-1]) == (0.00195312, 4.0)
    assert all(math.isclose(two / one, 2**0.5, rel_tol=1e-5) for one, two in pairwise(rates))
    assert [float(f"{rate:.6g}") for rate in rates] == list(rates)
    assert grid(0.004, 0.512) == (0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512)
    assert grid(1, 1) == (1.0,)
    assert grid(1, 7) == (1.0, 2.0, 4.0)


@pytest.mark.parametrize("bounds", [(0, 1), (2, 1), (-1, 1), (1, math.inf)])
def test_a_grid_without_room_is_refused(bounds):
    with pytest.raises(ValueError, match="lowest ≤ highest"):
        grid(*bounds)


def test_windows_and_densities_below_one_are_refused():
    with pytest.raises(ValueError, match="window of 1 or more losses, not 0"):
        steps_until(1.0, [1.0], window=0)
    with pytest.raises(ValueError, match="one or more an octave"):
        grid(1, 2, per_octave=0)
