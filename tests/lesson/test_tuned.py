"""Settings that were tuned: where they are found, to what they belong, and how the kit chooses them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from dlnotes.lesson import contents, report, runner, seeds, tuned
from dlnotes.lesson.cli import _checked, _script_parser, command_line
from dlnotes.lesson.contents import UsageError
from dlnotes.lesson.tuning import winners_of
from dlnotes.places import PACKAGE

TUNED = sorted((PACKAGE / "tuned").glob("*.json"))

# The toy lesson, whose trial is given a tuned setting and whose candidates the kit tries.
CHANGES = (
    ("def trial(config: Config, seed: int)", "def trial(config: Config, seed: int, tuned)"),
    ('{"gain": config.shift', '{"rate": tuned["slow"], "gain": config.shift'),
    (
        'def tune(config: Config, seed: int) -> Measured:\n    return {"slow/0.1": float("inf"), "slow/0.2": 3.0, '
        '"fast/0.1": 2.0, "fast/0.2": 1.0 + seed % 2}\n',
        "TUNING = {'slow': (0.1, 0.2, 0.4), 'fast': (0.1, 0.2)}\n\n\n"
        "def tune(config, seed, arm, candidates):\n"
        "    from dlnotes.training import DivergedError\n\n"
        "    if 0.4 in candidates:\n        raise DivergedError(1, float('inf'), [0.4], 1.0)\n"
        "    return [abs(one - {'slow': 0.2, 'fast': 0.1}[arm]) for one in candidates]\n",
    ),
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The lesson in a folder of its own, with a cache, an output folder and a package folder of its own."""
    text = (Path(__file__).parent / "toy.py").read_text(encoding="utf-8")
    for old, new in CHANGES:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    script = tmp_path / "toy.py"
    script.write_text(text, encoding="utf-8")
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuned, "FOLDER", tmp_path / "package")
    monkeypatch.setattr(contents, "output_folder", lambda: tmp_path / "out")
    monkeypatch.setattr(tuned, "output_folder", lambda: tmp_path / "out")
    monkeypatch.setattr(contents, "results_folder", lambda: tmp_path / "results")

    def run(*words, doing=runner.run):
        lesson = replace(contents.lesson_at(script), rows=("1.18",))
        doing([lesson], _checked(_script_parser(lesson).parse_args(list(words))))

    run.folder, run.script = tmp_path, script
    return run


def kept(toy, name="toy", folder="out"):
    return json.loads((toy.folder / folder / f"{name}.json").read_text(encoding="utf-8"))


def in_the_package(toy, **settings):
    path = toy.folder / "package" / "toy.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"letters": settings}), encoding="utf-8")


def test_a_data_set_without_tuned_settings_is_one_line_that_says_which_command_tunes_it(toy):
    with pytest.raises(UsageError) as caught:
        toy()
    assert str(caught.value) == (
        "the lesson toy has no settings tuned for letters: `python -m lessons tune toy --data letters` chooses them"
    )


