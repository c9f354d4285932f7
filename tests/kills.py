"""A training that dies at a step, in this process. `tests/faults` kills whole ones."""

from contextlib import contextmanager

import pytest

from dlnotes.training import Trainer


class Killed(BaseException):
    """What ends a run at any place."""


@contextmanager
def killed_after(steps, monkeypatch, kind=Trainer):
    """Inside, a trainer of this kind dies in place of the step after so many; and one has to."""
    step = kind.__next__

    def dies(trainer):
        if trainer.steps == steps:
            raise Killed
        return step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "__next__", dies)
        with pytest.raises(Killed):
            yield
