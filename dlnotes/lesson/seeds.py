"""Running the trials of a lesson: seed by seed, in this process or in several, from where an earlier run ended."""

import hashlib
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from importlib.metadata import distribution, packages_distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from dlnotes.files import remove_stale_parts
from dlnotes.lesson.contents import UsageError, lesson_at, records_folder
from dlnotes.lesson.experiment import Experiment, check_loaded, experiment_of, measure
from dlnotes.lesson.plans import Plan
from dlnotes.lesson.records import Record, Records
from dlnotes.lesson.session import in_notebook
from dlnotes.lesson.settings import as_dict, config_from
from dlnotes.lesson.sources import bare
from dlnotes.lesson.tuning import scores_of
from dlnotes.measuring import Measured, Tuned
from dlnotes.places import PACKAGE

__all__ = ["environment", "measure_one", "run_seeds", "workers"]


class Rank:
    """The place of this process among those that ``torchrun`` started; number 0 of 1 where it did not."""

    def __init__(self) -> None:
        started = {"RANK", "WORLD_SIZE"} <= os.environ.keys()
        self.number, self.count = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE")) if started else (0, 1)

    def share(self, seeds: Sequence[int]) -> Sequence[int]:
        """The seeds that fall to this rank."""
        return seeds[self.number :: self.count]


def environment(device: str) -> dict[str, Any]:
    """What else the bits of a result depend on, and so what is written beside them."""
    import torch

    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "numpy", "scipy", "matplotlib", "pillow")},
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "threads": 1,
    }


@contextmanager
def _records_of(plan: Plan, function: str) -> Iterator[Records]:
    """The records that hold for this code, config, data, tuned settings and environment.

    Where not all of the code is known, they are empty, and are thrown away at the end.
    """
    from dlnotes import data

    experiment, config = plan.experiment, plan.config
    used = getattr(config, "data", None)
    scoring = bare((PACKAGE / "lesson" / "tuning.py").read_text(encoding="utf-8"))
    key = {
        "function": function,
        "code": experiment.code,
        **({"scoring": hashlib.sha256(scoring.encode()).hexdigest()} if function == "tune" else {}),
        "packages": _versions(experiment.sources.packages),
        "config": as_dict(config),
        "tuned": dict(plan.tuned),
        "data": data.fingerprint(used) if used else None,
        "environment": environment(getattr(config, "device", "cpu")),
    }
    if not experiment.doubt:
        yield Records(records_folder(), experiment.lesson.name, key)
        return
    if Rank().count > 1:
        raise UsageError(f"ranks cannot share out the seeds of {experiment.lesson.name}: {experiment.doubt}")
    with TemporaryDirectory(prefix="dlnotes-") as folder:
        yield Records(Path(folder), experiment.lesson.name, key)


def _versions(packages: Collection[str]) -> dict[str, str]:
    """What each installed package is, by the name that imports it: version, and checksum of its list of files."""
    homes = packages_distributions() if packages else {}
    found = {}
    for name in sorted(packages):
        parts = [distribution(home) for home in sorted(set(homes.get(name, [])))]
        lists = "".join(part.read_text("RECORD") or "" for part in parts)
        versions = " ".join(f"{part.name} {part.version}" for part in parts)
        found[name] = f"{versions}, files {hashlib.sha256(lists.encode()).hexdigest()[:16]}"
    return found


def run_seeds(
    plan: Plan, function: str = "trial", *, pool: ProcessPoolExecutor | None = None, fresh: bool = False
) -> dict[int, Record] | None:
    """Measure the seeds that have no record yet, and return the records of all.

    Args:
        plan: the lesson with its settings and seeds.
        function: ``trial`` or ``tune``.
        pool: processes to share the seeds out to; none runs them here.
        fresh: measure all seeds again.

    Returns:
        The records by their seeds; None in all ranks but one, and in that one too while others are still at work. All
        that see the records complete agree on who it is: whoever wrote the last.

    Raises:
        DataError: the data set that the config names is missing or damaged.
        UsageError: the code is not known, and several ranks would have to trust each other's records.
    """
    rank = Rank()
    if fresh and rank.count > 1:
        raise UsageError("--fresh is for one process: ranks cannot tell old records from each other's new ones")
    with _records_of(plan, function) as records:
        _measure_missing(plan, function, rank.share(plan.seeds), records, pool, fresh=fresh)
        measured = {seed: record for seed in plan.seeds if (record := records.read(seed))}
        if len(measured) < len(plan.seeds) or records.last(plan.seeds) not in rank.share(plan.seeds):
            return None
    return measured


