"""Many trainings of one small model side by side: the same batches, and for each copy its own weights and settings.

    models = [LogisticClassifier(196, 10) for _ in rates]
    optimizer = SGD([{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates)], lr=0.1)
    for step in islice(Sweep(models, cross_entropy, optimizer, batches), 500):
        print(step.number, min(step.losses))

A small model keeps the processor busy with calls, not with arithmetic. Stacked into one, a dozen small models take
little more time than one of them, as long as they have some hundred inputs; large ones gain nothing (`make bench` says
where). A single model is faster with `Trainer`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, vmap
from torch.optim.lr_scheduler import LRScheduler

from dlnotes.randomness import drawn_instead, uniform
from dlnotes.resuming import Resumable
from dlnotes.stepping import NO_GRADIENT, check_gradients, explain, inputs_and_targets, move_on

__all__ = ["Sweep", "SweepStep"]


class SweepStep(NamedTuple):
    """What one step of a sweep tells: its number, counted from 1, and each model's loss before the update."""

    number: int
    losses: list[float]


class Sweep(Resumable):
    """Gradient descent of several models at once, as an iterator: one `next` is one step of each.

    Each model ends where `Trainer` would have brought it alone, up to rounding. What differs from model to model is
    in the models' parameters (their first weights), in the generators that their modules hold (the masks of dropout),
    and in the optimizer's parameter groups (rate, momentum, whatever it has); loss and batches are shared. They stay
    ordinary modules, to be looked at, evaluated or saved at any moment.

    **Divergence is a result here.** A model whose loss is no longer finite is not updated any more, and its loss reads
    nan from then on. The others go on.

    A step is made whole or not at all, as a `Trainer` makes it, and `state_dict` is what the last whole one left: after
    an exception or Ctrl-C the next `next` takes the same batch again. A loop that makes no step because the batches
    have ended warns.

    Args:
        models: modules of one class with the same settings, in one mode and on one device, without buffers. A random
            layer draws by `dlnotes.randomness.uniform`, as `Dropout` does, from a generator that the module holds, one
            for each model.
        loss: takes ``(outputs, targets)`` and returns a scalar tensor.
        optimizer: any ``torch.optim.Optimizer`` over the parameters of all models that skips parameters without a
            gradient, as ours and PyTorch's do. What spans all groups (clipping by global norm) would mix the models.
        batches: any iterable of ``(*inputs, targets)``.
        scheduler: any scheduler of ``torch.optim.lr_scheduler`` that needs no loss, moved on once a step.

    Raises:
        ValueError: no models; models of different classes, modes or settings, with parameters of different names,
            shapes, dtypes or devices, with common parameters, or with buffers; when iterated, random numbers that are
            not each model's own, a loss that is not a scalar or depends on no weight that learns; at the first step, an
            optimizer none of whose parameters gets a gradient.
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
        self.models, self.loss = list(models), loss
        self.diverged = [False] * len(self.models)
        self._parameters = [dict(model.named_parameters()) for model in self.models]
        self._generators = [_generators_of(model) for model in self.models]
        self._check()
        self._places = torch.arange(len(self.models), device="cpu")
        named = {f"{place}.{name}": one for place, own in enumerate(self._generators) for name, one in own.items()}
        super().__init__(optimizer, batches, scheduler, named)

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
        if any(own.keys() != self._generators[0].keys() for own in self._generators):
            raise ValueError(
                "the models of a sweep must have their generators, their own or shared, at the same places"
            )
        for settings in zip(
            *[[module.extra_repr() for module in model.modules()] for model in self.models], strict=True
        ):
            if len(set(settings)) > 1:
                raise ValueError(
                    "the models of a sweep must have the same settings, since those of the first are taken for all, "
                    f"and not {' and '.join(sorted(set(settings)))}"
                )

    def __iter__(self) -> Iterator[SweepStep]:
        self._batches.begin()
        return self

    def __repr__(self) -> str:
        kind = type(self.models[0]).__name__
        return f"Sweep({len(self.models)} × {kind}, {type(self.optimizer).__name__}, after {self.steps} steps)"

    def __next__(self) -> SweepStep:
        if self._made:
            return self._finish()
        if self._torn:
            self._refuse_torn()
        chance = self._chance() if self._batches.batch else self._take_batch()
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
            return self._finish()
        except BaseException as error:
            self._ctrl_c.hold_back()
            if not self._made:
                self._set_chance(chance)
            explain(error, self._batches.batch)
            raise
        finally:
            self._ctrl_c.let_through()

    def _finish(self) -> SweepStep:
        values, diverged = self._made
        if self.scheduler is not None:
            move_on(self.scheduler, self.optimizer)
        step = SweepStep(self.steps + 1, values)
        # Python looks for signals at calls, and there is none here: all of these are set, or none.
        self.steps, self.diverged, self._batches.batch, self._made = step.number, diverged, [], None
        return step

    def _losses(self, inputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """The loss of each model on one batch, (R)."""
        if len(self.models) == 1:  # there is nothing to stack, and the stack would take twice as long
            losses = self._loss(self.models[0](*inputs), targets)[None]
        else:
            losses = self._losses_at_once(inputs, targets)
        if not losses.requires_grad:
            raise ValueError(NO_GRADIENT)
        return losses

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = self.loss(outputs, targets)
        if not isinstance(loss, Tensor):
            raise TypeError(f"the loss must be a scalar tensor, not {type(loss).__name__}")
        if loss.ndim:
            raise ValueError(f"the loss must be a scalar, not a tensor of shape {tuple(loss.shape)}: take its mean")
        return loss

    def _losses_at_once(self, inputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """The models are mapped over as one whose parameters, and random numbers, have a dimension more."""
        names = self._parameters[0]
        stacked = {name: torch.stack([own[name] for own in self._parameters]) for name in names}

        def loss_of_one(parameters: dict[str, Tensor], place: Tensor) -> Tensor:
            draws = {one: partial(self._draw, name, place) for name, one in self._generators[0].items()}
            with drawn_instead(draws):
                return self._loss(functional_call(self.models[0], parameters, tuple(inputs)), targets)

        try:
            return vmap(loss_of_one)(stacked, self._places)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            alone = "train them one by one, each with a Trainer of its own"
            if "random" not in str(error):
                raise ValueError(f"the models of a sweep or their loss cannot be computed at once: {alone}") from error
            raise ValueError(
                "the models of a sweep or their loss draw random numbers that are not each model's own: draw them by "
                f"dlnotes.randomness.uniform, as Dropout does, from a generator that a module holds; or {alone}"
            ) from error

    def _draw(self, name: str, place: Tensor, shape: Sequence[int]) -> Tensor:
        """Random numbers for each model, from its own generator of that name."""
        generators = [own[name] for own in self._generators]
        if len(set(generators)) < len(generators):
            raise ValueError(
                f"each model of a sweep must draw from a generator of its own, and several share the one at {name}"
            )
        drawn: Tensor = _ForEachModel.apply(place, tuple(shape), generators)
        return drawn

    def _learned(self) -> dict[str, Any]:
        return {"models": [model.state_dict() for model in self.models], "diverged": list(self.diverged)}

    def _load_learned(self, state: Mapping[str, Any]) -> None:
        if len(state["models"]) != len(self.models):
            raise ValueError(f"the state has {len(state['models'])} models, and this sweep {len(self.models)}")
        for model, learned in zip(self.models, state["models"], strict=True):
            model.load_state_dict(learned)
        self.diverged = list(state["diverged"])


class _ForEachModel(torch.autograd.Function):
    """The numbers of the model at a place; where vmap computes all models at once, those of all, one above another."""

    @staticmethod
    def forward(place: Tensor, shape: tuple[int, ...], generators: Sequence[Generator]) -> Tensor:
        return uniform(shape, generators[int(place)])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, dims: Any, places: Tensor, shape: Any, generators: Sequence[Generator]) -> tuple[Tensor, int]:
        with drawn_instead({}):
            return torch.stack([uniform(shape, generator) for generator in generators]), 0


def _generators_of(model: nn.Module) -> dict[str, Generator]:
    """The generators that modules of a model hold, by where they are; one that is held twice, where it comes first."""
    found: dict[Generator, str] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Generator):
                found.setdefault(value, f"{path}.{name}" if path else name)
    return {name: generator for generator, name in found.items()}
