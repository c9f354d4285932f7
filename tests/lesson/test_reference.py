"""The reference run of each lesson: its findings follow from its numbers, by the code as it is."""

import pytest

from dlnotes.lesson import catalog
from tests.trials import reference, verdicts


@pytest.mark.parametrize("name", [lesson.name for lesson in catalog.lessons()])
def test_the_committed_findings_follow_from_the_committed_numbers(name):
    experiment, trials, results = reference(name)
    assert [finding.as_dict() for finding in experiment.findings(trials)] == [
        {**finding, "interval": pytest.approx(tuple(finding["interval"])), "seeds": finding["seeds"]}
        for finding in results["findings"]
    ]
    assert verdicts(experiment, trials) == results["verdicts"]
    assert list(trials.seeds) == list(experiment.seeds)
    assert trials.config == experiment.config
