"""Many trainings of one small model side by side: the same batches, and for each copy its own weights and settings.

    models = [LogisticClassifier(196, 10) for _ in rates]
    optimizer = SGD([{"params": model.parameters(), "lr": rate} for model, rate in zip(models, rates)], lr=0.1)
    for step in islice(Sweep(models, cross_entropy, optimizer, batches), 500):
        print(step.number, min(step.losses))

A small model keeps the processor busy with calls, not with arithmetic. Stacked into one, a dozen models of 200 inputs
train about twice as fast as one after another; large ones gain nothing (benchmarks/README.md).
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

    Each model ends where `Trainer` would have brought it alone, up to rounding. What differs from model to model is in
    the models' parameters (their first weights), in the generators that their modules hold (the masks of dropout), and
    in the optimizer's parameter groups (rate, momentum, whatever it has); loss and batches are shared. They stay
    ordinary modules, to be looked at, evaluated or saved at any moment. In all else they must be alike. The sweep
    checks this when it is made and when a loop begins: modules, modes, shapes, and attributes that are numbers, texts
    or tuples of them, such as ``p`` of dropout. It cannot check functions, lists and plain tensors: those of the first
    count for all.

    **Divergence is a result here.** A model whose loss is no longer finite is not updated any more, and its loss reads
    nan from then on. The others go on.

    A step is made whole or not at all, as a `Trainer` makes it, and `state_dict` is what the last whole one left. After
    an exception or Ctrl-C before the update, the next `next` takes the same batch again; after it, in the scheduler, it
    finishes the step. A loop that makes no step because the batches have ended warns.

    ``steps`` counts the steps, and ``diverged`` says of each model whether it was left behind.

    Args:
        models: modules of one class with the same settings, in one mode and on one device, without buffers. A random
            layer draws by `dlnotes.randomness.uniform`, as `Dropout` does, from a generator that the module holds, one
            for each model. A single model is trained as `Trainer` would; of other generators that it draws from the
            state knows nothing.
        loss: takes ``(outputs, targets)`` and returns a scalar tensor.
        optimizer: any ``torch.optim.Optimizer`` over the parameters of all models that skips parameters without a
            gradient, as ours and PyTorch's do. What spans all groups (clipping by global norm) would mix the models.
        batches: any iterable of ``(*inputs, targets)``.
        scheduler: any scheduler of ``torch.optim.lr_scheduler`` that needs no loss, moved on once a step.

    Raises:
        ValueError: no models; models that are not alike, with common parameters, or with buffers; when iterated, random
            numbers that are not each model's own, a loss that is not a scalar or depends on no weight that learns; at
            the first step, an optimizer none of whose parameters gets a gradient.
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
        self._look()
        self._numbers = torch.arange(len(self.models), device="cpu")
        super().__init__(optimizer, batches, scheduler, self._named_generators())

    def _look(self) -> None:
        """Look at the models as they are now, and refuse those that cannot be stacked."""
        if not self.models:
            raise ValueError("a sweep needs at least one model")
        self._layouts = [_layout(model) for model in self.models]
        (first, *_), *others = self._layouts
        for alike, *_ in others:
            for place in (*first, *alike):
                one, other = first.get(place, "missing"), alike.get(place, "missing")
                if one != other:
                    raise ValueError(
                        "the models of a sweep must be alike but for the numbers in their parameters, since what the "
                        f"first has counts for all: {place} is {one} in one and {other} in another"
                    )
        self._parameters = [dict(model.named_parameters()) for model in self.models]
        if any(True for model in self.models for _ in model.buffers()):
            raise ValueError("the models of a sweep must have no buffers: a stack of models cannot update them")
        every = [id(parameter) for own in self._parameters for parameter in own.values()]
        if len(set(every)) < len(every):
            raise ValueError("each model of a sweep must have parameters of its own")

    def _named_generators(self) -> dict[str, Generator]:
        every = enumerate(self._layouts)
        return {f"{number}.{place}": one for number, own in every for place, one in own.generators.items()}

    def __iter__(self) -> Iterator[SweepStep]:
        self._look()
        self.generators = self._named_generators()
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
        states = self._generator_states() if self._batches.batch else self._take_batch()
        inputs, targets = inputs_and_targets(self._batches.batch[0])
        try:
            self.optimizer.zero_grad()
            losses = self._losses(inputs, targets)
            values, diverged = losses.tolist(), list(self.diverged)
            # Each loss depends on its own model alone, so that the gradient of the sum holds the gradient of each.
            losses.sum().backward()
            if not self._learns:
                check_gradients((p for own in self._parameters for p in own.values()), self.optimizer)
            for number, (own, value) in enumerate(zip(self._parameters, values, strict=True)):
                diverged[number] |= not math.isfinite(value)
                if diverged[number]:
                    values[number] = math.nan
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
                self._set_generator_states(states)
            explain(error, self._batches.batch)
            raise
        finally:
            self._ctrl_c.let_through()

    def _finish(self) -> SweepStep:
        values, diverged = self._made
        if self.scheduler is not None:
            move_on(self.scheduler, self.optimizer)
        step = SweepStep(self.steps + 1, values)
        # Ctrl-C comes in at calls, and there is none on this line: all of these are set, or none.
        self.steps, self.diverged, self._batches.batch, self._made = step.number, diverged, [], None
        return step

    def _losses(self, inputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """The loss of each model on one batch, (R)."""
        device = next((parameter.device.type for parameter in self._parameters[0].values()), "cpu")
        if len(self.models) > 1 or torch.is_autocast_enabled(device):
            losses = self._losses_at_once(inputs, targets)
        else:
            # A stack of one would take twice as long. Autocast needs it: its cache would keep the casts of the weights
            # themselves, and so of the first ones.
            losses = self._loss(self.models[0](*inputs), targets)[None]
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
        stacked = {name: torch.stack([own[name] for own in self._parameters]) for name in self._parameters[0]}
        _, names, generators = self._layouts[0]

        def loss_of_one(parameters: dict[str, Tensor], number: Tensor) -> Tensor:
            draws = {one: partial(self._draw, name, number) for name, one in generators.items()}
            placed = {place: parameters[name] for place, name in names.items()}
            with drawn_instead(draws):
                outputs = functional_call(self.models[0], placed, tuple(inputs), tie_weights=False)
                return self._loss(outputs, targets)

        try:
            return vmap(loss_of_one)(stacked, self._numbers)
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

    def _draw(self, name: str, number: Tensor, shape: Sequence[int]) -> Tensor:
        """Random numbers for each model, from its own generator of that name."""
        generators = [own.generators[name] for own in self._layouts]
        every = [one for own in self._layouts for one in own.generators.values()]
        if any(every.count(one) > 1 for one in generators):
            raise ValueError(
                f"each model of a sweep must draw from a generator of its own, and several share the one at {name}"
            )
        drawn: Tensor = _ForEachModel.apply(number, tuple(shape), generators)
        return drawn

    def _learned(self) -> dict[str, Any]:
        return {"models": [model.state_dict() for model in self.models], "diverged": list(self.diverged)}

    def _load_learned(self, state: Mapping[str, Any]) -> None:
        if len(state["models"]) != len(self.models):
            raise ValueError(f"the state has {len(state['models'])} models, and this sweep {len(self.models)}")
        if len(state["diverged"]) != len(self.models):
            raise ValueError(f"the state says of {len(state['diverged'])} models whether they diverged, not of all")
        for model, learned in zip(self.models, state["models"], strict=True):
            model.load_state_dict(learned)
        self.diverged = list(state["diverged"])


class _ForEachModel(torch.autograd.Function):
    """Random numbers inside vmap: for the number of each model, from its own generator."""

    # It has no `forward`: inside vmap, the only place where it is used, PyTorch takes the rule `vmap` alone.

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, dims: Any, numbers: Tensor, shape: Any, generators: Sequence[Generator]) -> tuple[Tensor, int]:
        with drawn_instead({}):
            return torch.stack([uniform(shape, generator) for generator in generators]), 0


class _Layout(NamedTuple):
    """The structure of a model, by places: paths of attributes such as ``layers.0.weight``.

    Attributes:
        alike: what all models must have alike: modules and their modes, plain settings, the shapes of parameters, and
            which of the parameters and generators are one. What begins with an underscore is a module's own affair.
        names: of each parameter, the first place where it is: a shared one is at several.
        generators: each at the first place where it is.
    """

    alike: dict[str, Any]
    names: dict[str, str]
    generators: dict[str, Generator]


def _layout(model: nn.Module) -> _Layout:
    alike: dict[str, Any] = {}
    names: dict[str, str] = {}
    generators: dict[str, Generator] = {}
    first: dict[int, str] = {}
    for path, module in model.named_modules():
        before = f"{path}." if path else ""
        alike[path or "the model"] = (type(module), "in training" if module.training else "in evaluation")
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            place = before + name
            names[place] = first.setdefault(id(parameter), place)
            alike[place] = (names[place], *parameter.shape, parameter.dtype, parameter.device)
        for name, value in vars(module).items():
            place = before + name
            if isinstance(value, Generator):
                generators.setdefault(first.setdefault(id(value), place), value)
                alike[place] = f"the generator of {first[id(value)]}"
            elif not name.startswith("_") and _is_plain(value):
                alike[place] = value
    return _Layout(alike, names, generators)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
