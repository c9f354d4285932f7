"""Running the trials of a lesson: seed by seed, in this process or in several, from where an earlier run ended."""

import hashlib
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import distribution, packages_distributions, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from dlnotes.files import remove_stale_parts
from dlnotes.lesson.catalog import UsageError, lesson_at, records_folder
from dlnotes.lesson.experiment import Experiment, as_dict, check_loaded, config_from, experiment_of, measure
from dlnotes.lesson.records import Record, Records
from dlnotes.lesson.session import in_notebook

__all__ = ["Rank", "environment", "records_of", "run_seeds", "workers"]


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
        **{name: version(name) for name in ("torch", "numpy", "scipy", "matplotlib", "pillow")},
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "threads": 1,
    }


@contextmanager
def records_of(experiment: Experiment, config: Any, function: str) -> Iterator[Records]:
    """The records that hold for this code, config, data and environment.

    Where not all of the code is known, they are empty, and are thrown away at the end.

    Raises:
        DataError: the data set that the config names is missing or damaged.
        UsageError: the code is not known, and several ranks would have to trust each other's records.
    """
    from dlnotes import data

    used = getattr(config, "data", None)
    key = {
        "function": function,
        "code": experiment.code,
        "packages": _versions(experiment.sources.packages),
        "config": as_dict(config),
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
    experiment: Experiment,
    config: Any,
    seeds: Sequence[int],
    *,
    records: Records,
    function: str = "trial",
    pool: ProcessPoolExecutor | None = None,
    fresh: bool = False,
) -> dict[int, Record]:
    """Measure the seeds that have no record yet, and return the records of all.

    Args:
        experiment: the lesson.
        config: its settings.
        seeds: which seeds.
        records: where the records are kept.
        function: ``trial`` or ``tune``.
        pool: processes to share the seeds out to; none runs them here.
        fresh: measure all seeds again.
    """
    remove_stale_parts(records.folder)
    for seed in seeds if fresh else ():
        records.remove(seed)
    done = {seed: record for seed in seeds if (record := records.read(seed))}
    waiting = [seed for seed in seeds if seed not in done]
    if not waiting:
        return done
    if not sys.stderr.isatty() and not in_notebook():  # where there is no bar
        print(f"{experiment.lesson.name}: {len(waiting)} of {len(seeds)} seeds to measure", file=sys.stderr, flush=True)
    bar = tqdm(total=len(seeds), initial=len(done), desc=experiment.lesson.name, unit="seed", disable=_no_bar())
    with bar:
        for seed, record in _measure_each(experiment, config, waiting, records, function, pool):
            done[seed] = record
            bar.update()
    return {seed: done[seed] for seed in seeds}


def _measure_each(
    experiment: Experiment,
    config: Any,
    seeds: Iterable[int],
    records: Records,
    function: str,
    pool: ProcessPoolExecutor | None,
) -> Iterator[tuple[int, Record]]:
    if pool is None:
        for seed in seeds:
            yield seed, _measure_one(experiment, config, seed, records, function)
        return
    futures = [
        pool.submit(
            _measure_in_worker, experiment.lesson.path, experiment.code, as_dict(config), seed, records, function
        )
        for seed in seeds
    ]
    for future in as_completed(futures):
        yield future.result()


def _measure_one(experiment: Experiment, config: Any, seed: int, records: Records, function: str) -> Record:
    start = time.perf_counter()
    try:
        measured = measure(getattr(experiment, function), config, seed)
    except Exception as error:
        error.add_note(f"in seed {seed} of {experiment.lesson.name}")
        raise
    if not experiment.doubt and (unseen := check_loaded(experiment.sources)):  # loaded since the trial began
        raise UsageError(f"the seed {seed} of {experiment.lesson.name} is not kept: {unseen}")
    record = Record(measured, time.perf_counter() - start)
    records.write(seed, record)
    return record


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
    path: Path, code: str, settings: dict[str, Any], seed: int, records: Records, function: str
) -> tuple[int, Record]:
    experiment = _loaded.get(path) or _loaded.setdefault(path, experiment_of(lesson_at(path)))
    if experiment.code != code:
        raise UsageError(f"{path.name} was changed while it ran: run it again")
    return seed, _measure_one(experiment, config_from(experiment.config, settings), seed, records, function)


_loaded: dict[Path, Experiment] = {}


def _no_bar() -> bool | None:
    """Whether to hide the progress bar; None leaves it to tqdm, which hides it where the output is no terminal."""
    if Rank().number:
        return True
    return False if in_notebook() else None
