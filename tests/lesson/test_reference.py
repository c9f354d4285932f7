"""The reference run of each lesson: its findings follow from its numbers, by the code as it is."""

from dataclasses import replace

import pytest

from dlnotes.lesson import contents
from tests.trials import reference, verdicts


def near(value):
    """What equals a value but for the last bits, which for a logarithm are those of the machine."""
    if isinstance(value, list):
        return [near(one) for one in value]
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


RUNS = [(lesson.name, "") for lesson in contents.lessons()]
RUNS += [(path.stem, path.parent.name) for path in sorted(contents.results_folder().glob("*/*.json"))]
RUNS = [run for run in RUNS if run[1] != "tuning"]


@pytest.mark.parametrize(("name", "data"), RUNS, ids=["/".join(filter(None, run[::-1])) for run in RUNS])
def test_the_committed_findings_follow_from_the_committed_numbers(name, data):
    experiment, trials, results = reference(name, data)
    findings = experiment.findings(trials)
    assert [finding.as_dict() for finding in findings] == [
        {key: near(value) for key, value in finding.items()} for finding in results["findings"]
    ]
    assert verdicts(experiment, trials, findings) == results["verdicts"]
    assert list(trials.seeds) == list(experiment.seeds)
    assert trials.config == (replace(experiment.config, data=data) if data else experiment.config)
