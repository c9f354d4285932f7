"""A training of so many steps that is saved now and then, and goes on where it was, if it is the same training."""

import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from dlnotes.arguments import check_counts
from dlnotes.training import Trainer, load_checkpoint, save_checkpoint

__all__ = ["finish_run"]


def finish_run(
    trainer: Trainer,
    steps: int,
    settings: Mapping[str, Any],
    checkpoint: str | os.PathLike[str] | None,
    save_every: int,
) -> list[float]:
    """Make the steps of a run that are left, and return their losses.

    Args:
        trainer: before its first step.
        steps: of the whole run.
        settings: all that makes the run what it is, in plain values: a checkpoint of others is refused.
        checkpoint: where the run is saved, and gone on from if the file is there; None for nowhere.
        save_every: steps from one save to the next.

    Raises:
        ValueError: numbers below 1, or a checkpoint of another run; the message says what differs.
        CheckpointError: the file is damaged.
        DivergedError: the loss is no longer finite.
    """
    check_counts(steps=steps, save_every=save_every)
    if checkpoint is not None and Path(checkpoint).exists():
        trainer.load_state_dict(_trainer_of(checkpoint, settings))
    losses = []
    for step in islice(trainer, steps - trainer.steps):
        losses.append(step.loss)
        if checkpoint is not None and (step.number % save_every == 0 or step.number == steps):
            save_checkpoint(checkpoint, {"settings": dict(settings), "trainer": trainer.state_dict()})
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
