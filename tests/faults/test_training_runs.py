"""A training run that is killed at any moment, again and again, ends with the bits of one that nobody disturbed."""

import time
from multiprocessing import get_context

import pytest

from dlnotes.training import load_checkpoint
from tests.faults import training_run
from tests.forks import FORKS


def start(folder, context=FORKS, **settings):
    """Start a run in ``folder``, or go on with the one there, and come back when it begins."""
    folder.mkdir(exist_ok=True)
    began, tells = context.Pipe(duplex=False)
    process = context.Process(target=training_run.run, args=(folder, tells), kwargs=settings)
    process.start()
    tells.close()
    assert began.poll(60), "the run does not begin"
    return process


def end(process):
    """Wait for the end of a run, and say whether it reached it by itself."""
    process.join(60)
    assert process.exitcode in (0, -9), "it hangs, or failed"
    return process.exitcode == 0


def result(folder):
    """What a finished run wrote, once it is sure that it left nothing else."""
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", "result.pt"]
    return load_checkpoint(folder / "result.pt")


def steps_kept(folder):
    checkpoint = folder / "checkpoint.pt"
    return load_checkpoint(checkpoint)["trainer"]["steps"] if checkpoint.exists() else 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The result of a run that nobody disturbs, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert end(start(folder))
    expected = result(folder)
    process, before = start(folder / "again"), time.perf_counter()
    assert end(process)
    seconds = time.perf_counter() - before
    assert result(folder / "again") == expected
    return expected, seconds


@pytest.mark.parametrize(
    ("kind", "context", "few", "all"),
    [
        ("kills of a training run", FORKS, 6, 200),
        ("kills of a training run in a Python started afresh", get_context("spawn"), 1, 5),
    ],
)
def test_a_killed_training_run_goes_on_to_the_same_bits(tmp_path, faults, undisturbed, kind, context, few, all):
    expected, seconds = undisturbed
    folder, kept, went_on = tmp_path / "run 0", 0, 0
    for number, chance in enumerate(faults(kind, few=few, all=all), 1):
        process = start(folder, context)
        while number == 1 and not steps_kept(folder) and process.is_alive():
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3) * seconds)
        process.kill()
        while end(process):  # before it could be killed: the next one is
            assert result(folder) == expected
            folder, kept = tmp_path / f"run {number}", 0
            process = start(folder, context)
            process.kill()
        before, kept = kept, steps_kept(folder)
        assert kept >= before, "the run began anew"
        went_on += kept > 0
    assert went_on, "all kills came before there was a checkpoint"
    assert end(start(folder))
    assert result(folder) == expected


def test_without_the_generator_of_the_masks_it_goes_on_to_other_bits(tmp_path, undisturbed):
    process = start(tmp_path, forgetful=True)
    while not steps_kept(tmp_path):
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    assert not end(process)
    assert end(start(tmp_path, forgetful=True))
    assert result(tmp_path)["losses"] != undisturbed[0]["losses"]
