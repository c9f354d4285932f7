"""A lesson as Python objects: its parts, and the numbers that its trials measured."""

import importlib
import inspect
import math
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import ExecutionLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dlnotes
from dlnotes.evidence import Finding
from dlnotes.lesson import session
from dlnotes.lesson.contents import CHECKOUT, Lesson, UsageError
from dlnotes.lesson.declared import declared_in, faults_in, filled_in
from dlnotes.lesson.predictions import Prediction
from dlnotes.lesson.records import nan_for_null
from dlnotes.lesson.settings import config_from
from dlnotes.lesson.sources import Sources, bare, checksum_of_code, checksum_of_judge, sources_of
from dlnotes.measuring import Measured, Tuned
from dlnotes.places import PACKAGE

__all__ = ["Experiment", "TrialError", "Trials", "check_loaded", "experiment_of", "measure", "trials_from"]


class TrialError(RuntimeError):
    """A trial did what no trial may, whatever its settings."""


class Trials(Mapping[str, NDArray[np.float64]]):
    """What the trials of a lesson measured: by name, an array whose first dimension runs over the seeds.

    A number of each trial gives an array of shape (S,), a curve of T points one of shape (S, T). What was not finite
    is nan.

    Attributes:
        config: the settings that all trials had.
        seeds: the seed of each entry.
        tuned: the settings that they were given for each arm.
    """

    def __init__(self, config: Any, measured: Mapping[int, Measured], tuned: Tuned | None = None) -> None:
        self.config, self.seeds, self.tuned = config, tuple(sorted(measured)), dict(tuned or {})
        names = measured[self.seeds[0]]
        for seed in self.seeds:
            if measured[seed].keys() != names.keys():
                other = ", ".join(sorted(measured[seed].keys() ^ names.keys()))
                raise ValueError(f"the seeds {self.seeds[0]} and {seed} measured different names: {other}")
        self._arrays = {name: np.asarray([measured[seed][name] for seed in self.seeds], float) for name in names}

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        try:
            return self._arrays[name]
        except KeyError:
            raise KeyError(f"nothing named {name!r} was measured; measured: {', '.join(self._arrays)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


@dataclass(frozen=True)
class Experiment:
    """The parts of a lesson that the runner calls, taken from its module by their names.

    ``code`` and ``judge`` are the checksums of what measures and of what judges, as they were when it was imported, and
    ``sources`` what it imports. Where not all of the code is known, ``doubt`` says why: then no record is read or
    written. Where it is not the lesson of its name that runs, ``variant`` says so: then no result has its name.
    """

    lesson: Lesson
    code: str
    judge: str
    sources: Sources
    doubt: str
    variant: str
    config: Any
    quick: Any
    seeds: range
    trial: Callable[..., Measured]  # of config and seed, and of the tuned settings where it has a third parameter
    predictions: Sequence[Prediction]
    figure: Callable[[Trials], Any]
    tune: Callable[..., Any] | None
    tuning: Mapping[str, Sequence[float]] | None  # the candidates of each arm, where the kit tunes
    tuning_seeds: range
    data: Sequence[str] | None  # the data sets that the lesson has settings for; None: any

    @property
    def is_tuned(self) -> bool:
        """Whether its trials are given settings that were tuned."""
        return len(inspect.signature(self.trial).parameters) > 2

    def findings(self, trials: Trials) -> list[Finding]:
        """All predictions, judged by what the trials measured."""
        return [prediction.finding(trials) for prediction in self.predictions]


def experiment_of(lesson: Lesson, cells: ModuleType | None = None) -> Experiment:
    """Import a lesson's file and pick out its parts.

    Args:
        lesson: the lesson.
        cells: the module in which a notebook ran cells that are not the file's: its parts are taken as they are.

    Raises:
        UsageError: a part is missing; or a file was changed after this process had loaded it.
    """
    text = lesson.path.read_text(encoding="utf-8")
    sources = sources_of(lesson.path, PACKAGE, text)
    if cells is None:
        _refuse_namesakes(sources)
        module = _import(lesson.path, text, beside=any(name.split(".")[0] != PACKAGE.name for name in sources.files))
        sources = sources_of(lesson.path, PACKAGE, text)  # the lesson may have changed where Python looks for modules
        for name in sources.files:
            if name.split(".")[0] == PACKAGE.name:  # now, so that what runs is what was read
                importlib.import_module(name)
        unseen = check_loaded(sources)
        code, judge = (make(lesson.path, PACKAGE, text) for make in (checksum_of_code, checksum_of_judge))
        doubt = sources.doubt or unseen
        if not doubt and session.ran_other_code(lesson.path):
            doubt = f"this session has run other code than {lesson.path.name} as it stands"
    else:
        module, code, judge = cells, "", ""
        doubt = f"what this session has run is not {lesson.path.name} as it stands"
    needed = "Config", "QUICK", "SEEDS", "trial", "PREDICTIONS", "figure"
    missing = [name for name in needed if not hasattr(module, name)]
    if missing:
        raise UsageError(f"the lesson {lesson.name} lacks {', '.join(missing)}: CONTRIBUTING.md says what they are")
    if fault := next(faults_in(lesson.path), "") if cells is None else "":
        raise UsageError(fault)
    config = module.Config()
    _check_predictions(lesson, module.PREDICTIONS, config, read_here=cells is None)
    return Experiment(
        lesson,
        code,
        judge,
        sources,
        doubt,
        doubt or _other_than_the_lesson_of_its_name(lesson, code, judge),
        config,
        module.QUICK,
        module.SEEDS,
        module.trial,
        module.PREDICTIONS,
        module.figure,
        getattr(module, "tune", None),
        getattr(module, "TUNING", None),
        getattr(module, "TUNING_SEEDS", range(0)),
        getattr(module, "DATA", None),
    )


def _check_predictions(lesson: Lesson, predictions: Sequence[Prediction], config: Any, *, read_here: bool) -> None:
    """Say before anything is measured what could not be said or judged afterwards.

    Raises:
        UsageError: predictions that do not stand in the text, a sentence that cannot be filled in, or readings that do
            not go together.
    """
    names = [one.name for one in predictions]
    if read_here and names != [one.name for one in declared_in(lesson.path).predictions]:
        raise UsageError(f"{lesson.path.name}: PREDICTIONS has others than those that stand in its list")
    for one in predictions:
        try:
            filled_in(one.sentence, config)
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{lesson.path.name}, the {one.kind} {one.name!r} cannot be filled in: {error}") from error
    for row in {one.row for one in predictions}:
        those = [one for one in predictions if one.row == row]
        claimed = {one.reading for one in those if one.kind == "claim"}
        for one in those:
            if len(claimed) > 1 and not one.reading:
                raise UsageError(f"{lesson.path.name}: {one.name!r} has no reading, and others of {row} have one")
            if claimed and one.reading not in claimed:
                raise UsageError(
                    f"{lesson.path.name}: no claim of {row} has the reading {one.reading!r} of {one.name!r}"
                )


class _Text(ExecutionLoader):
    """Makes a module of a text that was read before, so that what runs is what the checksum is of."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_source(self, fullname: str) -> str:
        return self.text


def _import(path: Path, text: str, beside: bool) -> ModuleType:
    """The lesson as a module; it may import what lies ``beside`` it, as where its file is run as a script."""
    if beside and str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    name = f"lessons.{path.parent.name}.{path.stem}"
    loader = _Text(path, text)
    specification = spec_from_loader(name, loader)
    assert specification is not None
    module = module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look their own module up
    loader.exec_module(module)
    return module


def _refuse_namesakes(sources: Sources) -> None:
    for name, path in sources.files.items():
        loaded = sys.modules.get(name)
        if loaded is not None and Path(loaded.__file__ or "").resolve() != path.resolve():
            raise UsageError(f"two modules are called {name}: {path} and {loaded.__file__}; rename one")


_read: dict[Path, str] = {}  # what each file was when it was first known that it is what was loaded


def check_loaded(sources: Sources) -> str:
    """Make sure that what runs is what was read: of the lesson's own modules and the library, the judge included.

    Returns:
        Which modules of its own are loaded that no file was read for, in words; empty where there are none.

    Raises:
        UsageError: a file was changed after it was loaded, or may have been.
    """
    _refuse_namesakes(sources)
    for name, path in [*sources.files.items(), ("dlnotes.evidence", PACKAGE / "evidence.py")]:
        text = path.read_text(encoding="utf-8")
        if path not in _read:
            stat = path.stat()
            # The time of a change of the file itself; copies and archives may bring any time of their contents along.
            changed = stat.st_ctime if os.name == "posix" else stat.st_mtime
            if changed <= dlnotes._loaded_at and _is_compiled_from(name, path, text):
                _read[path] = bare(text)
        if _read.get(path) != bare(text):
            raise UsageError(
                f"{path} was changed after this process had begun, and nobody can say which state of it runs: start "
                "again (in a notebook, restart the kernel)"
            )
    own = {name.split(".")[0] for name in sources.files} - {PACKAGE.name}
    loaded = {name for name in list(sys.modules) if name in sources.unknown or name.split(".")[0] in own}
    unseen = sorted(name for name in loaded - sources.files.keys() if getattr(sys.modules[name], "__file__", None))
    return f"it imports {', '.join(unseen)}, of which no source was read" if unseen else ""


def _is_compiled_from(name: str, path: Path, text: str) -> bool:
    """Whether Python runs this text: it trusts a compiled file by its time and size, and copies may keep both."""
    if name.split(".")[0] == PACKAGE.name or name not in sys.modules:
        return True
    loader: Any = getattr(sys.modules[name].__spec__, "loader", None)
    compiled = loader.get_code(name) if hasattr(loader, "get_code") else None
    return compiled is None or bool(compiled == compile(text, str(path), "exec", dont_inherit=True))


def _other_than_the_lesson_of_its_name(lesson: Lesson, code: str, judge: str) -> str:
    """Why this is not the checkout's lesson of that name; empty where it is, or where there is none."""
    for known in (CHECKOUT / "lessons").glob(f"*/{lesson.name}.py"):
        checksums = (make(known, PACKAGE) for make in (checksum_of_code, checksum_of_judge))
        if known != lesson.path and tuple(checksums) != (code, judge):
            return f"{lesson.path} is not {known.relative_to(CHECKOUT)}"
    return ""


def trials_from(results: Mapping[str, Any], experiment: Experiment) -> Trials:
    """The trials that a results file keeps, to be judged or drawn again."""
    config = config_from(experiment.config, results["config"])
    measured = {
        int(seed): {name: nan_for_null(value) for name, value in numbers.items()}
        for seed, numbers in results["seeds"].items()
    }
    return Trials(config, measured, results["tuned"])


def measure(function: Callable[..., Measured], config: Any, seed: int, *tuned: Tuned) -> Measured:
    """Run one trial and check what it gives: plain numbers, or lists of them, by name.

    Raises:
        TypeError: something else than numbers came back.
        TrialError: the trial drew from a global generator, or PyTorch's defaults were changed, so that its numbers
            would depend on what ran before it.
    """
    import torch

    threads, before = torch.get_num_threads(), _global_generators()
    _check_defaults()
    torch.set_num_threads(1)  # more threads change the bits of convolutions, and slow small models down
    try:
        measured = function(config, seed, *tuned)
    finally:
        torch.set_num_threads(threads)
    _check_defaults()
    for name, state in _global_generators().items():
        if state != before[name]:
            raise TrialError(
                f"the trial drew from the global generator of {name}: give each draw one of `streams(seed, …)`, "
                "and make modules that draw their own first weights with `torch.nn.utils.skip_init`"
            )
    if not isinstance(measured, dict) or not measured:
        raise TypeError(f"a trial must return a dictionary of measured numbers, not {type(measured).__name__}")
    return {name: _plain(name, value) for name, value in measured.items()}


def _global_generators() -> dict[str, Any]:
    import torch

    return {
        "PyTorch": torch.get_rng_state().numpy().tobytes(),
        # The rule forbids NumPy's global generator. We only read its state, to find out whether a trial has drawn from
        # it: no generator of our own could tell.
        "NumPy": str(np.random.get_state(legacy=False)),  # noqa: NPY002
        "Python": random.getstate(),
    }


def _check_defaults() -> None:
    """Numbers are measured under PyTorch's own defaults: what one lesson changes would reach the records of others.

    Raises:
        TrialError: a default was changed; the message names it.
    """
    import torch

    found = {
        "default dtype": (torch.get_default_dtype(), torch.float32),
        "default device": (torch.get_default_device(), torch.device("cpu")),
        "float32 matmul precision": (torch.get_float32_matmul_precision(), "highest"),
        "use of deterministic algorithms": (torch.are_deterministic_algorithms_enabled(), False),
        "grad mode": (torch.is_grad_enabled(), True),
    }
    for name, (here, default) in found.items():
        if here != default:
            raise TrialError(
                f"PyTorch's {name} was set to {here} for the whole process, and belongs to no record: leave it at "
                f"{default}, and say what is wanted at each call"
            )


def _plain(name: str, value: Any) -> float | list[float]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_number(name, one) for one in value]
    return _number(name, value)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, bool | int | float):
        advice = ": use .item() or .tolist()" if hasattr(value, "item") else ""
        raise TypeError(f"{name!r} must be a number or a list of numbers, not {type(value).__name__}{advice}")
    return float(value) if math.isfinite(value) else math.nan
