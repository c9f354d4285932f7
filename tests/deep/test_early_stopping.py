"""Early stopping: when it stops, what it gives back, and that it goes on after an interruption."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dlnotes.deep import MLP, EarlyStopping, train_with_early_stopping, weight_decay_groups
from dlnotes.linear import LogisticClassifier, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import DivergedError, Minibatches, evaluate, load_checkpoint, save_checkpoint


class Weight(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))


def stops_at(values, **settings):
    """The number of the evaluation that stops, and the weight that is restored; it is the number of its evaluation."""
    model = Weight()
    stopper = EarlyStopping(model, **settings)
    for number, value in enumerate(values, 1):
        model.w.data.fill_(number)
        if stopper.should_stop(value):
            break
    else:
        number = None
    stopper.restore()
    return number, int(model.w.item())


@pytest.mark.parametrize(("patience", "expected"), [(1, (3, 2)), (2, (6, 4)), (3, (10, 7)), (4, (None, 7))])
def test_it_stops_after_as_many_evaluations_in_a_row_without_a_new_best(patience, expected):
    assert stops_at([5, 3, 4, 2, 3, 2, 1, 2, 1, 3], patience=patience) == expected


def test_the_literal_rule_is_the_default():
    assert stops_at([5, 3, 3, 1]) == (3, 2)  # as good as the best is no improvement


def test_improvements_that_are_too_small_do_not_count_but_add_up():
    assert stops_at([5.0, 4.9, 4.8], patience=2, min_improvement=0.5) == (3, 1)
    assert stops_at([5.0, 4.7, 4.4, 4.3, 4.2], patience=2, min_improvement=0.5) == (5, 3)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_what_is_not_finite_is_no_improvement(value):
    assert stops_at([value, 2.0, 1.0], patience=2) == (None, 3)


def test_a_value_is_kept_as_a_plain_number(tmp_path):
    stopper, value = EarlyStopping(Weight()), torch.tensor(1.0)
    stopper.should_stop(value)
    value.fill_(-5)
    assert stopper.best == 1.0
    stopper.should_stop(np.float64(0.5))
    save_checkpoint(tmp_path / "run.pt", stopper.state_dict())


def test_what_is_not_a_number_is_no_improvement():
    assert stops_at([2.0, math.nan, 1.0], patience=2) == (None, 3)
    assert stops_at([math.nan, 2.0, 3.0], patience=2) == (None, 2)
    stopper = EarlyStopping(Weight(), patience=2)
    assert [stopper.should_stop(math.nan) for _ in range(2)] == [False, True]
    with pytest.raises(RuntimeError, match="no best model to restore: 2 evaluations"):
        stopper.restore()


def test_the_best_weights_are_a_copy():
    model = Weight()
    stopper = EarlyStopping(model)
    stopper.should_stop(1.0)
    model.w.data.fill_(7)
    stopper.restore()
    assert model.w.item() == 0
    model.w.data.fill_(8)
    stopper.restore()
    assert model.w.item() == 0


def test_a_checkpoint_goes_on_where_it_was(tmp_path):
    values = [5, 3, 4, 2, 3, 4, 5]
    model = Weight()
    stopper = EarlyStopping(model, patience=3)
    for number, value in enumerate(values[:5], 1):
        model.w.data.fill_(number)
        stopper.should_stop(value)
    save_checkpoint(tmp_path / "run.pt", stopper.state_dict())
    other = Weight()
    resumed = EarlyStopping(other, patience=3)
    state = load_checkpoint(tmp_path / "run.pt")
    resumed.load_state_dict(state)
    state["best_state"]["w"].fill_(-1)  # a copy was taken
    assert [resumed.should_stop(value) for value in values[5:]] == [False, True]
    resumed.restore()
    assert (other.w.item(), resumed.best, resumed.best_evaluation) == (4.0, 2, 4)


@pytest.mark.parametrize("patience", [0, -3])
def test_a_patience_below_one_is_refused(patience):
    with pytest.raises(ValueError, match=f"patience must be 1 evaluation or more, not {patience}"):
        EarlyStopping(Weight(), patience)


def test_other_settings_that_make_no_sense_are_refused():
    with pytest.raises(TypeError, match="an int"):
        EarlyStopping(Weight(), 2.5)
    with pytest.raises(TypeError, match="not bool"):
        EarlyStopping(Weight(), True)
    for value in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="min_improvement must be 0 or larger and finite"):
            EarlyStopping(Weight(), min_improvement=value)


def test_a_value_that_is_no_number_counts_for_nothing():
    stopper = EarlyStopping(Weight())
    with pytest.raises(ValueError, match="could not convert"):
        stopper.should_stop("low")
    assert stopper.evaluations == 0


def test_ctrl_c_between_a_value_and_its_weights_keeps_neither(monkeypatch):
    model = Weight()
    stopper = EarlyStopping(model, patience=2)
    stopper.should_stop(2.0)
    model.w.data.fill_(1)
    monkeypatch.setattr(model, "state_dict", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        stopper.should_stop(1.0)
    monkeypatch.undo()
    assert (stopper.best, stopper.best_evaluation, stopper.evaluations) == (2.0, 1, 1)
    assert stopper.should_stop(1.0) is False
    stopper.restore()
    assert model.w.item() == 1


def test_a_state_that_does_not_fit_is_refused_before_anything_changes():
    stopper, other = EarlyStopping(Weight()), EarlyStopping(LogisticClassifier(2, 2))
    other.should_stop(1.0)
    for state, words in ((other.state_dict(), "another model: bias, w, weight"), ({"best": 1.0}, "lacks best_eval")):
        with pytest.raises(ValueError, match=words):
            stopper.load_state_dict(state)
        assert (stopper.best, stopper.evaluations) == (math.inf, 0)


# ----------------------------------------------------------------------------------------------------------------
# The trainer
# ----------------------------------------------------------------------------------------------------------------


def noisy(count, purpose):
    """Two classes, a third of the labels wrong, in so many dimensions that they can be learned by heart."""
    chance = stream(0, purpose)
    inputs = torch.randn(count, 30, generator=chance)
    wrong = torch.rand(count, generator=chance) < 1 / 3
    return inputs, (inputs[:, 0] > 0).long() ^ wrong.long()


def trained(**settings):
    model = LogisticClassifier(30, 2)
    validation = noisy(400, "validation")
    settings = {"evaluate_every": 5, "patience": 4, "lr": 0.1, "max_steps": 500, "batch_size": 20, **settings}
    history = train_with_early_stopping(
        model, noisy(40, "train"), validation, generator=stream(0, "batches"), **settings
    )
    return history, evaluate(model, validation, cross_entropy)


def test_the_weights_given_back_are_the_best_on_the_validation_set():
    history, loss = trained()
    assert loss == min(history.validation)
    assert history.best_step == 5 * (history.validation.index(loss) + 1)
    assert history.stopped
    assert len(history.losses) == history.best_step + 4 * 5 == 5 * len(history.validation)


def test_patience_only_reads_the_same_run_for_longer():
    short, long = trained(patience=1)[0], trained(patience=10)[0]
    assert len(short.losses) < len(long.losses)
    assert long.losses[: len(short.losses)] == short.losses
    assert long.validation[: len(short.validation)] == short.validation


def test_the_last_step_ends_it_in_any_case():
    history, loss = trained(max_steps=12, patience=50)
    assert (len(history.losses), len(history.validation), history.stopped) == (12, 2, False)
    assert loss == min(history.validation)


def network():
    return MLP([30, 8, 2], generator=stream(0, "weights"), dropout=0.5, masks=stream(0, "masks"))


def test_it_is_the_loop_that_one_would_write():
    train, validation = noisy(40, "train"), noisy(400, "validation")
    model = network().eval()
    history = train_with_early_stopping(
        model, train, validation, generator=stream(0, "batches"), patience=50, evaluate_every=10, max_steps=30,
        batch_size=16, lr=0.1, momentum=0.8, weight_decay=0.3,
    )  # fmt: skip
    theirs = network()
    optimizer = torch.optim.SGD(weight_decay_groups(theirs, 0.3), lr=0.1, momentum=0.8)
    losses, values = [], []
    for batch, labels in islice(Minibatches(train, 16, stream(0, "batches")), 30):
        optimizer.zero_grad()
        loss = cross_entropy(theirs.train()(batch), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if len(losses) % 10 == 0:
            values.append(cross_entropy(theirs.eval()(validation[0]), validation[1]).item())
    assert history.losses == pytest.approx(losses)
    assert history.validation == pytest.approx(values)
    assert not model.training  # as it came


def test_weights_pay_the_penalty():
    with pytest.raises(ValueError, match="0 or larger and finite, not -1"):
        trained(weight_decay=-1.0)


@pytest.mark.parametrize("settings", [{"evaluate_every": 0}, {"max_steps": 4}, {"patience": 0}])
def test_settings_that_never_evaluate_are_refused(settings):
    with pytest.raises(ValueError, match="or more"):
        trained(**settings)


def interrupted(model, validation, *, at, with_):
    """The exception that came at a step, where that many were made."""
    count = 0

    def pass_on(module, inputs):
        nonlocal count
        count += module.training
        if count == at:
            raise with_

    model.register_forward_pre_hook(pass_on)
    with pytest.raises(type(with_)):
        train_with_early_stopping(
            model, noisy(40, "train"), validation, generator=stream(0, "batches"), evaluate_every=10, lr=10.0
        )


def test_the_best_weights_are_given_back_after_ctrl_c():
    validation, model, best = noisy(400, "validation"), LogisticClassifier(30, 2), LogisticClassifier(30, 2)
    interrupted(model, validation, at=15, with_=KeyboardInterrupt())
    train_with_early_stopping(
        best, noisy(40, "train"), validation, generator=stream(0, "batches"), evaluate_every=10, max_steps=10, lr=10.0
    )
    assert torch.equal(model.weight, best.weight)


def test_before_the_first_evaluation_there_is_nothing_to_give_back():
    model = LogisticClassifier(30, 2)
    interrupted(model, noisy(400, "validation"), at=5, with_=KeyboardInterrupt())
    assert model.weight.any()


def test_divergence_is_said():
    with pytest.raises(DivergedError):
        trained(lr=1e38)
    nowhere = (torch.full((4, 30), math.nan), torch.zeros(4, dtype=torch.long))
    with pytest.raises(RuntimeError, match="none of 2 evaluations on the validation set gave a finite loss"):
        train_with_early_stopping(
            LogisticClassifier(30, 2), noisy(40, "train"), nowhere, generator=stream(0, "batches"), patience=2
        )


def test_data_sets_and_loaders_are_taken():
    train, validation = noisy(40, "train"), noisy(400, "validation")
    settings = {"evaluate_every": 5, "max_steps": 20, "batch_size": 64}
    (expected, found) = (
        train_with_early_stopping(LogisticClassifier(30, 2), *data, generator=stream(0, "batches"), **settings)
        for data in (
            (train, validation),
            (TensorDataset(*train), DataLoader(TensorDataset(*validation), 64, generator=stream(0, "loader"))),
        )
    )
    assert found.losses == expected.losses
    assert found.validation == pytest.approx(expected.validation)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"evaluate_every": 2.0}, "evaluate_every must be a number of steps"),
        ({"max_steps": 9.0}, "max_steps must be a number of steps"),
        ({"batch_size": 999.0}, "batch_size must be an int"),
    ],
)
def test_numbers_of_steps_and_examples_that_are_no_int_are_refused(settings, words):
    with pytest.raises(TypeError, match=words):
        trained(**settings)


@pytest.mark.parametrize(
    ("validation", "error", "words"),
    [
        (lambda inputs, targets: (inputs, targets[:-1]), ValueError, "equal first dimension"),
        (lambda inputs, targets: (inputs.numpy(), targets.numpy()), TypeError, "torch.from_numpy"),
        (lambda inputs, targets: (inputs[:0], targets[:0]), ValueError, "at least one example"),
        (lambda inputs, targets: iter([(inputs, targets)]), TypeError, "evaluated several times"),
    ],
)
def test_a_validation_set_that_cannot_be_evaluated_is_refused_before_the_training(validation, error, words):
    model = LogisticClassifier(30, 2)
    with pytest.raises(error, match=words):
        train_with_early_stopping(
            model, noisy(40, "train"), validation(*noisy(40, "validation")), generator=stream(0, "batches")
        )
    assert not model.weight.any()
