"""Published tests of word vectors: their files, and scores that are gensim's."""

import math
import os
from pathlib import Path

import pytest
import torch

from dlnotes.data import DataError, MissingDataError
from dlnotes.randomness import stream
from dlnotes.text import (
    Question,
    RatedPair,
    WordVectors,
    analogy_accuracy,
    read_analogies,
    read_similarities,
    similarity_correlation,
)


def written(tmp_path, content):
    path = Path(tmp_path, "file")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def published():
    """The folder of the real files."""
    root = os.environ.get("DLNOTES_DATA")
    if root is None or not Path(root, "word-eval").is_dir():
        pytest.skip("$DLNOTES_DATA names no folder with word-eval, the published tests of word vectors")
    return Path(root, "word-eval")


# --- Files ---


def test_questions_come_in_sections(tmp_path):
    content = "//Copyright\n: capital-common\nAthens Greece Oslo Norway\n\n:family \r\nBOY\tgirl  brother sister\r\n"
    assert read_analogies(str(written(tmp_path, content))) == [
        Question("capital-common", ("athens", "greece", "oslo", "norway")),
        Question("family", ("boy", "girl", "brother", "sister")),
    ]


@pytest.mark.parametrize(
    "content",
    [
        "Word 1,Word 2,Human (mean)\r\nlove,Sex,6.77\r\ntiger,tiger,10.00\r\n",
        "love\tsex\t6.77\ntiger\ttiger\t10",
        '# of a study\nWord 1,Word 2,Human (mean),1,2\n"love", sex ,6.77,9,6\n\ntiger,tiger,10.00,10,10\n',
        "\ufefflove,sex,6.77\ntiger,tiger,10.00\n",
    ],
)
def test_pairs_have_commas_or_tabs(content, tmp_path):
    expected = [RatedPair("love", "sex", 6.77), RatedPair("tiger", "tiger", 10.0)]
    assert read_similarities(written(tmp_path, content)) == expected


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (
            read_analogies,
            "boy girl he she\n: family\n",
            ", line 1: expected a section first, as in ': family', found 'boy",
        ),
        (
            read_analogies,
            ": family\nboy girl he she\nboy girl he\n",
            ", line 3: expected four words, found 3: 'boy girl",
        ),
        (read_analogies, ": family\nboy girl he she it\n", ", line 2: expected four words, found 5: 'boy girl"),
        (read_analogies, ": family\n", " has no questions: expected lines of four words"),
        (read_analogies, "", " has no questions"),
        (read_analogies, b": family\n\nboy g\xe9 he she\n", r", line 3: expected UTF-8, found b'boy g\\xe9 he she'"),
        (
            read_similarities,
            "a,b,mean\nlove,sex,6.77\nlove,sex\n",
            ", line 3: expected two words and a number, found 'lov",
        ),
        (read_similarities, "a,b,mean\nlove,sex,high\n", ", line 2: expected two words and a number"),
        (read_similarities, "a,b,mean\nlove,sex,nan\n", ", line 2: expected two words and a number"),
        (read_similarities, "a,b,mean\nlove,,6.77\n", ", line 2: expected two words and a number"),
        (read_similarities, "love sex 6.77\n", ", line 1: expected two words and a number, found 'love sex 6.77'"),
        (read_similarities, "a,b,mean\n", " has no pairs: expected lines of two words and a number"),
        (read_similarities, b"a,b,mean\nl\xff,sex,1\n", ", line 2: expected UTF-8"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(read, content, message, tmp_path):
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=f"{path}{message}"):
        read(path)


@pytest.mark.parametrize("read", [read_analogies, read_similarities])
def test_what_cannot_be_read_is_said(read, tmp_path):
    with pytest.raises(MissingDataError, match="there is no file"):
        read(tmp_path / "file")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_the_real_files_have_19544_questions_in_14_sections_and_353_pairs(published):
    questions = read_analogies(published / "questions-words.txt")
    assert len(questions) == 19_544
    assert len({question.section for question in questions}) == 14
    assert questions[0] == Question("capital-common-countries", ("athens", "greece", "baghdad", "iraq"))
    pairs = read_similarities(published / "wordsim353" / "combined.csv")
    assert len(pairs) == 353
    assert pairs[0] == RatedPair("love", "sex", 6.77)
    parts = [read_similarities(published / "wordsim353" / f"set{part}.csv") for part in (1, 2)]
    assert [*map(len, parts)] == [153, 200]
    assert {pair[:2] for part in parts for pair in part} == {pair[:2] for pair in pairs}


