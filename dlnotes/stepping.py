"""What a step of training must neither lose nor do in silence, for `Trainer` and `Sweep`.

The batch in hand until its step is whole, Ctrl-C held back while weights move, schedulers that move on or stay; and
what looks like training and is not.
"""

# The C module below the standard `signal`, whose enumerations make a call ten times as long, and each step makes three.
# Typeshed, from which mypy knows the standard library, leaves this module out.
import _signal  # type: ignore[import-not-found]
import math
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import Dataset, IterableDataset

from dlnotes.minibatches import what_to_do_about_arrays

__all__ = [
    "NO_GRADIENT",
    "BatchInHand",
    "CtrlC",
    "check_gradients",
    "explain",
    "inputs_and_targets",
    "move_on",
    "refuse_autocast_cache",
]


NO_GRADIENT = (
    "the loss depends on no weight that learns, so that there is no gradient: were the outputs detached or turned into "
    "numbers, has no parameter requires_grad, or is torch.inference_mode on?"
)


class BatchInHand:
    """The batches, and in ``batch`` the one of the step in progress: a list of it, empty between the steps."""

    def __init__(self, source: Iterable[Any]) -> None:
        if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
            raise TypeError(
                f"batches must give tuples (*inputs, targets) of several examples, and a {type(source).__name__} gives "
                "single ones: wrap it in Minibatches, or in a DataLoader"
            )
        self._iterator = iter(source)
        self._no_step_yet = False
        self.batch: list[Any] = []

    def begin(self) -> None:
        """A loop begins."""
        self._no_step_yet = not self.batch

    def take(self, stacklevel: int = 3) -> None:
        """Take the next batch in hand; ``StopIteration`` where there is none, with a warning from an empty loop."""
        # In C from the iterator into the list, so that Ctrl-C cannot come between.
        self.batch.extend(islice(self._iterator, 1))
        if not self.batch and self._no_step_yet:
            self._no_step_yet = False
            warnings.warn(
                "this loop made no step: the batches have ended, or there were none. For passes without end use "
                "Minibatches, or chain.from_iterable(repeat(loader)) over a DataLoader",
                RuntimeWarning,
                stacklevel,
            )
        self._no_step_yet = False
        if not self.batch:
            raise StopIteration


def inputs_and_targets(batch: Any) -> tuple[list[Any], Any]:
    """The parts of a batch ``(*inputs, targets)``.

    Raises:
        TypeError: it is no tuple or list, or an empty one; the message says how to adapt it.
    """
    if not isinstance(batch, tuple | list) or not batch:
        came = "an empty one" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
        how = "wrap examples in Minibatches, or in itertools.repeat for all of them at each step"
        if isinstance(batch, Tensor):
            came = "a tensor"
        elif isinstance(batch, Mapping):
            names = ", ".join(map(repr, list(batch)[:3]))
            how = f"of the names {names}, choose: ((batch[inputs], batch[targets]) for batch in batches)"
        elif what_to_do_about_arrays([batch]):
            how = "torch.from_numpy makes a tensor of a NumPy array; " + how
        raise TypeError(f"batches must give tuples (*inputs, targets), not {came}: {how}")
    *inputs, targets = batch
    return inputs, targets


def explain(error: BaseException, batch: Iterable[Any]) -> None:
    """Say so where an error comes from NumPy arrays in the batch: no step looks for them before there is one."""
    parts = [part for one in batch for part in one]
    if isinstance(error, Exception) and what_to_do_about_arrays(parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise TypeError(
            f"a batch must be a tuple of tensors, not of {kinds}{what_to_do_about_arrays(parts)}"
        ) from error


def refuse_autocast_cache(device_type: str) -> None:
    """Refuse to step inside ``torch.autocast`` with its cache, which would keep the casts of the first weights.

    Raises:
        RuntimeError: the cache is on.
    """
    if torch.is_autocast_cache_enabled():
        raise RuntimeError(
            "torch.autocast is on around the steps: until it ends, its cache keeps the casts of the first weights, so "
            "that nothing would be learned. Give it to the trainer, Trainer(..., autocast=torch.autocast("
            f"{device_type!r}, torch.bfloat16)), which enters it anew at each step, or switch its cache off "
            "(cache_enabled=False)"
        )


def check_gradients(parameters: Iterable[Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Look whether the optimizer has anything to do.

    Raises:
        ValueError: none of its parameters has a gradient.
    """
    own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if any(parameter.grad is not None for parameter in own):
        return
    shared = {id(parameter) for parameter in parameters} & {id(parameter) for parameter in own}
    why = "the loss does not depend on them" if shared else "they are not those of the model that is trained"
    raise ValueError(
        f"none of the optimizer's {len(own)} parameters got a gradient, so that nothing would be learned: {why}. "
        "Make the optimizer from model.parameters()"
    )


def move_on(
    scheduler: LRScheduler | ReduceLROnPlateau, optimizer: torch.optim.Optimizer, loss: float = math.nan
) -> None:
    """Move a scheduler on by a step; where it raises, leave it and the groups of its optimizer as they were."""
    kept = [(own, dict(own)) for own in [*_attributes(scheduler), *optimizer.param_groups]]
    try:
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(loss)
        else:
            scheduler.step()
    except BaseException:
        for own, before in kept:
            own.clear()
            own.update(before)
        raise


def _attributes(scheduler: Any) -> Iterator[dict[str, Any]]:
    """The attributes of a scheduler and of those that it is made of."""
    yield vars(scheduler)
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _attributes(part)


_SIGINT = int(signal.SIGINT)


class CtrlC:
    """Ctrl-C, held back while something is done that must not be left in the middle.

    Only where it would raise KeyboardInterrupt in this thread: in the main thread, with Python's own handler. A second
    Ctrl-C is let through at once.
    """

    def __init__(self) -> None:
        self._held = self._came = False

    def hold_back(self) -> None:
        """From here on, take note of it only."""
        if (
            not self._held
            and _signal.getsignal(_SIGINT) is signal.default_int_handler
            and threading.get_ident() == threading.main_thread().ident
        ):
            self._held, self._came = True, False
            _signal.signal(_SIGINT, self._note)

    def let_through(self) -> None:
        """From here on, it raises KeyboardInterrupt again; now, if it came meanwhile."""
        if self._held:
            _signal.signal(_SIGINT, signal.default_int_handler)
            self._held = False
            if self._came:
                self._came = False
                raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            self.let_through()
        self._came = True
