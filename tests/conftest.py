"""What every test shares: the seed, one thread, and no draws behind its back."""

import os
import signal
import threading

import hypothesis
import pytest
import torch

pytest_plugins = ["tests.leftovers"]  # nothing that a test starts outlives it

# The same examples in every run; HYPOTHESIS_PROFILE=deep draws more, "mutants" stops at the first that fails.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.register_profile("deep", derandomize=True, deadline=None, max_examples=5_000)
hypothesis.settings.register_profile(
    "mutants",
    hypothesis.settings.get_profile("ci"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    report_multiple_bugs=False,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure(config):
    torch.set_num_threads(1)  # also for fixtures that are made before the first test begins
    # A shell starts what runs in the background with Ctrl-C ignored, and some tests press it.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "global_generator: the test draws from torch's global generator, and may")


def pytest_generate_tests(metafunc):
    """A test that asks for `seed` runs once for each of DLNOTES_TEST_SEED: "7", "0-19", or "all" for 0-99."""
    if "seed" in metafunc.fixturenames:
        first, _, last = os.environ.get("DLNOTES_TEST_SEED", "0").replace("all", "0-99").partition("-")
        metafunc.parametrize("seed", range(int(first), int(last or first) + 1))


def pytest_collection_modifyitems(config, items):
    """With several seeds, only the tests that they make a difference to."""
    if os.environ.get("DLNOTES_TEST_SEED", "0").isdigit():
        return
    parts = {True: [], False: []}
    for item in items:
        parts["seed" in getattr(item, "fixturenames", ())].append(item)
    config.hook.pytest_deselected(items=parts[False])
    items[:] = parts[True]


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request):
    """Where the test runs: on the CPU, and on a GPU too where there is one."""
    return request.param


@pytest.fixture(autouse=True)
def one_thread_and_no_hidden_draws(request):
    torch.set_num_threads(1)
    before = torch.get_rng_state()
    yield
    if not torch.equal(before, torch.get_rng_state()) and not request.node.get_closest_marker("global_generator"):
        torch.set_rng_state(before)
        pytest.fail("the test, or what it tests, drew from torch's global generator: pass a generator")
