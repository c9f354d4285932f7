"""The tables that are made from results."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest

from dlnotes.lesson import contents, report, verdicts
from dlnotes.lesson.contents import UsageError
from dlnotes.lesson.sources import checksum_of_code, checksum_of_judge


@pytest.fixture
def results(tmp_path):
    """The reference run's results of one lesson, to be changed, in a folder of their own."""
    content = json.loads((contents.results_folder() / "temperature.json").read_text(encoding="utf-8"))

    path = contents.lesson_named("temperature").path
    content["code"] = checksum_of_code(path, contents.PACKAGE)
    content["judge"] = checksum_of_judge(path, contents.PACKAGE)
    content.pop("rechecked", None)

    def write(**changes):
        (tmp_path / "temperature.json").write_text(json.dumps({**content, **changes}), encoding="utf-8")
        return tmp_path

    write.findings = content["findings"]
    return write


def test_the_table_has_a_line_for_each_row_with_its_verdict_and_answer(results):
    lines = verdicts.table_of_answers(results()).splitlines()
    assert lines[0].startswith("Tested so far: 4 of the 89 statements (1 supported, 3 conditional).")
    summary = "<summary><b>1 From machine learning to deep learning</b>: 1 supported, 3 conditional</summary>"
    assert lines[1:6] == ["", "<details open>", summary, "", "| row | in short | verdict | answer | lesson |"]
    rows = [f"| [{row}](results/VERDICTS.md#{row})" for row in ("1.02", "1.03", "1.04", "1.05")]
    assert [line.split(" | ")[0] for line in lines[7:-2]] == rows
    assert lines[7].startswith(f"{rows[0]} | Softmax turns scores into probabilities | **supported** | Yes.")
    assert lines[7].endswith(" | [temperature](lessons/linear/temperature.py) |")
    assert "**conditional**" in lines[8]
    assert lines[-2:] == ["", "</details>"]


def test_the_chapters_of_the_table_fold_and_the_first_is_open():
    table = verdicts.table_of_answers(contents.results_folder())
    parts = table.split("\n<details")
    assert [part.startswith(" open>") for part in parts[1:]] == [True, *[False] * (len(parts) - 2)]
    assert len(parts) - 1 == table.count("\n</details>") >= 2
    tallies = [int(count) for count in re.findall(r"(\d+) (?:supported|conditional|refuted|inconclusive)", table)]
    assert 2 * len(re.findall(r"\n\| \[\d", table)) == sum(tallies)  # of all rows, and of each chapter


def test_a_line_of_the_table_is_short():
    readme, answers = ((contents.CHECKOUT / page).read_text(encoding="utf-8") for page in ("README.md", "ANSWERS.md"))
    assert [line for line in (readme + answers).splitlines() if len(line) > 350] == []
    assert len(readme.splitlines()) <= 200
    around, _, rest = readme.partition("<!-- answers")
    assert len((around + rest.partition("<!-- end of answers")[2]).encode()) <= 8_500


def test_the_readme_counts_the_verdicts_of_each_chapter_and_answers_what_was_refuted(results):
    readme = verdicts.readme_with_table(f"# A\n{verdicts._BEGIN}\nold\n{verdicts._END}\nB\n", results())
    assert readme.startswith(f"# A\n{verdicts._BEGIN}\n\nTested so far: 4 of the 89 statements.")
    assert "| 1 From machine learning to deep learning | 1 | 3 | 0 | 0 |" in readme
    assert readme.endswith(f"\n\n{verdicts._END}\nB\n")
    assert "Refuted" not in readme
    kept = json.loads((results() / "temperature.json").read_text(encoding="utf-8"))["verdicts"]
    wrong = verdicts.readme_with_table(verdicts._BEGIN + verdicts._END, results(verdicts={**kept, "1.02": "refuted"}))
    assert "| 1 From machine learning to deep learning | 0 | 3 | 1 | 0 |" in wrong
    assert [line.split(" | ")[0] for line in wrong.splitlines() if line.startswith("| [")] == [
        "| [1.02](results/VERDICTS.md#1.02)"
    ]


def test_a_sentence_cannot_break_the_table(results):
    findings = [{**results.findings[0], "statement": "a | b <script> *c*"}]
    folder = results(findings=findings, verdicts={"1.02": "supported"})
    assert "a \\| b &lt;script> \\*c\\*" in verdicts.table_of_answers(folder).splitlines()[7]
    assert "a \\| b &lt;script> \\*c\\*" in verdicts.page_of_verdicts(folder)


