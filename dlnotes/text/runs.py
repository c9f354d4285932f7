"""A training of so many steps that is saved now and then, and goes on where it was, if it is the same training."""

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dlnotes.arguments import check_counts
from dlnotes.training import load_checkpoint, save_checkpoint

__all__ = ["finish_run"]


class Done(Protocol):
    """What a step of training gives: its number, counted from 1, and its loss."""

    @property
    def number(self) -> int: ...
    @property
    def loss(self) -> float: ...


OneStep = TypeVar("OneStep", bound=Done, covariant=True)


class ResumableSteps(Protocol[OneStep]):
    """What gives steps and can be gone on with, such as a `Trainer`."""

    steps: int

    def __iter__(self) -> Iterator[OneStep]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def finish_run(
    trainer: ResumableSteps[OneStep],
    steps: int | None,
    settings: Mapping[str, Any],
    checkpoint: str | os.PathLike[str] | None,
    save_every: int,
    show: Callable[[OneStep], None] | None = None,
) -> list[float]:
    """Make the steps of a run that are left, and return their losses.

    Args:
        trainer: before its first step.
        steps: of the whole run; None for a trainer that ends by itself.
        settings: all that makes the run what it is, in plain values: a checkpoint of others is refused.
        checkpoint: where the run is saved, and gone on from if the file is there; None for nowhere.
        save_every: steps from one save to the next.
        show: is given each step, for a progress bar.

    Raises:
        ValueError: numbers below 1, or a checkpoint of another run; the message says what differs.
        CheckpointError: the file is damaged.
        DivergedError: the loss is no longer finite.
    """
    check_counts(save_every=save_every, **({} if steps is None else {"steps": steps}))
    if checkpoint is not None and Path(checkpoint).exists():
        trainer.load_state_dict(_trainer_of(checkpoint, settings))
    losses: list[float] = []

    def save() -> None:
        if checkpoint is not None:
            save_checkpoint(checkpoint, {"settings": dict(settings), "trainer": trainer.state_dict()})

    for step in islice(trainer, None if steps is None else steps - trainer.steps):
        losses.append(step.loss)
        if show is not None:
            show(step)
        if step.number % save_every == 0:
            save()
    if losses:
        save()
    return losses


def _trainer_of(checkpoint: str | os.PathLike[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's state in a checkpoint, if that is of a run with these settings."""
    found = load_checkpoint(checkpoint)
    kept = found.get("settings", {})
    differ = [f"{name} was {kept.get(name)} and is {now}" for name, now in settings.items() if kept.get(name) != now]
    if differ:
        raise ValueError(f"{checkpoint} is of another run; name another file, or remove it: {'; '.join(differ)}")
    trainer: dict[str, Any] = found["trainer"]
    return trainer