# --- Scores ---

# The second number tells a royal from others, the first a man from a woman, and the queen's is a little off.
FAMILY = WordVectors(
    ["man", "woman", "king", "queen", "prince", "princess", "cabbage"],
    torch.tensor([[1, 0, 1], [-1, 0, 1], [1, 1, 1], [-1, 1, 1], [1, 2, 1], [-1, 2, 1], [0, 0.3, -1.0]]),
)
ROYAL = Question("royal", ("man", "woman", "king", "queen"))
WRONG = Question("wrong", ("man", "woman", "king", "cabbage"))
UNKNOWN = Question("royal", ("man", "woman", "duke", "duchess"))
LAST = Question("more", ("king", "queen", "prince", "princess"))


def test_right_answers_are_counted_by_section():
    nothing = Question("nothing", ("x", "y", "man", "woman"))
    scores = analogy_accuracy(FAMILY, [ROYAL, WRONG, UNKNOWN, LAST, nothing])
    assert scores[:4] == (2 / 3, 2, 3, 2)
    assert list(scores.sections) == ["royal", "wrong", "more", "nothing"]
    assert scores.sections["royal"] == (1.0, 1, 1, 1, {})
    assert scores.sections["wrong"] == (0.0, 0, 1, 0, {})
    assert scores.sections["nothing"][1:4] == (0, 0, 1)
    assert math.isnan(scores.sections["nothing"].accuracy)


def test_only_the_most_frequent_words_are_known():
    assert analogy_accuracy(FAMILY, [ROYAL, WRONG, LAST], most_frequent=4)[:4] == (1.0, 1, 1, 2)
    assert analogy_accuracy(FAMILY, [ROYAL, WRONG, LAST], most_frequent=6)[:4] == (1.0, 2, 2, 1)
    assert analogy_accuracy(FAMILY, [ROYAL, WRONG, LAST], most_frequent=7)[:4] == (2 / 3, 2, 3, 0)
    # Others are no answers either: the nearest of all is "near", and it is the last word.
    words = WordVectors([*FAMILY.words, "near"], torch.cat([FAMILY.vectors, FAMILY["queen"][None] + 0.01]))
    assert analogy_accuracy(words, [ROYAL], most_frequent=7).accuracy == 1.0


def test_the_words_of_the_question_are_no_answers_unless_they_may_be():
    """From man to woman is a small step here: the nearest to woman − man + king is king."""
    rows = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.0, 0.0, 1.0], [0.0, 0.4, 1.0]])
    vectors = WordVectors(["man", "woman", "king", "queen"], rows)
    assert analogy_accuracy(vectors, [ROYAL]).right == 1
    assert analogy_accuracy(vectors, [ROYAL], exclude=False).right == 0
    assert analogy_accuracy(vectors, [ROYAL._replace(words=("man", "woman", "king", "king"))], exclude=False).right == 1


def test_capitals_make_no_difference_and_the_first_spelling_counts():
    """The second spelling of "king" would answer: it is woman − man + king itself."""
    man, woman, king = torch.nn.functional.normalize(FAMILY.vectors[:3])
    rows = torch.cat([FAMILY.vectors, (woman - man + king)[None]])
    vectors = WordVectors([*map(str.upper, FAMILY.words), "king"], rows)
    assert analogy_accuracy(vectors, [ROYAL]).right == 1
    assert analogy_accuracy(vectors, [Question("capitals", ("Man", "WOMAN", "king", "Queen"))]).right == 1
    pairs = [RatedPair("King", "queen", 3), RatedPair("man", "king", 2), RatedPair("cabbage", "king", 1)]
    assert similarity_correlation(vectors, pairs) == similarity_correlation(FAMILY, pairs)


def test_the_measure_and_the_method_are_handed_on():
    draws = stream(0, "vectors")
    words = [f"w{number}" for number in range(40)]
    vectors = WordVectors(words, torch.randn(40, 4, generator=draws) * torch.rand(40, 1, generator=draws))
    for settings in ({}, {"measure": "dot"}, {"measure": "l2"}, {"method": "multiply"}):
        asked = [words[3 * place : 3 * place + 3] for place in range(13)]
        questions = [Question("s", (*each, vectors.analogy(*each, count=1, **settings)[0][0])) for each in asked]
        assert analogy_accuracy(vectors, questions, **settings).accuracy == 1.0, settings


