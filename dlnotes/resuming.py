"""The state from which a training can be resumed, for `Trainer` and `Sweep`: all that its next step depends on."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Generator, Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dlnotes.minibatches import Minibatches
from dlnotes.stepping import BatchInHand, CtrlC

__all__ = ["Resumable"]


class Resumable(ABC):
    """What is stepped besides the models: optimizer, scheduler, batches, generators; and the state of all of it.

    How many models there are, what a step of theirs gives and what of it is kept, only `Trainer` and `Sweep` know: they
    define `_learned`, `_load_learned` and `_finish`. By itself this class is never made.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        batches: Iterable[Sequence[Tensor]],
        scheduler: LRScheduler | ReduceLROnPlateau | None,
        generators: Mapping[str, Generator],
    ) -> None:
        self.optimizer, self.scheduler, self.generators = optimizer, scheduler, dict(generators)
        self.steps = 0
        self._source = batches
        self._batches = BatchInHand(batches)
        self._before: dict[str, Any] = {}  # the state of batches and generators before the batch in hand
        self._made: Any = None  # the result of an update whose step is not finished yet, else None
        self._torn = False  # whether an update began and did not end
        self._draws_nothing = type(batches) is Minibatches and isinstance(batches._examples, tuple)
        self._learns = False  # whether a step has given the optimizer gradients
        self._ctrl_c = CtrlC()

    @abstractmethod
    def _learned(self) -> dict[str, Any]:
        """The entries of the state that belong to the models."""

    @abstractmethod
    def _load_learned(self, state: Mapping[str, Any]) -> None:
        """Load those entries into the models."""

    @abstractmethod
    def _finish(self) -> Any:
        """Finish a step after its update, and return what it gave."""

    def _take_batch(self) -> dict[str, Any]:
        """Take the next batch in hand, and return the states of the generators after it."""
        states = self._generator_states()
        self._before = {"batches": self._position(), **states}
        try:
            self._batches.take(stacklevel=4)
        except BaseException:
            self._set_generator_states(states)
            raise
        # Minibatches draw from their own generator alone, unless they hold a data set of the user's.
        return states if self._draws_nothing else self._generator_states()

    def _refuse_torn(self) -> NoReturn:
        name = type(self).__name__
        raise RuntimeError(
            f"the update of step {self.steps + 1} was left in the middle: part of the weights may have moved, which is "
            f"no state to keep or to go on from. Load a checkpoint by load_state_dict, or make a new {name}"
        )

    def _position(self) -> Any:
        """The state of the batches, where they keep one."""
        if not hasattr(self._source, "state_dict"):
            return None
        state = self._source.state_dict()
        # Copied, because the next batch may change it in place.
        return state if isinstance(self._source, Minibatches) else copy.deepcopy(state)

    def _generator_states(self) -> dict[str, Any]:
        """The states of all generators."""
        return {
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "global": {"cpu": torch.get_rng_state(), "cuda": _cuda_states()},
        }

    def _set_generator_states(self, state: Mapping[str, Any]) -> None:
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        torch.set_rng_state(state["global"]["cpu"])
        if state["global"]["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["global"]["cuda"])

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on, as far as it is known here: plain dictionaries, numbers and tensors.

        The models, the optimizer, the scheduler, the position in the batches (where they keep one), the generators,
        and PyTorch's global generators, all as the last whole step left them. Like PyTorch's own ``state_dict`` it
        refers to the living tensors: `save_checkpoint` writes them down; ``copy.deepcopy`` keeps them in memory.
        Not in it are the generators of NumPy and Python, and those that nobody named. A step whose update was made and
        whose scheduler failed is finished first.

        Raises:
            RuntimeError: an update was left in the middle, so that there is no such state.
        """
        if self._torn:
            self._refuse_torn()
        if self._made:
            self._finish()
        return self._state()

    def _state(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            **self._learned(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            **(self._before if self._batches.batch else {"batches": self._position(), **self._generator_states()}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state; training then goes on from it bit for bit. If loading fails, nothing changes.

        Raises:
            TypeError: the batches keep no state, so that the run could not go on where it was.
            ValueError: it is no state of this kind of training; or it has a scheduler or generators that are lacking
                here, or the other way round; or its scheduler or optimizer is of another kind, or its batches had other
                sizes, or there were more or fewer models.
            RuntimeError: its models have other parameters (PyTorch's own error, which names them).
        """
        name = type(self).__name__
        missing = self._state().keys() - state.keys()
        if missing:
            raise ValueError(f"the state lacks {', '.join(sorted(missing))}: it is not one that {name}.state_dict gave")
        if not hasattr(self._source, "load_state_dict") or state["batches"] is None:
            raise TypeError(
                f"batches of type {type(self._source).__name__} keep no state (no state_dict and load_state_dict), "
                "so that training cannot go on where it was: use Minibatches, or give them both"
            )
        if (state["scheduler"] is None) != (self.scheduler is None):
            raise ValueError(f"the state and this {name} differ: one has a scheduler and the other has none")
        if set(state["generators"]) != set(self.generators):
            raise ValueError(
                f"the state has the generators {sorted(state['generators'])}, this {name} {sorted(self.generators)}"
            )
        if self.scheduler is not None:
            _check_scheduler(state["scheduler"], self.scheduler.state_dict(), type(self.scheduler).__name__)
        now = copy.deepcopy({**self._state(), "batches": self._position(), **self._generator_states()})
        optimizer, batch, before = dict(vars(self.optimizer)), self._batches.batch, self._before
        made, torn = self._made, self._torn
        try:
            self._load(state)
            _check_loaded(self.optimizer, optimizer["param_groups"])
        except BaseException:
            self._ctrl_c.hold_back()
            self._load(now)
            # PyTorch gives the optimizer another state and other groups, cast from those that were loaded.
            vars(self.optimizer).update(optimizer)
            self._batches.batch, self._before, self._made, self._torn = batch, before, made, torn
            raise
        finally:
            self._ctrl_c.let_through()

    def _load(self, state: Mapping[str, Any]) -> None:
        self._load_learned(state)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        # The type of batches is Iterable, which need not have this method. Those that lack it never come here:
        # `load_state_dict`, the only caller, refuses them first.
        self._source.load_state_dict(state["batches"])  # type: ignore[attr-defined]
        batches = BatchInHand(self._source)
        self._set_generator_states(state)  # after what may draw: a DataLoader draws a seed when it is iterated
        self._batches, self._before, self._made, self._torn = batches, {}, None, False
        self.steps = state["steps"]


def _cuda_states() -> list[Tensor]:
    """The states of the global generators of the devices in use; none where CUDA was never touched."""
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _check_loaded(optimizer: torch.optim.Optimizer, groups: Iterable[Mapping[str, Any]]) -> None:
    """Whether the groups that were loaded have the settings of those before; what PyTorch adds itself is a default."""
    for group, before in zip(optimizer.param_groups, groups, strict=True):
        missing = (before.keys() & optimizer.defaults.keys()) - group.keys()
        foreign = group.keys() - before.keys() - optimizer.defaults.keys()
        if missing or foreign:
            raise ValueError(
                f"the state is of another optimizer than this {type(optimizer).__name__}: its groups differ in "
                f"{', '.join(sorted(missing | foreign))}"
            )


def _check_scheduler(state: Mapping[str, Any], here: Mapping[str, Any], name: str) -> None:
    differs = state.keys() ^ here.keys()
    parts, own = state.get("_schedulers", []), here.get("_schedulers", [])
    if differs or len(parts) != len(own):
        raise ValueError(
            f"the state is of another scheduler than this {name}: they differ in "
            f"{', '.join(sorted(differs)) or f'the number of schedulers, {len(parts)} and {len(own)}'}"
        )
    for one, other in zip(parts, own, strict=True):
        _check_scheduler(one, other, name)