def test_the_page_has_all_findings_of_a_row_with_links_to_what_is_there(results):
    page = verdicts.page_of_verdicts(results())
    assert page.count("\n### ") == 4
    assert page.count('<a id="1.03"></a>') == 1  # where the README's table points to
    section = page.split("### 1.03 ")[1].split("\n### ")[0]
    findings = [finding for finding in results.findings if finding["row"] == "1.03"]
    assert sum(mark in section for mark in "✓✗?◆◇◈") >= 2
    assert section.count("\n| ") == 1 + len(findings)
    links = re.findall(r"\]\((\S+)\)", page)
    assert "../lessons/linear/temperature.py" in links
    assert "../dlnotes/linear/softmax.py" in links
    assert "../tests/linear/test_softmax.py" in links
    assert [link for link in links if not (contents.results_folder() / link).exists()] == []


def test_the_page_has_a_column_for_each_data_set(tmp_path):
    name = "momentum"
    kept = report.read_results(contents.results_folder() / f"{name}.json")
    other = {**kept, "data": {"name": "not_mnist"}, "verdicts": {**kept["verdicts"], "1.18": "refuted"}}
    other["findings"] = [one | ({"verdict": "refuted"} if one["name"] == "images" else {}) for one in kept["findings"]]
    (tmp_path / f"{name}.json").write_text(json.dumps(kept), encoding="utf-8")
    (tmp_path / "not_mnist").mkdir()
    (tmp_path / "not_mnist" / f"{name}.json").write_text(json.dumps(other), encoding="utf-8")
    section = verdicts.page_of_verdicts(tmp_path).split("### 1.18 ")[1]
    assert "**conditional** on letters · **refuted** on notMNIST letters" in section
    assert "| predicted | letters | notMNIST letters |" in section
    (line,) = [one for one in section.splitlines() if "| A linear classifier of images needs over a tenth" in one]
    assert line.index("✓ held") < line.index("✗ did not hold")


def test_the_page_speaks_of_text_where_a_lesson_reads(tmp_path):
    shutil.copy(contents.results_folder() / "state_of_the_past.json", tmp_path)
    section = verdicts.page_of_verdicts(tmp_path).split("### 4.11 ")[1]
    assert "on Python's documentation." in section
    assert "| On text a net " in section


def test_results_older_than_the_code_are_marked(results):
    assert "measured before the code was last changed" not in verdicts.table_of_answers(results())
    assert "measured before the code was last changed" in verdicts.table_of_answers(results(code="0" * 64))
    assert "measured before the code was last changed" in report.summary([results(code="0" * 64)])
    assert "measured before the code was last changed" in report.summary([results(judge="0" * 64)])


def test_a_row_is_marked_where_the_run_on_one_of_its_data_sets_is_old(results):
    folder = results()
    (folder / "not_mnist").mkdir()
    changes = {"code": "0" * 64, "data": {"name": "not_mnist"}}
    old = json.loads((folder / "temperature.json").read_text("utf-8")) | changes
    (folder / "not_mnist" / "temperature.json").write_text(json.dumps(old), encoding="utf-8")
    for page in verdicts.table_of_answers(folder), verdicts.page_of_verdicts(folder):
        assert "measured before the code was last changed" in page


def test_the_list_shows_the_results_of_the_first_folder_that_has_them(results):
    mine = report.summary([results(verdicts={"1.02": "inconclusive"}), contents.results_folder()])
    assert "1.02 inconclusive" in mine
    assert "1.17 refuted" in mine


def test_results_that_are_current_stand_before_those_that_are_not(results, tmp_path):
    new = shutil.copytree(results(verdicts={"1.02": "supported"}), tmp_path / "new")
    old = results(code="0" * 64, verdicts={"1.02": "refuted"})
    assert "1.02 supported" in report.summary([old, new])
    assert "measured before" not in report.summary([old, new])
    assert "1.02 refuted" in report.summary([old, old])


def test_a_limit_has_marks_and_words_of_its_own(results):
    finding = results.findings[0]
    words = {}
    for kind in ("claim", "limit"):
        for verdict in ("supported", "refuted", "inconclusive"):
            changed = {**finding, "kind": kind, "verdict": verdict, "statement": "It is so."}
            page = verdicts.page_of_verdicts(results(findings=[changed], verdicts={"1.02": "supported"}))
            words[kind, verdict] = page.split("| It is so. | ")[1].partition(": ")[0]
    assert words["limit", "supported"] == "◆ fails here, as predicted"
    assert words["limit", "refuted"] == "◇ predicted to fail here, and did not"
    assert len({mark.split()[0] for mark in words.values()}) == 6


