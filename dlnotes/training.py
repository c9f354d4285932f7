"""Training as something you iterate: minibatches, the trainer, evaluation, checkpoints.

    trainer = Trainer(model, loss, optimizer, Minibatches(letters.train, 50, generators["batches"]))
    for step in islice(trainer, 2_000):
        if step.number % 100 == 0 and accuracy(model, letters.validation) > 0.9:
            break

A budget is `itertools.islice`, stopping is ``break``, logging is ``if``: there are no callbacks to learn.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import Dataset

from dlnotes.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from dlnotes.minibatches import Minibatches, batches_to_evaluate, check_batch_size, what_to_do_about_arrays
from dlnotes.resuming import Resumable
from dlnotes.stepping import (
    NO_GRADIENT,
    check_gradients,
    explain,
    inputs_and_targets,
    move_on,
    refuse_autocast_cache,
)

__all__ = [
    "CheckpointError",
    "DivergedError",
    "Minibatches",
    "Step",
    "Trainer",
    "accuracy",
    "evaluate",
    "in_mode",
    "load_checkpoint",
    "save_checkpoint",
]

Loss = Callable[[Tensor, Tensor], Tensor]


# ----------------------------------------------------------------------------------------------------------------
# The trainer
# ----------------------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """What one step of training tells: its number, counted from 1, and the loss of its batch before the update."""

    number: int
    loss: float


class DivergedError(ArithmeticError):
    """The loss is no longer finite, and the update that it was for was not made.

    What the updates before it made stays as it is; an optimizer that evaluates the loss several times a step (L-BFGS)
    may have moved the weights within the step.

    Attributes:
        step: the number of the step that could not be made, counted from 1.
        loss: the loss found there: inf, -inf or nan.
        lr: the learning rates at that step, one for each parameter group.
        last_loss: the last finite loss, or nan where there was none.
    """

    def __init__(self, step: int, loss: float, lr: Sequence[float], last_loss: float) -> None:
        self.step, self.loss, self.lr, self.last_loss = step, loss, list(lr), last_loss
        rates = ", ".join(f"{rate:g}" for rate in self.lr)
        before = f"last finite loss {last_loss:g}" if math.isfinite(last_loss) else "no step before it was finite"
        super().__init__(
            f"the loss is {loss} at step {step} (learning rate {rates}; {before}): "
            "lower the learning rate first, by ten; then look for inputs that are not scaled or not finite"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # So that it survives the way back from a worker process, which takes exceptions apart.
        return DivergedError, (self.step, self.loss, self.lr, self.last_loss), self.__dict__


class Trainer(Resumable):
    """Gradient descent as an iterator: one `next` is one step.

    A step is the loop that every course draws: take a batch, compute the loss, go backward, update. The trainer is
    its own iterator, so that a second `itertools.islice` goes on where the first ended; it ends, for good, when
    ``batches`` ends (for passes without end over a ``DataLoader``: ``chain.from_iterable(repeat(loader))``), and a
    loop that makes no step at all because they have ended warns. It changes neither the mode of the model nor its
    device: call ``model.train()`` and ``model.to(device)`` as in any PyTorch program.

    **A step is made whole or not at all.** After an exception or Ctrl-C anywhere in a step, the trainer stands where
    the last whole step ended: `state_dict` gives that state, and the next `next` takes the same batch again and goes on
    to the bits of an undisturbed run. The weights, the optimizer's state, the buffers of the model, the generators and
    the batches are as they were; so a batch whose loss is not finite comes again. Ctrl-C in the middle of an update is
    held back until the update is made, in the main thread and under Python's own handler of it; a second one is not.
    A scheduler that raises is moved on at the next `next`, which then gives the step that it had stopped. What is not
    guaranteed: an optimizer that raises within its update, or that has moved the weights before it asks for the loss
    again (L-BFGS), leaves part of the weights moved. Then `state_dict` and `next` raise until a state is loaded.
    What the model, the loss and the batches keep outside of buffers and generators is their own affair.

    Args:
        model: any module, one wrapped in ``DistributedDataParallel`` included.
        loss: takes ``(outputs, targets)`` and returns a scalar tensor.
        optimizer: any ``torch.optim.Optimizer``; it is given a closure, so that L-BFGS works too.
        batches: any iterable of ``(*inputs, targets)``; `Minibatches` is endless and can be resumed, and so can
            whatever has ``state_dict`` and ``load_state_dict``. It is asked for its state before each batch.
        scheduler: any scheduler of ``torch.optim.lr_scheduler``, moved on once a step.
        generators: generators that the model draws from (masks, noise), by name: part of the state.
        autocast: what to compute the outputs and the loss of each step under, such as
            ``torch.autocast("cpu", torch.bfloat16)``. It is entered anew at each step: around the whole loop, its cache
            would keep the casts of the first weights. The loss is not scaled, as float16 needs it.

    Raises:
        DivergedError: when iterated, on a loss that is not finite; the update is not made.
        ValueError: when iterated, on a loss that is not a scalar or depends on no weight that learns; at the first
            step, on an optimizer none of whose parameters gets a gradient.
        TypeError: a ``Dataset`` as batches; when iterated, on a batch that is not a tuple or list of tensors, or on a
            loss that is not a tensor.
        RuntimeError: when iterated, after an update that was left in the middle; with autocast and its cache switched
            on around the trainer.

    Example:
        Gradient descent on (w - 3)² with the rate 1/4 halves the distance to 3 at each step:

        >>> from itertools import islice, repeat
        >>> class Point(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.w = nn.Parameter(torch.tensor(1.0))
        ...     def forward(self, inputs):
        ...         return self.w
        >>> point, batch = Point(), (torch.zeros(1), torch.tensor(3.0))
        >>> optimizer = torch.optim.SGD(point.parameters(), lr=0.25)
        >>> trainer = Trainer(point, lambda w, target: (w - target) ** 2, optimizer, repeat(batch))
        >>> [step.loss for step in islice(trainer, 3)]
        [4.0, 1.0, 0.25]
        >>> next(trainer)
        Step(number=4, loss=0.0625)
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        batches: Iterable[Sequence[Tensor]],
        *,
        scheduler: LRScheduler | ReduceLROnPlateau | None = None,
        generators: Mapping[str, Generator] | None = None,
        autocast: torch.autocast | None = None,
    ) -> None:
        super().__init__(optimizer, batches, scheduler, generators or {})
        self.model, self.loss, self.autocast = model, loss, autocast
        self._last_loss = math.nan
        # Where buffers are kept; what holds them may be replaced at any step.
        self._buffers = [own for module in model.modules() if (own := vars(module).get("_buffers"))]
        own = (parameter for group in optimizer.param_groups for parameter in group["params"])
        self._device_type = next((parameter.device.type for parameter in own), "cpu")

    def __iter__(self) -> Iterator[Step]:
        self._batches.begin()
        return self

    def __repr__(self) -> str:
        parts = type(self.model).__name__, type(self.optimizer).__name__, repr(self._source)
        return f"Trainer({', '.join(parts)}, after {self.steps} steps)"

    def __next__(self) -> Step:
        if self._made:
            return self._finish()
        if self._torn:
            self._refuse_torn()
        states = self._generator_states() if self._batches.batch else self._take_batch()
        if torch.is_autocast_enabled(self._device_type):
            refuse_autocast_cache(self._device_type)
        inputs, targets = inputs_and_targets(self._batches.batch[0])
        buffers = self._buffers and [
            (own, [(name, one, _copy(one)) for name, one in own.items()]) for own in self._buffers
        ]
        losses: list[float] = []

        def forward_and_backward() -> Tensor:
            if losses:
                self._ctrl_c.let_through()
            self.optimizer.zero_grad()
            if self.autocast is None:
                loss = self.loss(self.model(*inputs), targets)
            else:
                with self.autocast:
                    loss = self.loss(self.model(*inputs), targets)
            losses.append(self._finite(loss))
            loss.backward()
            if not self._learns:
                check_gradients(self.model.parameters(), self.optimizer)
            self._ctrl_c.hold_back()
            self._torn = True
            return loss

        try:
            # The optimizer calls it: once for most, several times for L-BFGS. PyTorch says that it has to give a float,
            # and takes what its own examples give, a tensor.
            self.optimizer.step(forward_and_backward)  # type: ignore[arg-type]
            self._made, self._torn, self._learns = losses, False, True
            return self._finish()
        except BaseException as error:
            self._ctrl_c.hold_back()
            if not self._made:
                self._set_generator_states(states)
                _restore_buffers(buffers)
            explain(error, self._batches.batch)
            raise
        finally:
            self._ctrl_c.let_through()

    def _finish(self) -> Step:
        losses = self._made
        if self.scheduler is not None:
            move_on(self.scheduler, self.optimizer, losses[0])
        step = Step(self.steps + 1, losses[0])
        # Python looks for signals at calls, and there is none here: all of these are set, or none.
        self.steps, self._last_loss, self._batches.batch, self._made = step.number, losses[-1], [], None
        return step

    def _finite(self, loss: Tensor) -> float:
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"the loss must be a scalar tensor, not {type(loss).__name__}: autograd follows tensors only"
            )
        if loss.ndim:
            raise ValueError(f"the loss must be a scalar, not a tensor of shape {tuple(loss.shape)}: take its mean")
        value = loss.item()
        if not math.isfinite(value):
            rates = [float(group["lr"]) for group in self.optimizer.param_groups]
            raise DivergedError(self.steps + 1, value, rates, self._last_loss)
        if not loss.requires_grad:
            raise ValueError(NO_GRADIENT)
        return value

    def _learned(self) -> dict[str, Any]:
        return {"last_loss": self._last_loss, "model": self.model.state_dict()}

    def _load_learned(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self._last_loss = state["last_loss"]


def _copy(buffer: Tensor | None) -> Tensor | None:
    return None if buffer is None or is_lazy(buffer) else buffer.detach().clone()


@torch.no_grad()
def _restore_buffers(buffers: Iterable[tuple[dict[str, Any], list[tuple[str, Any, Tensor | None]]]]) -> None:
    for own, before in buffers:
        own.clear()
        for name, buffer, numbers in before:
            own[name] = buffer if numbers is None else buffer.copy_(numbers)


# ----------------------------------------------------------------------------------------------------------------
# Evaluation
# ----------------------------------------------------------------------------------------------------------------


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Inside the ``with`` block the model trains or evaluates; after it every part is in the mode it was found in.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
        >>> with in_mode(model, training=False):
        ...     model[0].training
        False
        >>> model[0].training, model[1].training
        (True, False)
    """
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def evaluate(
    model: nn.Module,
    examples: Sequence[Tensor] | Dataset[Any] | Iterable[Sequence[Tensor]],
    measure: Loss,
    *,
    batch_size: int = 1_000,
) -> float:
    """The mean of a measure over examples, without gradients and in evaluation mode.

    Every part of the model is given back in the mode it was found in.

    Args:
        model: any module.
        examples: ``(*inputs, targets)``, tensors with equal first dimension N; a ``Dataset`` of such examples; or a
            ``DataLoader``, or another iterable of batches ``(*inputs, targets)`` that ends.
        measure: takes ``(outputs, targets)`` of a batch and returns its mean, as losses do; or one value an
            example, of shape (batch,).
        batch_size: examples at a time, 1 or more. It bounds the memory and does not change the result. What comes in
            batches is taken as it comes, and each batch counts by its number of examples.

    Raises:
        ValueError: there are no examples, inputs and targets of different lengths, or a batch size below 1.
        TypeError: something else than tensors or batches of them, `Minibatches`, which never end, or a batch size that
            is not an ``int``.

    Example:
        >>> evaluate(nn.Identity(), (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])), nn.functional.mse_loss)
        4.5
    """
    check_batch_size(batch_size)
    total, count = 0.0, 0
    with in_mode(model, training=False):
        for batch in batches_to_evaluate(examples, batch_size):
            inputs, targets = inputs_and_targets(batch)
            size = _size(batch)
            if not size:
                continue
            total += measure(model(*inputs), targets).cpu().double().mean().item() * size
            count += size
    if not count:
        raise ValueError("evaluate needs at least one example, and no batch had any: have the batches ended before?")
    return total / count


def _size(batch: Iterable[Any]) -> int:
    """The number of examples of a batch."""
    parts = list(batch)
    lengths = [len(part) if part.ndim else None for part in parts if isinstance(part, Tensor)]
    if what_to_do_about_arrays(parts) or not lengths:
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(f"a batch must be a tuple of tensors, not of {kinds}{what_to_do_about_arrays(parts)}")
    if len(set(lengths)) > 1 or lengths[0] is None:
        raise ValueError(f"inputs and targets must have one equal first dimension, the examples, got {lengths}")
    return lengths[0]


def accuracy(
    model: nn.Module,
    examples: Sequence[Tensor] | Dataset[Any] | Iterable[Sequence[Tensor]],
    *,
    batch_size: int = 1_000,
) -> float:
    """The fraction of examples whose largest output is at the target's place, from 0 to 1; nan if an output is nan.

    Args:
        model: gives scores of shape (N, K).
        examples: ``(*inputs, targets)`` with integer targets of shape (N,), a ``Dataset``, or a ``DataLoader`` or
            another iterable of batches that ends, as `evaluate` takes them.
        batch_size: examples at a time, 1 or more.

    Raises:
        ValueError: scores or targets of another shape; no examples; inputs and targets of different lengths; a batch
            size below 1.
        TypeError: as `evaluate`.

    Example:
        >>> scores = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]])
        >>> round(accuracy(nn.Identity(), (scores, torch.tensor([0, 1, 1]))), 3)
        0.667
    """
    return evaluate(model, examples, _is_right, batch_size=batch_size)


def _is_right(scores: Tensor, targets: Tensor) -> Tensor:
    if scores.ndim != 2 or targets.shape != scores.shape[:1]:
        raise ValueError(
            "accuracy needs scores of shape (N, K) and class numbers of shape (N,), "
            f"not {tuple(scores.shape)} and {tuple(targets.shape)}"
        )
    right = (scores.argmax(1) == targets).double()
    return right.where(~scores.isnan().any(1), math.nan)  # the largest of scores that are not numbers means nothing
