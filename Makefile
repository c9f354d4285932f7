# Two commands are enough on a fresh machine, each on its own: `make run` and `make test`.
#
#   make JOBS=1 lessons           as many processes as you like; otherwise one a core
#   make ONLY=dropout mutants     the bugs of one list, or those whose words hold this one
#   make PYTHON=python3.13 run    the Python that .venv is made with; otherwise the newest that works

JOBS ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
PY   := .venv/bin/python

# Whatever environment is active outside, only .venv counts here.
# Compiled files are kept: without them each process of the tests compiles all that it imports anew.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV
export PYTHONNOUSERSITE := 1

# pytest on all cores: each takes tests from the other when it has none left.
PYTEST := $(PY) -m pytest -n $(JOBS) --dist worksteal

.PHONY: help setup run test check tests style stale types mutants faults seeds bench lessons results clean

# A new target is one rule that depends on `setup`; its ## comment is its line in this list.
help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

# The script knows best whether there is anything to do: it compares contents, make only times.
setup:
	@sh setup.sh

run: setup  ## the tour: five lessons at full strength; about five minutes
	$(PY) -m lessons tour --jobs $(JOBS)

test: setup  ## the checks, and all tests beside them; 6 minutes on two cores
	@$(MAKE) --no-print-directory -j $(JOBS) types style stale tests

check: setup  ## format, lint, types, and what is stale: results, planted bugs; seconds, without running anything
	@$(MAKE) --no-print-directory -j $(JOBS) types style stale

tests:
	$(PYTEST)

style:
	$(PY) -m ruff format --check
	$(PY) -m ruff check

stale:
	$(PY) -m tests.stale

types:
	$(PY) -m mypy

mutants: setup  ## plants several hundred bugs, each to be caught by its test; 9 minutes on two cores
	$(PYTEST) tests/mutants -k '$(ONLY)'

# In one process: it counts the faults.
faults: setup  ## thousands of kills, damaged files, bad servers, full disks, and their table; a quarter of an hour
	DLNOTES_FAULTS=all $(PY) -m pytest -n 0 tests/faults -s

seeds: setup  ## the tests that draw numbers, with a hundred seeds each; longer than the faults
	DLNOTES_TEST_SEED=all $(PYTEST)

bench: setup  ## how fast the library is, beside what one would use instead; a quarter of an hour, best on an idle machine
	@$(PY) -c 'from importlib.util import find_spec as find; exit(not all(map(find, ("sklearn", "keras", "transformers", "gensim"))))' \
		|| $(PY) -m pip install -c constraints.txt -e '.[bench]'
	$(PY) -m benchmarks

lessons: setup  ## every lesson at full strength, about an hour on two cores; finished seeds are kept
	$(PY) -m lessons run --jobs $(JOBS)

results: setup  ## the same into results/, also on each real set in the data root, and the tables made of them
	$(PY) -m lessons run --data all --jobs $(JOBS) --out results
	$(PY) -m lessons report --write

clean:  ## remove caches, builds and output/ (.venv, data/ and results/ stay)
	rm -rf build dist output *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find benchmarks dlnotes lessons tests -name __pycache__ -prune -exec rm -rf {} +
