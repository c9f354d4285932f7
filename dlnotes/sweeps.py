"""Many trainings of one small model side by side: the same batches, and for each copy its own weights and settings.

    models = [LogisticClassifier(196, 10) for _ in rates]
    optimizer = SGD([{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates)], lr=0.1)
    for step in islice(Sweep(models, cross_entropy, optimizer, batches), 500):
        print(step.number, min(step.losses))

A small model keeps the processor busy with calls, not with arithmetic. Stacked into one, a dozen small models take
little more time than one of them, as long as they have some hundred inputs; large ones gain little. A single model is
faster with `Trainer`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim.lr_scheduler import LRScheduler

from dlnotes.stepping import (
    NO_GRADIENT,
    BatchInHand,
    CtrlC,
    check_gradients,
    explain,
    inputs_and_targets,
    move_on,
)

__all__ = ["Sweep", "SweepStep"]


class SweepStep(NamedTuple):
    """What one step of a sweep tells: its number, counted from 1, and each model's loss before the update."""

    number: int
    losses: list[float]


class Sweep:
    """Gradient descent of several models at once, as an iterator: one `next` is one step of each.

    Each model ends where `Trainer` would have brought it alone, up to rounding. What differs from model to model is
    in the models' parameters (their first weights) and in the optimizer's parameter groups (rate, momentum, whatever it
    has); loss and batches are shared, and all else about the models is taken from the first of them. They stay ordinary
    modules, to be looked at, evaluated or saved at any moment.

    **Divergence is a result here.** A model whose loss is no longer finite is not updated any more, and its loss reads
    nan from then on. The others go on.

    A step is made whole or not at all, as a `Trainer` makes it: after an exception or Ctrl-C the next `next` takes the
    same batch again. A loop that makes no step because the batches have ended warns.

    Args:
        models: modules of one class, in one mode and on one device, without buffers and without random layers such as
            dropout, which would need masks of its own for each: train those one by one, with `Trainer`.
        loss: takes ``(outputs, targets)`` and returns a scalar tensor.
        optimizer: any ``torch.optim.Optimizer`` over the parameters of all models that skips parameters without a
            gradient, as ours and PyTorch's do. What spans all groups (clipping by global norm) would mix the models.
        batches: any iterable of ``(*inputs, targets)``.
        scheduler: any scheduler of ``torch.optim.lr_scheduler`` that needs no loss, moved on once a step.

    Raises:
        ValueError: no models; models of different classes or modes, with parameters of different names, shapes, dtypes
            or devices, with common parameters, or with buffers; when iterated, models or a loss that draw random
            numbers, a loss that is not a scalar or depends on no weight that learns; at the first step, an optimizer
            none of whose parameters gets a gradient.
        TypeError: a ``Dataset`` as batches; when iterated, a batch that is not a tuple or list of tensors, or a loss
            that is not a tensor.
        RuntimeError: when iterated, after an update that was left in the middle by an error of the optimizer.

    Example:
        Gradient descent on (w - 3)² from 1, where the rate 1/4 halves the distance and the rate 1 mirrors it:

        >>> from itertools import islice, repeat
        >>> class Point(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.w = nn.Parameter(torch.tensor(1.0))
        ...     def forward(self, inputs):
        ...         return self.w
        >>> points = [Point(), Point()]
        >>> groups = [{"params": point.parameters(), "lr": lr} for point, lr in zip(points, (0.25, 1.0))]
        >>> optimizer = torch.optim.SGD(groups)
        >>> batches = repeat((torch.zeros(1), torch.tensor(3.0)))
        >>> [step.losses for step in islice(Sweep(points, lambda w, goal: (w - goal) ** 2, optimizer, batches), 3)]
        [[4.0, 4.0], [1.0, 4.0], [0.25, 4.0]]
        >>> [point.w.item() for point in points]
        [2.75, 5.0]
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        batches: Iterable[Sequence[Tensor]],
        *,
        scheduler: LRScheduler | None = None,
    ) -> None:
        self.models, self.loss, self.optimizer, self.scheduler = list(models), loss, optimizer, scheduler
        self.steps = 0
        self.diverged = [False] * len(self.models)
        self._parameters = [dict(model.named_parameters()) for model in self.models]
        self._batches = BatchInHand(batches)
        self._made: tuple[list[float], list[bool]] | None = None  # by an update, as long as its step is not whole
        self._torn = False  # whether an update began and did not end
        self._learns = False  # whether a step has given the optimizer gradients
        self._ctrl_c = CtrlC()
        self._check()

    def _check(self) -> None:
        if not self.models:
            raise ValueError("a sweep needs at least one model")
        parts = [[(type(module), module.training) for module in model.modules()] for model in self.models]
        if any(own != parts[0] for own in parts):
            raise ValueError("the models of a sweep must be of one class, with all their parts in the same mode")
        kinds = [{name: (p.shape, p.dtype, p.device) for name, p in own.items()} for own in self._parameters]
        if any(kind != kinds[0] for kind in kinds):
            raise ValueError("the models of a sweep must have parameters of the same names, shapes, dtypes and devices")
        if any(True for model in self.models for _ in model.buffers()):
            raise ValueError("the models of a sweep must have no buffers: a stack of models cannot update them")
        if len({id(p) for own in self._parameters for p in own.values()}) < len(kinds[0]) * len(kinds):
            raise ValueError("each model of a sweep must have parameters of its own")

    def __iter__(self) -> Iterator[SweepStep]:
        self._batches.begin()
        return self

    def __repr__(self) -> str:
        kind = type(self.models[0]).__name__
        return f"Sweep({len(self.models)} × {kind}, {type(self.optimizer).__name__}, after {self.steps} steps)"

    def __next__(self) -> SweepStep:
        if self._made:
            return self._finish(*self._made)
        if self._torn:
            raise RuntimeError(
                f"the update of step {self.steps + 1} was left in the middle: part of the weights may have moved. Make "
                "a new Sweep to go on from the models as they are"
            )
        if not self._batches.batch:
            self._batches.take()
        inputs, targets = inputs_and_targets(self._batches.batch[0])
        try:
            self.optimizer.zero_grad()
            losses = self._losses(inputs, targets)
            values, diverged = losses.tolist(), list(self.diverged)
            # Each loss depends on its own model alone, so that the gradient of the sum holds the gradient of each.
            losses.sum().backward()
            if not self._learns:
                check_gradients((p for own in self._parameters for p in own.values()), self.optimizer)
            for place, (own, value) in enumerate(zip(self._parameters, values, strict=True)):
                diverged[place] |= not math.isfinite(value)
                if diverged[place]:
                    values[place] = math.nan
                    for parameter in own.values():
                        parameter.grad = None
            self._ctrl_c.hold_back()
            self._torn = True
            self.optimizer.step()
            self._made, self._torn, self._learns = (values, diverged), False, True
            return self._finish(values, diverged)
        except BaseException as error:
            explain(error, self._batches.batch)
            raise
        finally:
            self._ctrl_c.let_through()

    def _finish(self, values: list[float], diverged: list[bool]) -> SweepStep:
        """What is left of a step once its update is made."""
        if self.scheduler is not None:
            move_on(self.scheduler, self.optimizer)
        step = SweepStep(self.steps + 1, values)
        # Python looks for signals at calls, and there is none here: all of these are set, or none.
        self.steps, self.diverged, self._batches.batch, self._made = step.number, diverged, [], None
        return step

    def _losses(self, inputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """The loss of each model on one batch, (R)."""
        names = self._parameters[0]
        stacked = {name: torch.stack([own[name] for own in self._parameters]) for name in names}

        def loss_of_one(parameters: dict[str, Tensor]) -> Tensor:
            loss = self.loss(functional_call(self.models[0], parameters, tuple(inputs)), targets)
            if not isinstance(loss, Tensor):
                raise TypeError(f"the loss must be a scalar tensor, not {type(loss).__name__}")
            if loss.ndim:
                raise ValueError(f"the loss must be a scalar, not a tensor of shape {tuple(loss.shape)}: take its mean")
            return loss

        try:
            losses = vmap(loss_of_one)(stacked)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            why = "draw random numbers, as dropout does" if "random" in str(error) else "cannot be computed at once"
            raise ValueError(
                f"the models of a sweep or their loss {why}: train them one by one, each with a Trainer of its own"
            ) from error
        if not losses.requires_grad:
            raise ValueError(NO_GRADIENT)
        return losses
