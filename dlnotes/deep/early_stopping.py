"""Early stopping: train until the validation set says that it gets no better, and keep the best."""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from torch import Generator, nn
from torch.utils.data import Dataset

from dlnotes.deep.regularization import weight_decay_groups
from dlnotes.linear import SGD, cross_entropy
from dlnotes.minibatches import Minibatches, batches_to_evaluate, limit_batch_size
from dlnotes.training import Trainer, evaluate, in_mode

__all__ = ["EarlyStopping", "History", "train_with_early_stopping"]


class EarlyStopping:
    """Say when to stop, and remember the weights that were best.

    The literal rule of the notes, to stop as soon as the validation set shows no improvement, is a patience of 1. A
    patient stopper waits until that many evaluations in a row have brought nothing better than the best before them.

    Args:
        model: what is trained; a copy of its state is kept whenever it is the best so far.
        patience: evaluations in a row without improvement at which to stop, 1 or more.
        min_improvement: how much lower than the best before it a value must be to count, 0 or larger.

    Raises:
        ValueError: a patience below 1, or a negative improvement.
        TypeError: a patience that is no ``int``.

    Attributes:
        best: the lowest value so far; inf before the first.
        best_evaluation: the number of the evaluation that gave it, counted from 1; 0 before the first.
        evaluations: how many there were.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> stopper = EarlyStopping(model, patience=2)
        >>> [stopper.should_stop(loss) for loss in (0.9, 0.7, 0.8, 0.6, 0.7, 0.6)]
        [False, False, False, False, False, True]
        >>> stopper.best, stopper.best_evaluation
        (0.6, 4)
        >>> stopper.restore()                       # the weights as they were at the fourth evaluation

    Source: Lutz Prechelt, "Early stopping - but when?", 1998.
    """

    def __init__(self, model: nn.Module, patience: int = 1, *, min_improvement: float = 0.0) -> None:
        if isinstance(patience, bool) or not isinstance(patience, int):
            raise TypeError(f"patience must be a number of evaluations (an int), not {type(patience).__name__}")
        if patience < 1:
            raise ValueError(f"patience must be 1 evaluation or more, not {patience}")
        if not 0 <= min_improvement < math.inf:
            raise ValueError(f"min_improvement must be 0 or larger and finite, not {min_improvement}")
        self.model, self.patience, self.min_improvement = model, patience, min_improvement
        self.best, self.best_evaluation, self.evaluations = math.inf, 0, 0
        self._best_state: dict[str, Any] | None = None

    def should_stop(self, value: float) -> bool:
        """Take note of an evaluation, lower is better (of an accuracy: its negative), and say whether to stop.

        A value that is not finite is no improvement.
        """
        value = float(value)  # also of a tensor, which may be changed later
        evaluation = self.evaluations + 1
        if math.isfinite(value) and value < self.best - self.min_improvement:
            state = copy.deepcopy(self.model.state_dict())
            # Together, so that Ctrl-C leaves no value beside the weights of another.
            self.best, self.best_evaluation, self._best_state = value, evaluation, state
        self.evaluations = evaluation
        return self.evaluations - self.best_evaluation >= self.patience

    def restore(self) -> None:
        """Give the model the weights that were best.

        Raises:
            RuntimeError: no evaluation has given a finite value yet.
        """
        if self._best_state is None:
            raise RuntimeError(
                f"there is no best model to restore: {self.evaluations} evaluations, none of them finite"
            )
        self.model.load_state_dict(self._best_state)

    def state_dict(self) -> dict[str, Any]:
        """All that a stopper knows, the best weights included: plain numbers and tensors for a checkpoint."""
        return {
            "best": self.best,
            "best_evaluation": self.best_evaluation,
            "evaluations": self.evaluations,
            "best_state": self._best_state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: it is no state of a stopper, or its best weights are those of another model. Nothing has changed
                then.
        """
        missing = self.state_dict().keys() - state.keys()
        if missing:
            raise ValueError(
                f"the state lacks {', '.join(sorted(missing))}: it is not one that EarlyStopping.state_dict gave"
            )
        best, own = state["best_state"], self.model.state_dict()
        if best is not None and _shapes(best) != _shapes(own):
            differs = sorted(name for name, _ in _shapes(best) ^ _shapes(own))
            raise ValueError(f"the best weights are of another model: {', '.join(differs[:3])} differ in name or shape")
        best = copy.deepcopy(best)
        self.best, self.best_evaluation = state["best"], state["best_evaluation"]
        self.evaluations, self._best_state = state["evaluations"], best


def _shapes(state: Mapping[str, Any]) -> set[tuple[str, Any]]:
    return {(name, getattr(value, "shape", None)) for name, value in state.items()}


class History(NamedTuple):
    """What a training with early stopping did.

    Attributes:
        losses: the loss of each step that was made, in nats.
        validation: the loss on the validation set at each evaluation, in nats.
        best_step: the step after which the model is given back.
        stopped: whether the stopper ended it, and not the largest number of steps.
    """

    losses: list[float]
    validation: list[float]
    best_step: int
    stopped: bool


def train_with_early_stopping(
    model: nn.Module,
    train: Sequence[Any] | Dataset[Any],
    validation: Sequence[Any] | Dataset[Any] | Iterable[Any],
    *,
    generator: Generator,
    patience: int = 10,
    evaluate_every: int = 50,
    max_steps: int = 10_000,
    batch_size: int = 128,
    lr: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> History:
    """Train a classifier by SGD with momentum until the validation loss stops falling; the best weights are kept.

    A few lines over `Trainer` and `EarlyStopping`, for when nothing but the result is wanted.

    Args:
        model: gives scores of shape (N, K). Trained in place, and left with the weights that were best on
            ``validation``, also where an exception or Ctrl-C ends the training. It may be in either mode, and is again
            in that mode afterwards.
        train: ``(inputs, targets)``, with class numbers as targets; or a map-style ``Dataset``, as `Minibatches` takes
            it.
        validation: the same, of examples that are not trained on; or a ``DataLoader``, as `evaluate` takes it.
        generator: what the order of the examples is drawn from.
        patience: evaluations in a row without improvement at which to stop; 1 is the literal rule.
        evaluate_every: steps from one evaluation to the next.
        max_steps: steps at which to end in any case.
        batch_size: examples a batch; all of them where there are fewer.
        lr: the learning rate.
        momentum: what is kept of the past steps, from 0 to below 1.
        weight_decay: the strength of the L2 penalty on weights; biases pay none.

    Returns:
        What happened, and after which step the weights are.

    Raises:
        ValueError: a patience, a number of steps, an interval or a batch size below 1; fewer steps than one interval;
            no examples, or inputs and targets of different lengths.
        TypeError: one of those numbers that is not an ``int``; examples that are not tensors.
        DivergedError: the loss is no longer finite.
        RuntimeError: no evaluation gave a finite value, so that there is no best.

    Example:
        >>> import torch
        >>> from dlnotes.linear import LogisticClassifier
        >>> inputs, targets = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
        >>> model = LogisticClassifier(1, 2)
        >>> history = train_with_early_stopping(       # what is learned from 0 and 1 is wrong for swapped labels
        ...     model, (inputs, targets), (inputs, 1 - targets), generator=torch.Generator(), patience=3,
        ...     evaluate_every=10,
        ... )
        >>> history.stopped, len(history.losses), history.best_step
        (True, 40, 10)
    """
    for name, number in (("evaluate_every", evaluate_every), ("max_steps", max_steps)):
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name} must be a number of steps (an int), not {type(number).__name__} ({number!r})")
    if evaluate_every < 1 or max_steps < evaluate_every:
        raise ValueError(
            f"evaluate_every must be 1 or more and max_steps at least as large, not {evaluate_every} and {max_steps}"
        )
    if isinstance(validation, Iterator):
        raise TypeError(
            f"validation is evaluated several times, and a {type(validation).__name__} ends for good after the first: "
            "give it (inputs, targets), or a DataLoader"
        )
    batches_to_evaluate(validation, 1)  # what cannot be evaluated is refused before anything is trained
    batches = Minibatches(train, limit_batch_size(batch_size, train), generator)
    optimizer = SGD(weight_decay_groups(model, weight_decay), lr=lr, momentum=momentum)
    stopper = EarlyStopping(model, patience)
    losses, values = [], []
    try:
        with in_mode(model, training=True):
            for step in islice(Trainer(model, cross_entropy, optimizer, batches), max_steps):
                losses.append(step.loss)
                if step.number % evaluate_every == 0:
                    values.append(evaluate(model, validation, cross_entropy))
                    if stopper.should_stop(values[-1]):
                        break
    finally:
        if stopper.best_evaluation:
            stopper.restore()
    if not stopper.best_evaluation:
        raise RuntimeError(f"none of {len(values)} evaluations on the validation set gave a finite loss")
    stopped = stopper.evaluations - stopper.best_evaluation >= patience
    return History(losses, values, stopper.best_evaluation * evaluate_every, stopped)
