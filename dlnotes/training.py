"""Training as something you iterate: minibatches, the trainer, evaluation, checkpoints.

    trainer = Trainer(model, loss, optimizer, Minibatches(letters.train, 50, chance["batches"]))
    for step in islice(trainer, 2_000):
        if step.number % 100 == 0 and accuracy(model, letters.validation) > 0.9:
            break

A budget is `itertools.islice`, stopping is ``break``, logging is ``if``: there are no callbacks to learn.
"""

import hashlib
import io
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dlnotes.files import write_whole
from dlnotes.randomness import stream

__all__ = [
    "CheckpointError",
    "DivergedError",
    "Minibatches",
    "Step",
    "Trainer",
    "accuracy",
    "evaluate",
    "load_checkpoint",
    "save_checkpoint",
]

Loss = Callable[[Tensor, Tensor], Tensor]


# ----------------------------------------------------------------------------------------------------------------
# Minibatches
# ----------------------------------------------------------------------------------------------------------------


class Minibatches:
    """An endless stream of minibatches, reshuffled each pass.

    The order of a pass is a function of the seed and of the pass's number alone, so that the state is three numbers
    and any position can be gone back to. Each pass gives every example once; where the batch size does not divide
    the number of examples, a pass ends with a smaller batch unless ``drop_last`` is set.

    Args:
        examples: tensors with equal first dimension N, such as ``(inputs, targets)``.
        batch_size: examples a batch, from 1 to N.
        generator: where the seed of the order is drawn from, once.
        drop_last: leave out the smaller batch at the end of a pass (each pass leaves out other examples).

    Raises:
        ValueError: no tensors, no examples, first dimensions that differ, or a batch size outside 1 to N.
        TypeError: something else than tensors, or a batch size that is not an ``int``.

    Example:
        >>> from itertools import islice
        >>> from dlnotes.randomness import stream
        >>> batches = Minibatches((torch.arange(5),), 2, stream(0, "batches"))
        >>> one_pass = [batch for (batch,) in islice(batches, 3)]
        >>> [len(batch) for batch in one_pass], sorted(torch.cat(one_pass).tolist())
        ([2, 2, 1], [0, 1, 2, 3, 4])
    """

    def __init__(
        self, examples: Sequence[Tensor], batch_size: int, generator: Generator, *, drop_last: bool = False
    ) -> None:
        if isinstance(examples, Tensor) or not all(isinstance(tensor, Tensor) for tensor in examples):
            kinds = ", ".join(type(part).__name__ for part in examples[:3])
            raise TypeError(
                "examples must be a tuple of tensors, such as (inputs, targets) or the train part of a data set, "
                f"not {type(examples).__name__} of {kinds}"
            )
        self._tensors = tuple(examples)
        lengths = [len(tensor) for tensor in self._tensors]
        if not lengths or len(set(lengths)) > 1 or not lengths[0]:
            raise ValueError(f"examples must be tensors with one equal first dimension of 1 or more, got {lengths}")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int):
            raise TypeError(f"batch_size must be an int, not {type(batch_size).__name__} ({batch_size!r})")
        if not 1 <= batch_size <= lengths[0]:
            raise ValueError(f"batch_size must be from 1 to the {lengths[0]} examples there are, not {batch_size}")
        self._batch_size = batch_size
        # Where the last batch of a pass must begin.
        self._end = lengths[0] - batch_size + 1 if drop_last else lengths[0]
        self._seed = int(torch.randint(2**62, (), generator=generator))
        self._go_to(number=0, position=0)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return self

    def __next__(self) -> tuple[Tensor, ...]:
        if self._position >= self._end:
            self._go_to(self._pass + 1, 0)
        chosen = self._order[self._position : self._position + self._batch_size]
        self._position += self._batch_size
        return tuple(tensor.index_select(0, chosen) for tensor in self._tensors)

    def _go_to(self, number: int, position: int) -> None:
        # Drawn on the CPU whatever the device, so that hardware never changes the order.
        order = torch.randperm(len(self._tensors[0]), generator=stream(self._seed, f"pass {number}"))
        self._order = order.to(self._tensors[0].device)
        self._pass, self._position = number, position

    def __repr__(self) -> str:
        return f"Minibatches({len(self._tensors[0])} examples, batch_size={self._batch_size})"

    def state_dict(self) -> dict[str, int]:
        """The seed, the pass and the position in it: all that the order depends on, and the two sizes."""
        sizes = {"examples": len(self._tensors[0]), "batch_size": self._batch_size, "end": self._end}
        return {"seed": self._seed, "pass": self._pass, "position": self._position, **sizes}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to where ``state`` was taken.

        Raises:
            ValueError: it was taken with another number of examples or batch size, or another ``drop_last``.
        """
        here = self.state_dict()
        for size in ("examples", "batch_size", "end"):
            if state[size] != here[size]:
                raise ValueError(f"the state was taken with {size}={state[size]}, and here it is {here[size]}")
        self._seed = state["seed"]
        self._go_to(state["pass"], state["position"])


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


class Trainer:
    """Gradient descent as an iterator: one `next` is one step.

    A step is the loop that every course draws: take a batch, compute the loss, go backward, update. The trainer is
    its own iterator, so that a second `itertools.islice` goes on where the first ended; it ends, for good, when
    ``batches`` ends (for passes without end over a ``DataLoader``: ``chain.from_iterable(repeat(loader))``). It
    changes neither the mode of the model nor its device: call ``model.train()`` and ``model.to(device)`` as in any
    PyTorch program.

    Args:
        model: any module, one wrapped in ``DistributedDataParallel`` included.
        loss: takes ``(outputs, targets)`` and returns a scalar tensor.
        optimizer: any ``torch.optim.Optimizer``; it is given a closure, so that L-BFGS works too.
        batches: any iterable of ``(*inputs, targets)``; `Minibatches` is endless and can be resumed.
        scheduler: any scheduler of ``torch.optim.lr_scheduler``, moved on once a step.
        generators: generators that the model draws from (masks, noise), by name: part of the state.

    Raises:
        DivergedError: when iterated, on a loss that is not finite; the update is not made.
        ValueError: when iterated, on a loss that is not a scalar.
        TypeError: when iterated, on a batch that is not a tuple of tensors.

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
    ) -> None:
        self.model, self.loss, self.optimizer, self.scheduler = model, loss, optimizer, scheduler
        self.generators = dict(generators or {})
        self.steps = 0
        self._source = batches
        self._batches = iter(batches)
        self._last_loss = math.nan

    def __iter__(self) -> Iterator[Step]:
        return self

    def __repr__(self) -> str:
        parts = type(self.model).__name__, type(self.optimizer).__name__, repr(self._source)
        return f"Trainer({', '.join(parts)}, after {self.steps} steps)"

    def __next__(self) -> Step:
        batch = next(self._batches)
        if isinstance(batch, Tensor):
            raise TypeError(
                "batches must give tuples (*inputs, targets), not a tensor: wrap examples in Minibatches, or in "
                "itertools.repeat for all of them at each step"
            )
        *inputs, targets = batch
        losses: list[float] = []

        def forward_and_backward() -> Tensor:
            self.optimizer.zero_grad()
            loss = self.loss(self.model(*inputs), targets)
            losses.append(self._finite(loss))
            loss.backward()
            return loss

        # The optimizer calls it: once for most, several times for L-BFGS. PyTorch says that it has to give a float, and
        # takes what its own examples give, a tensor.
        self.optimizer.step(forward_and_backward)  # type: ignore[arg-type]
        self.steps += 1
        self._last_loss = losses[-1]
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(losses[0])
        elif self.scheduler is not None:
            self.scheduler.step()
        return Step(self.steps, losses[0])

    def _finite(self, loss: Tensor) -> float:
        if loss.ndim:
            raise ValueError(f"the loss must be a scalar, not a tensor of shape {tuple(loss.shape)}: take its mean")
        value = loss.item()
        if not math.isfinite(value):
            rates = [float(group["lr"]) for group in self.optimizer.param_groups]
            raise DivergedError(self.steps + 1, value, rates, self._last_loss)
        return value

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on: plain dictionaries, numbers and tensors.

        The model, the optimizer, the scheduler, the position in the batches (where they keep one), the generators,
        and PyTorch's global generators. Like PyTorch's own ``state_dict`` it refers to the living tensors:
        `save_checkpoint` writes them down; ``copy.deepcopy`` keeps them in memory.
        """
        return {
            "steps": self.steps,
            "last_loss": self._last_loss,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "batches": self._source.state_dict() if hasattr(self._source, "state_dict") else None,
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "global": {"cpu": torch.get_rng_state(), "cuda": _cuda_states()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on, to the same bits, where `state_dict` was taken.

        Raises:
            TypeError: the batches keep no state, so that the run could not go on where it was.
            ValueError: it is no state of a trainer; or it has a scheduler or generators that this trainer lacks, or
                the other way round; or its batches had other sizes.
        """
        missing = self.state_dict().keys() - state.keys()
        if missing:
            raise ValueError(
                f"the state lacks {', '.join(sorted(missing))}: it is not one that Trainer.state_dict gave"
            )
        if not hasattr(self._source, "load_state_dict") or state["batches"] is None:
            raise TypeError(
                f"batches of type {type(self._source).__name__} keep no state (no state_dict and load_state_dict), "
                "so that training cannot go on where it was: use Minibatches, or give them both"
            )
        if (state["scheduler"] is None) != (self.scheduler is None):
            raise ValueError("the state and this trainer differ: one has a scheduler and the other has none")
        if set(state["generators"]) != set(self.generators):
            raise ValueError(
                f"the state has the generators {sorted(state['generators'])}, this trainer {sorted(self.generators)}"
            )
        self._source.load_state_dict(state["batches"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self._batches = iter(self._source)
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        torch.set_rng_state(state["global"]["cpu"])
        if state["global"]["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["global"]["cuda"])
        self.steps, self._last_loss = state["steps"], state["last_loss"]


def _cuda_states() -> list[Tensor]:
    """The states of the global generators of the devices in use; none where CUDA was never touched."""
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


# ----------------------------------------------------------------------------------------------------------------
# Evaluation
# ----------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(model: nn.Module, examples: Sequence[Tensor], measure: Loss, *, batch_size: int = 1_000) -> float:
    """The mean of a measure over examples, without gradients and in evaluation mode.

    Every part of the model is given back in the mode it was found in.

    Args:
        model: any module.
        examples: ``(*inputs, targets)``, tensors with equal first dimension N.
        measure: takes ``(outputs, targets)`` of a batch and returns its mean, as losses do; or one value an
            example, of shape (batch,).
        batch_size: examples at a time, 1 or more. It bounds the memory and does not change the result.

    Raises:
        ValueError: there are no examples, or a batch size below 1.

    Example:
        >>> evaluate(nn.Identity(), (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0])), nn.functional.mse_loss)
        4.5
    """
    count = len(examples[0]) if examples else 0
    if not count:
        raise ValueError("evaluate needs at least one example")
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        total = 0.0
        for start in range(0, count, batch_size):
            *inputs, targets = (tensor[start : start + batch_size] for tensor in examples)
            total += measure(model(*inputs), targets).cpu().double().mean().item() * len(targets)
    finally:
        for module, training in modes.items():
            module.training = training
    return total / count


def accuracy(model: nn.Module, examples: Sequence[Tensor], *, batch_size: int = 1_000) -> float:
    """The fraction of examples whose largest output is at the target's place, from 0 to 1; nan if an output is nan.

    Args:
        model: gives scores of shape (N, K).
        examples: ``(*inputs, targets)`` with integer targets of shape (N,).
        batch_size: examples at a time, 1 or more.

    Raises:
        ValueError: scores or targets of another shape; no examples; a batch size below 1.

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


# ----------------------------------------------------------------------------------------------------------------
# Checkpoints
# ----------------------------------------------------------------------------------------------------------------

_PLAIN = {Tensor, nn.Parameter, str, bytes, int, float, bool, type(None)}
_SEAL = b"\nsha256:"
_SEAL_LENGTH = len(_SEAL) + 64


class CheckpointError(Exception):
    """A checkpoint is damaged, cut short, or was not written by `save_checkpoint`."""


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any]) -> Path:
    """Write a state of plain dictionaries, numbers and tensors, whole or not at all, sealed with its SHA-256.

    The seal stands behind the archive that ``torch.save`` makes, in the same file, so that no crash can part the
    two; ``torch.load`` reads the file as well, without noticing damage.

    Raises:
        TypeError: something in the state is not plain; the message says where. Nothing is written.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = save_checkpoint(f"{folder.name}/run.pt", {"steps": 3, "w": torch.ones(2)})
        >>> load_checkpoint(path)
        {'steps': 3, 'w': tensor([1., 1.])}
        >>> folder.cleanup()
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"a checkpoint is made of a state, not of a {type(state).__name__}: give its state_dict()")
    _check_plain(state, "state")
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    archive = buffer.getvalue()
    return write_whole(path, archive + _SEAL + hashlib.sha256(archive).hexdigest().encode())


def _check_plain(value: Any, where: str) -> None:
    if type(value) in (dict, OrderedDict):
        for name, one in value.items():
            _check_plain(name, f"a name in {where}")
            _check_plain(one, f"{where}[{name!r}]")
    elif type(value) in (list, tuple):
        for place, one in enumerate(value):
            _check_plain(one, f"{where}[{place}]")
    elif type(value) not in _PLAIN:  # the exact type: a subclass, such as NumPy's float64, could not be loaded
        advice = ": give its state_dict()" if hasattr(value, "state_dict") else ""
        raise TypeError(f"{where} must be plain (numbers, texts, tensors), not {type(value).__name__}{advice}")


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU, after checking each byte of it. No code in the file can run.

    ``torch.load`` alone does not check: most files with one flipped bit load, with wrong numbers in them.

    Raises:
        CheckpointError: the bytes do not fit their seal, or there is none.
        FileNotFoundError: there is no such file.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = save_checkpoint(f"{folder.name}/run.pt", {"steps": 3})
        >>> _ = path.write_bytes(path.read_bytes().replace(b"steps", b"stops"))
        >>> load_checkpoint(path)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        dlnotes.training.CheckpointError: ...run.pt is damaged: expected SHA-256 ...
        >>> folder.cleanup()
    """
    content = Path(path).read_bytes()
    archive, seal = content[:-_SEAL_LENGTH], content[-_SEAL_LENGTH:]
    found = hashlib.sha256(archive).hexdigest()
    if not seal.startswith(_SEAL):
        raise CheckpointError(f"{path} does not end with a checksum: cut short, or not written by save_checkpoint")
    expected = seal.removeprefix(_SEAL).decode("ascii", "replace")
    if found != expected:
        raise CheckpointError(f"{path} is damaged: expected SHA-256 {expected}, found {found}")
    loaded: dict[str, Any] = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    return loaded