def measure_one(plan: Plan, seed: int) -> Measured:
    """What one seed measures now, whatever records there are; none is written."""
    return measure(plan.experiment.trial, plan.config, seed, *_third_argument(plan, "trial"))


def _measure_missing(
    plan: Plan,
    function: str,
    seeds: Sequence[int],
    records: Records,
    pool: ProcessPoolExecutor | None,
    *,
    fresh: bool,
) -> None:
    remove_stale_parts(records.folder)
    for seed in seeds if fresh else ():
        records.remove(seed)
    waiting = [seed for seed in seeds if not records.read(seed)]
    if not waiting:
        return
    name = plan.lesson.name
    if not sys.stderr.isatty() and not in_notebook():  # where there is no bar
        print(f"{name}: {len(waiting)} of {len(seeds)} seeds to measure", file=sys.stderr, flush=True)
    done = len(seeds) - len(waiting)
    with tqdm(total=len(seeds), initial=done, desc=name, unit="seed", disable=_no_bar()) as bar:
        for _ in _measure_each(plan, function, waiting, records, pool):
            bar.update()


def _measure_each(
    plan: Plan, function: str, seeds: Sequence[int], records: Records, pool: ProcessPoolExecutor | None
) -> Iterator[int]:
    """Measure the seeds, and give each when its record is written."""
    tuned = _third_argument(plan, function)
    if pool is None:
        for seed in seeds:
            _measure_and_keep(plan.experiment, plan.config, seed, tuned, function, records)
            yield seed
        return
    what = plan.lesson.path, plan.experiment.code, as_dict(plan.config)
    futures = {pool.submit(_measure_in_worker, *what, seed, tuned, function, records): seed for seed in seeds}
    for future in as_completed(futures):
        future.result()  # raises what was raised there
        yield futures[future]


def _third_argument(plan: Plan, function: str) -> tuple[Tuned, ...]:
    return (plan.tuned,) if function == "trial" and plan.experiment.is_tuned else ()


def _measure_and_keep(
    experiment: Experiment, config: Any, seed: int, tuned: tuple[Tuned, ...], function: str, records: Records
) -> None:
    start = time.perf_counter()
    measuring = experiment.trial if function == "trial" else partial(scores_of, experiment)
    try:
        measured = measure(measuring, config, seed, *tuned)
    except Exception as error:
        error.add_note(f"in seed {seed} of {experiment.lesson.name}")
        raise
    if not experiment.doubt and (unseen := check_loaded(experiment.sources)):  # loaded since the trial began
        raise UsageError(f"the seed {seed} of {experiment.lesson.name} is not kept: {unseen}")
    records.write(seed, Record(measured, time.perf_counter() - start))


# ----------------------------------------------------------------------------------------------------------------
# Worker processes
# ----------------------------------------------------------------------------------------------------------------


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor | None]:
    """Processes for the seeds to be shared out to; None for a single job. They end with the block, however it ends.

    They are started afresh (not forked: a fork of a process whose threads have run can hang).
    """
    if jobs == 1:
        yield None
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_prepare_worker)
    try:
        yield pool
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare_worker() -> None:
    """Let a worker die silently on Ctrl-C, and die when its parent is gone, however that ended."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _measure_in_worker(
    path: Path,
    code: str,
    settings: dict[str, Any],
    seed: int,
    tuned: tuple[Tuned, ...],
    function: str,
    records: Records,
) -> None:
    experiment = _loaded.get(path) or _loaded.setdefault(path, experiment_of(lesson_at(path)))
    if experiment.code != code:
        raise UsageError(f"{path.name} was changed while it ran: run it again")
    _measure_and_keep(experiment, config_from(experiment.config, settings), seed, tuned, function, records)


_loaded: dict[Path, Experiment] = {}


def _no_bar() -> bool | None:
    """Whether to hide the progress bar; None leaves it to tqdm, which hides it where the output is no terminal."""
    if Rank().number:
        return True
    return False if in_notebook() else None