def test_a_rank_correlation_by_hand():
    """Cosines with the first word fall from 1 to −1; ranks 1 2 3 4 beside 1 3 2 4: ρ = 1 − 6 · 2 / 60."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    vectors = WordVectors(["a", "b", "c", "d", "e"], rows)
    pairs = [RatedPair("a", word, rating) for word, rating in zip("bcdef", (9, 5, 7, 1, 4), strict=True)]
    assert similarity_correlation(vectors, pairs) == (pytest.approx(0.8), 4, 1)
    assert similarity_correlation(vectors, pairs, most_frequent=4) == (pytest.approx(0.5), 3, 2)
    assert similarity_correlation(vectors, pairs[2:0:-1]) == (pytest.approx(-1.0), 2, 0)


def test_a_pair_that_is_rated_twice_is_a_tie():
    vectors = WordVectors(["a", "b", "c"], torch.randn(3, 100, generator=stream(0, "vectors")))
    twice = [RatedPair("a", "b", 1.0), RatedPair("b", "a", 2.0), RatedPair("a", "b", 3.0)]
    with pytest.raises(ValueError, match="the similarities of all 3 pairs are"):
        similarity_correlation(vectors, twice)


def test_half_precision_makes_no_ties():
    """Of 780 pairs, whose cosines would have 11 bits."""
    words = [f"w{number}" for number in range(40)]
    rows = torch.randn(40, 100, generator=stream(0, "vectors")).half()
    pairs = [RatedPair(words[a], words[b], 40 * a + b) for a in range(40) for b in range(a)]
    found, expected = (similarity_correlation(WordVectors(words, each), pairs).rho for each in (rows, rows.double()))
    assert found == expected


def test_the_measure_of_similarity_is_handed_on():
    rows = torch.tensor([[1.0, 0.0], [9.0, 9.0], [1.0, 0.5], [1.5, 0.0]])
    vectors = WordVectors(["a", "b", "c", "d"], rows)
    pairs = [RatedPair("a", "b", 3), RatedPair("a", "c", 2), RatedPair("a", "d", 1)]
    found = {
        measure: similarity_correlation(vectors, pairs, measure=measure).rho for measure in ("cosine", "dot", "l2")
    }
    # cosines 0.71 0.89 1; products 9 1 1.5; distances 12 0.5 0.5
    assert found == {"cosine": pytest.approx(-1), "dot": pytest.approx(0.5), "l2": pytest.approx(-math.sqrt(0.75))}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: analogy_accuracy(FAMILY, [UNKNOWN]), "none of 1 questions has all its words among the 7 known"),
        (lambda: analogy_accuracy(FAMILY, []), "none of 0 questions"),
        (lambda: analogy_accuracy(FAMILY, [ROYAL], most_frequent=3), "none of 1 questions .* among the 3 known"),
        (
            lambda: analogy_accuracy(FAMILY, [ROYAL], most_frequent=0),
            "most_frequent must be an int of 1 or more, not 0",
        ),
        (lambda: analogy_accuracy(FAMILY, [ROYAL], measure="l1"), "measure must be"),
        (lambda: similarity_correlation(FAMILY, [RatedPair("man", "king", 1.0)] * 1), "two pairs or more .* not 1"),
        (lambda: similarity_correlation(FAMILY, [], most_frequent=2), "among the 2 known, not 0"),
        (
            lambda: similarity_correlation(FAMILY, [RatedPair("man", "king", 1), RatedPair("man", "queen", 1)]),
            "the ratings of all 2 pairs are 1: there is nothing to order",
        ),
    ],
)
def test_what_has_no_score_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


# --- As gensim ---


def in_gensim(vectors):
    theirs = pytest.importorskip("gensim.models").KeyedVectors(vectors.vectors.shape[1])
    theirs.add_vectors(list(vectors.words), vectors.vectors.numpy())
    return theirs


def assert_as_gensim(vectors, questions, path, most_frequent):
    ours = analogy_accuracy(vectors, questions, most_frequent=most_frequent)
    accuracy, sections = in_gensim(vectors).evaluate_word_analogies(path, restrict_vocab=most_frequent)
    assert ours.accuracy == pytest.approx(accuracy)
    counts = {each["section"]: (len(each["correct"]), len(each["incorrect"])) for each in sections[:-1]}
    assert {name: (each.right, each.asked - each.right) for name, each in ours.sections.items()} == counts
    return ours


def test_analogies_are_scored_as_in_gensim(tmp_path, seed):
    """Words of 30 roots in 4 roles, with noise; some with capitals, some in two spellings, some in no question."""
    draws = stream(seed, "words")
    roots, roles = torch.randn(30, 1, 20, generator=draws), torch.randn(1, 4, 20, generator=draws)
    rows = (roots + roles + 0.9 * torch.randn(30, 4, 20, generator=draws)).flatten(0, 1)
    names = [f"r{root}x{role}" for root in range(30) for role in range(4)]
    words = [name.upper() if place % 7 == 0 else name for place, name in enumerate(names)]
    copies = rows[::5] + 0.1 * torch.randn(24, 20, generator=draws)
    order = torch.randperm(144, generator=draws).tolist()
    both, all_rows = [*words, *(name.title() for name in names[::5])], torch.cat([rows, copies])
    spelled = {both[place]: all_rows[place] for place in order}  # in drawn order; the few that are spelled alike once
    vectors = WordVectors(list(spelled), torch.stack(list(spelled.values())))
    lines = []
    for role in range(1, 4):
        lines.append(f": role {role}")
        lines += [f"r{a}x0 r{a}x{role} r{c}x0 R{c}X{role}" for a in range(0, 32, 3) for c in range(0, 32, 2) if a != c]
    path = written(tmp_path, "\n".join(lines) + "\n")
    ours = assert_as_gensim(vectors, read_analogies(path), path, 120)
    assert 0.1 < ours.accuracy < 0.9
    assert ours.left_out > 20


def test_pairs_are_scored_as_in_gensim(tmp_path, seed):
    draws = stream(seed, "words")
    words = [f"w{number}" for number in range(40)]
    vectors = WordVectors(words, torch.randn(40, 10, generator=draws))
    lines = []
    for _ in range(100):
        one, apart, rating = torch.randint(1, 50, (3,), generator=draws).tolist()
        lines.append(f"w{one}\tW{(one + apart) % 50}\t{rating % 9}")
    path = written(tmp_path, "\n".join(lines))
    found = similarity_correlation(vectors, read_similarities(path), most_frequent=35)
    _, spearman, left_out = in_gensim(vectors).evaluate_word_pairs(path, restrict_vocab=35)
    assert found.rho == pytest.approx(spearman.statistic, abs=1e-6)
    assert found.left_out == pytest.approx(left_out)  # per cent, of 100
    assert found.used == 100 - found.left_out


def test_the_real_files_are_scored_as_in_gensim(published):
    """Vectors of the words of two sections, such that some questions are answered; those of the others are left out."""
    path, draws = published / "questions-words.txt", stream(0, "words")
    questions = [each.words for each in read_analogies(path) if each.section in ("family", "currency")]
    rows = {word: torch.randn(30, generator=draws) for question in questions for word in question}
    for a, b, c, d in questions[::9]:
        rows[d] = rows[b] - rows[a] + rows[c] + 0.3 * torch.randn(30, generator=draws)
    vectors = WordVectors(list(rows), torch.stack(list(rows.values())))
    ours = assert_as_gensim(vectors, read_analogies(path), path, len(vectors) - 10)
    assert 0.05 < ours.accuracy < 0.95
    assert ours.asked > 500
    pairs = published / "wordsim353" / "combined.csv"
    words = list(dict.fromkeys(word for pair in read_similarities(pairs) for word in pair[:2]))[:-9]
    vectors = WordVectors(words, torch.randn(len(words), 30, generator=draws))
    found = similarity_correlation(vectors, read_similarities(pairs))
    _, spearman, left_out = in_gensim(vectors).evaluate_word_pairs(pairs, delimiter=",")
    assert found.rho == pytest.approx(spearman.statistic, abs=1e-6)
    assert found.left_out == pytest.approx(left_out / 100 * 353)
    assert found.left_out > 0
    assert found.used + found.left_out == 353