def test_a_run_is_told_in_the_order_of_a_reader():
    lesson = contents.lesson_named("momentum")
    kept = report.read_results(contents.results_folder() / "momentum.json")
    told = report.describe(lesson, kept)
    places = [
        told.index(part) for part in ("Does momentum make SGD faster?", "1.18  CONDITIONAL", "✓ held", "✓ ✗ ? a claim")
    ]
    assert "p 0." not in told
    assert places == sorted(places)
    assert "◆ fails here, as predicted: In a valley of κ = 10" in told
    assert max(map(len, told.splitlines())) < 160


def test_the_list_does_not_fail_for_results_of_another_version(tmp_path):
    (tmp_path / "temperature.json").write_text('{"schema": 0}')
    assert "temperature" in report.summary([tmp_path])


@pytest.mark.parametrize("content", ["", "{", '{"schema": 0}'])
def test_a_damaged_results_file_is_named(tmp_path, content):
    (tmp_path / "temperature.json").write_text(content)
    with pytest.raises(UsageError, match=r"temperature\.json .*run the lesson again"):
        verdicts.table_of_answers(tmp_path)


def test_a_readme_without_a_place_for_the_table_is_refused():
    with pytest.raises(UsageError, match="lacks the line"):
        verdicts.readme_with_table("# No table", contents.results_folder())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"unit": "error", "effect": 2e-16, "seeds": [0, 2e-16], "margin": 1e-12},
            "largest error 2e-16, tolerance 1e-12",
        ),
        (
            {"unit": "ratio", "effect": 3.2, "interval": [3, 3.5], "margin": 1.1, "seeds": [3.2]},
            "3.2 times [3, 3.5]",
        ),
        ({"effect": None}, "not judged"),
    ],
)
def test_effects_are_said_in_the_words_of_their_unit(changes, words):
    finding = {
        "unit": "difference",
        "interval": [0, 1],
        "margin": 0,
        "p": 0.001,
        "p_against": 1,
        "verdict": "supported",
    }
    assert words in report.effect_in_words({**finding, "seeds": [], **changes})


def test_the_statistics_stand_in_a_table_of_their_own():
    kept = report.read_results(contents.results_folder() / "momentum.json")
    lines = report.table_of_tests(kept["findings"]).splitlines()
    assert lines[0].split() == ["effect", "margin", "p", "p", "against", "lowest", "seed", "highest", "seed"]
    assert [line for line in lines if line.startswith("1.18 round valley")]
    assert len([line for line in lines if re.match(r"\d\.\d\d ", line)]) == len(kept["findings"])
    lost = {**kept["findings"][0], "effect": None, "p": None, "p_against": None, "seeds": [1.0, None]}
    assert report.table_of_tests([lost]).splitlines()[1].split()[-5:] == ["0.5", "–", "–", "–", "–"]


def planned(stem, seeds):
    return SimpleNamespace(stem=stem, lesson=SimpleNamespace(name=stem.partition(".")[0]), seeds=range(seeds))


def test_a_run_of_several_lessons_says_how_many_and_how_long(tmp_path):
    names = ("momentum", "over_fitting")
    kept = [report.read_results(contents.results_folder() / f"{name}.json") for name in names]
    all_seeds = [planned(name, len(one["seeds"])) for name, one in zip(names, kept, strict=True)]
    said = report.announcement(all_seeds, jobs=2, quick=False, out=tmp_path)
    assert said.startswith(
        f"2 runs of lessons: about {sum(one['seconds'] for one in kept) / 120:.0f} minutes with 2 proc"
    )
    plans = [planned(f"{name}.exploratory", 1) for name in names]
    seconds = sum(one["seconds"] / len(one["seeds"]) for one in kept)
    assert f"about {seconds:.0f} s with 1 process" in report.announcement(plans, jobs=1, quick=False, out=tmp_path)
    unknown = report.announcement([*plans, planned("new", 1)], jobs=1, quick=False, out=tmp_path)
    assert "and 1 of them nobody knows how long" in unknown
    assert "conclude nothing" in report.announcement(plans, jobs=1, quick=True, out=tmp_path)