def test_the_command_line_says_so_too(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DLNOTES_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert command_line(["run", "over_fitting", "--data", "mnist", "--out", str(tmp_path)], tour=()) == 2
    error = capsys.readouterr().err
    assert "no settings tuned for mnist: `python -m lessons tune over_fitting --data mnist`" in error
    assert error.count("\n") == 1


def test_a_trial_is_given_the_settings_of_the_package_from_any_folder(toy):
    in_the_package(toy, slow=0.25, fast=0.1)
    toy()
    assert kept(toy)["seeds"]["0"]["rate"] == 0.25
    assert kept(toy)["tuned"] == {"slow": 0.25, "fast": 0.1}


def test_a_record_belongs_to_the_settings_that_it_was_measured_with(toy):
    for rate in (0.25, 0.5):
        in_the_package(toy, slow=rate, fast=0.1)
        toy()
        assert kept(toy)["seeds"]["0"]["rate"] == rate


def test_two_jobs_hand_the_settings_on_and_give_the_same_bits_as_one(toy):
    in_the_package(toy, slow=0.25, fast=0.1)
    seeds = []
    for jobs in ("1", "2"):
        toy("--fresh", "--jobs", jobs, "--seeds", "4")
        seeds.append(kept(toy, "toy.exploratory")["seeds"])
    assert seeds[0] == seeds[1]
    assert [of_seed["rate"] for of_seed in seeds[1].values()] == [0.25] * 4


def test_settings_from_elsewhere_make_a_run_exploratory(toy, capsys):
    toy(doing=runner.tune)
    assert kept(toy, "toy.letters", "out/tuning")["winners"] == {"slow": "0.2", "fast": "0.1"}
    toy()
    assert not (toy.folder / "out" / "toy.json").exists()
    assert kept(toy, "toy.exploratory")["seeds"]["0"]["rate"] == 0.2
    assert "exploratory: settings that were tuned in" in capsys.readouterr().out


def test_what_is_tuned_for_the_reference_run_becomes_the_settings_of_the_package(toy):
    toy("--out", str(toy.folder / "results"), doing=runner.tune)
    assert json.loads((toy.folder / "package" / "toy.json").read_text()) == {"letters": {"slow": 0.2, "fast": 0.1}}
    toy()
    assert kept(toy)["tuned"] == {"slow": 0.2, "fast": 0.1}


def test_what_is_tuned_on_other_seeds_does_not(toy):
    toy("--out", str(toy.folder / "results"), "--seeds", "1000-1001", doing=runner.tune)
    assert not (toy.folder / "package").exists()


def test_the_kit_finds_out_which_candidates_diverge(toy):
    toy(doing=runner.tune)
    scores = kept(toy, "toy.letters", "out/tuning")["scores"]
    assert list(scores) == ["slow/0.1", "slow/0.2", "slow/0.4", "fast/0.1", "fast/0.2"]
    assert scores["slow/0.4"] == [None] * 3
    assert scores["slow/0.2"] == [0.0] * 3
    assert kept(toy, "toy.letters", "out/tuning")["winners"]["slow"] == "0.2"


def test_a_score_for_each_candidate_is_wanted(toy):
    text = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(text.replace("for one in candidates]", "for one in candidates[1:]]"), encoding="utf-8")
    with pytest.raises(ValueError, match="tune gave 1 scores for the 3 candidates of 'slow'"):
        toy(doing=runner.tune)


def test_an_arm_that_no_candidate_wins_is_named_and_no_settings_are_kept(toy):
    text = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(text.replace("return [abs(one", "return [float('nan') or abs(one"), encoding="utf-8")
    with pytest.raises(UsageError, match="no candidate of fast, slow had a finite score on all 3 seeds"):
        toy("--out", str(toy.folder / "results"), doing=runner.tune)
    assert not (toy.folder / "package").exists()


def test_settings_that_lack_an_arm_are_said_before_anything_is_measured(toy):
    in_the_package(toy, slow=0.25)
    with pytest.raises(UsageError, match="toy has no setting tuned for fast: `python -m lessons tune toy` again"):
        toy()


def test_candidates_that_would_be_kept_as_others_are_refused(toy):
    text = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(text.replace("(0.1, 0.2)}", "(0.1, 1 / 3)}"), encoding="utf-8")
    with pytest.raises(ValueError, match="candidates are kept in six digits"):
        toy(doing=runner.tune)


def test_a_winner_at_the_edge_of_its_candidates_is_marked(toy, capsys):
    text = toy.script.read_text(encoding="utf-8")
    toy.script.write_text(text.replace("{'slow': 0.2", "{'slow': 0.1"), encoding="utf-8")
    toy(doing=runner.tune)
    assert "slow: 0.1 (at the edge: there may be better ones beyond)" in capsys.readouterr().out


def test_scores_are_not_those_of_another_kit(toy, monkeypatch, tmp_path):
    toy(doing=runner.tune)
    first = sorted(tmp_path.glob("cache/records/toy/*"))
    monkeypatch.setattr(seeds, "bare", lambda text: "another way of scoring")
    toy(doing=runner.tune)
    assert len(sorted(tmp_path.glob("cache/records/toy/*"))) == len(first) + 1


def test_results_are_older_than_settings_that_were_tuned_since(toy):
    in_the_package(toy, slow=0.25, fast=0.1)
    toy()
    assert report.is_current(contents.lesson_at(toy.script), kept(toy))
    in_the_package(toy, slow=0.5, fast=0.1)
    assert not report.is_current(contents.lesson_at(toy.script), kept(toy))


def test_winners_are_named_without_the_data_set():
    scores = {"letters/slow/0.1": 2.0, "letters/slow/0.2": 1.0, "bowl/slow/0.1": 1.0, "bowl/slow/0.2": math.nan}
    assert winners_of({name: Mean(score) for name, score in scores.items()}, "letters") == {
        "slow": "0.2",
        "bowl/slow": "0.1",
    }


class Mean(float):
    def mean(self):
        return self


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"letters": [1]}', '{"letters": {"slow": "much"}}'])
def test_a_damaged_file_is_named(toy, damage):
    in_the_package(toy, slow=0.25)
    (toy.folder / "package" / "toy.json").write_text(damage)
    with pytest.raises(UsageError, match=r"toy\.json .*tune again"):
        toy()


def test_no_settings_are_kept_twice_or_for_a_lesson_that_is_not_there():
    for path in TUNED:
        assert path.stem in {lesson.name for lesson in contents.lessons()}
        assert "TUNED = " not in contents.lesson_named(path.stem).path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted((contents.CHECKOUT / "results" / "tuning").glob("*.json")), ids=lambda path: path.stem
)
def test_the_settings_of_a_lesson_are_the_winners_of_its_tuning(path):
    tuning = json.loads(path.read_text(encoding="utf-8"))
    data = tuning["config"].get("data", "")  # a lesson may draw its own
    settings = json.loads(tuned.path_of(tuning["lesson"]).read_text(encoding="utf-8"))[data]
    scores = {name: sum(values) / len(values) for name, values in tuning["scores"].items() if None not in values}
    for arm, winner in tuning["winners"].items():
        assert settings[arm.removeprefix(f"{data}/")] == float(winner), arm
        mean = {name: score for name, score in scores.items() if name.rpartition("/")[0] == arm}
        assert min(mean.values()) == mean[f"{arm}/{winner}"]


def test_an_installed_package_brings_the_settings_along():
    assert '"tuned/*.json"' in (contents.CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
