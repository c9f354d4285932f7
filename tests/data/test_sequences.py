"""Planted sequences: what is asked for is there, where it is said to be, and nowhere else."""

import itertools
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from dlnotes import data
from dlnotes.randomness import stream


def draws(seed=0):
    return stream(seed, "sequences")


def test_the_symbol_to_recall_comes_first_and_the_cue_last():
    inputs, targets = data.delayed_recall(500, 6, symbols=5, distractors=3, generator=draws())
    assert inputs.shape == (500, 7, 9)
    assert torch.equal(inputs.sum(2), torch.ones(500, 7))
    kinds = inputs.argmax(2)
    assert torch.equal(kinds[:, 0], targets)
    assert set(targets.tolist()) == set(range(5))
    assert set(kinds[:, 1:-1].flatten().tolist()) == {5, 6, 7}
    assert set(kinds[:, -1].tolist()) == {8}
    assert data.delayed_recall(4, 1, generator=draws()).inputs.shape == (4, 2, 13)  # nothing lies between


def test_what_is_copied_is_written_after_the_cue_in_its_order():
    inputs, targets = data.copy_memory(50, 7, length=4, symbols=6, generator=draws())
    kinds = inputs.argmax(2)
    assert kinds.shape == targets.shape == (50, 16)
    assert torch.equal(kinds[:, :4], targets[:, -4:])
    assert set(kinds[:, 4:11].flatten().tolist()) == set(targets[:, :12].flatten().tolist()) == {6}
    assert set(kinds[:, 11].tolist()) == {7}
    assert set(kinds[:, 12:].flatten().tolist()) == {6}
    assert data.copy_memory(2, 0, length=3, generator=draws()).inputs.shape == (2, 7, 10)


@pytest.mark.parametrize("length", [2, 3, 50])
def test_one_number_in_either_half_is_marked_and_the_two_are_added(length):
    inputs, targets = data.adding(400, length, generator=draws())
    numbers, marks = inputs.unbind(2)
    half = length // 2
    assert torch.equal(marks[:, :half].sum(1), torch.ones(400))
    assert torch.equal(marks[:, half:].sum(1), torch.ones(400))
    assert torch.allclose((numbers * marks).sum(1), targets)
    assert (marks.sum(0) > 0).all()  # each place is marked now and then


def test_always_answering_1_has_a_squared_error_of_a_sixth():
    targets = data.adding(100_000, 20, generator=draws()).targets
    assert (targets - 1).square().mean().item() == pytest.approx(1 / 6, rel=0.02)


@pytest.mark.parametrize("back", [0, 1, 5])
def test_the_answer_lies_so_many_steps_back(back):
    inputs, targets = data.k_back(30, 6, back, symbols=4, generator=draws())
    kinds = inputs.argmax(2)
    assert torch.equal(targets[:, back:], kinds[:, : 6 - back])
    assert (targets[:, :back] == -100).all()


def test_a_chain_has_the_frequencies_of_its_matrix():
    matrix = data.transition_matrix(4, generator=draws())
    chain = data.markov_chain(2_000, 100, matrix, generator=draws(1))
    counts = torch.zeros(4, 4).index_put_(
        (chain[:, :-1].flatten(), chain[:, 1:].flatten()), torch.tensor(1.0), accumulate=True
    )
    torch.testing.assert_close(counts / counts.sum(1, keepdim=True), matrix.float(), atol=0.015, rtol=0)


def test_a_chain_that_drifts_follows_the_matrix_of_each_step():
    forward, backward = torch.eye(3).roll(1, 1), torch.eye(3).roll(-1, 1)
    chain = data.markov_chain(20, 4, torch.stack([forward, backward, forward]), generator=draws())
    first = chain[:, 0]
    assert torch.equal(chain, torch.stack([first, (first + 1) % 3, first, (first + 1) % 3], 1))


def test_sharpness_0_makes_all_symbols_equally_likely():
    assert torch.allclose(data.transition_matrix(5, sharpness=0.0, generator=draws()), torch.tensor(0.2).double())


def test_sentences_are_those_of_the_grammar_and_all_of_them_come():
    grammar = {"S": ["N runs", "N sees N"], "N": ["she", "he"]}
    found = set(data.sentences(300, grammar, generator=draws()))
    expected = {f"{one} runs" for one in ("she", "he")} | {
        f"{one} sees {other}" for one in ("she", "he") for other in ("she", "he")
    }
    assert found == expected


def best_sequence(transitions, start, steps):
    """The most probable sequence after the start and its log-probability, found by trying all of them."""
    symbols = range(len(transitions))
    found = {}
    for sequence in itertools.product(symbols, repeat=steps):
        ways = itertools.pairwise((start, *sequence))
        found[sequence] = sum(math.log(p) if (p := transitions[i][j].item()) else -math.inf for i, j in ways)
    return max(found.items(), key=lambda item: item[1])


def test_a_garden_path_is_what_its_formulas_say():
    path = data.garden_path(0.6, 3)
    assert (path.start, path.good, path.bad) == (0, 1, (2, 3, 4))
    assert path.transitions.dtype == torch.float64
    assert path.transitions.tolist() == [
        [0, 0.4, 0.6, 0, 0],
        [0, 1, 0, 0, 0],
        *[[0, 0, 1 / 3, 1 / 3, 1 / 3]] * 3,
    ]
    assert best_sequence(path.transitions, path.start, 1) == ((2,), pytest.approx(math.log(0.6)))
    for steps in (2, 4):
        assert best_sequence(path.transitions, path.start, steps) == ((1,) * steps, pytest.approx(math.log(0.4)))


def test_a_likely_bad_branch_is_best_until_its_probability_is_spread_thin():
    p, spread = 0.85, 2  # log(p / (1 - p)) / log 2 is 2.5: the good sequence is ahead from T = 4 on
    path = data.garden_path(p, spread)
    for steps in range(1, 6):
        sequence, score = best_sequence(path.transitions, path.start, steps)
        assert (sequence[0] == path.good) == (steps >= 4)
        assert score == pytest.approx(max(math.log(1 - p), math.log(p) - (steps - 1) * math.log(spread)))


def test_samples_end_in_the_bad_branch_as_often_as_said(seed):
    p, spread, count = 0.6, 5, 20_000
    path = data.garden_path(p, spread)
    chain = data.markov_chain(count, 5, path.transitions, first=path.start, generator=draws(seed))
    assert (chain[:, 0] == path.start).all()
    bad = chain[:, 1] == path.bad[0]
    assert torch.equal(bad, torch.isin(chain[:, 1:], torch.tensor(path.bad)).all(1))
    assert torch.equal(~bad, (chain[:, 1:] == path.good).all(1))
    assert bad.double().mean().item() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / count))
    all_of_3 = bad[: count // 3 * 3].view(-1, 3).all(1).double().mean().item()
    assert all_of_3 == pytest.approx(p**3, abs=5 * math.sqrt(p**3 * (1 - p**3) / (count // 3)))
    among = torch.bincount(chain[bad][:, 2:].flatten(), minlength=spread + 2)[list(path.bad)].double()
    assert torch.allclose(among / among.sum(), torch.tensor(1 / spread).double(), atol=0.01)  # five standard errors


def test_a_chain_that_is_told_where_to_begin_draws_its_other_symbols_from_the_first_number_on():
    matrix = data.transition_matrix(4, generator=draws())
    chain = data.markov_chain(50, 6, matrix, first=2, generator=draws(1))
    assert (chain[:, 0] == 2).all()
    numbers = torch.rand(5, 50, generator=draws(1), dtype=torch.float64)
    expected = (numbers[0, :, None] >= matrix[2].cumsum(0)[:-1]).sum(1)
    assert torch.equal(chain[:, 1], expected)


def made_by(grammar, longest):
    """All sentences of up to so many words that each symbol makes: rules are filled in until nothing new comes."""
    made = {symbol: set() for symbol in grammar}
    while True:
        before = sum(map(len, made.values()))
        for symbol, rules in grammar.items():
            for rule in rules:
                choices = [made[part] if part in grammar else {(part,)} for part in rule.split()]
                joined = (tuple(itertools.chain(*ways)) for ways in itertools.product(*map(tuple, choices)))
                made[symbol] |= {words for words in joined if len(words) <= longest}
        if sum(map(len, made.values())) == before:
            return made


RULES = st.lists(st.lists(st.sampled_from("SAab"), max_size=3).map(" ".join), min_size=1, max_size=3)


@given(st.fixed_dictionaries({"S": RULES, "A": RULES}))
@example({"S": ["S S", "a"], "A": ["b"]})  # ambiguous
@example({"S": ["S a", "A"], "A": ["S b", ""]})  # left-recursive, one through the other, and with an empty rule
@example({"S": ["a S b", ""], "A": ["b"]})  # nested
@example({"S": ["S", "A"], "A": ["S"]})  # makes nothing at all
@example({"S": ["A S a", "b"], "A": ["", "A A"]})  # left-recursive behind what may be empty
def test_a_sentence_is_what_a_list_of_all_of_them_has(grammar):
    made = made_by(grammar, 4)["S"]
    for length in range(5):
        for words in itertools.product("ab", repeat=length):
            assert data.is_sentence(" ".join(words), grammar) == (words in made)


ENGLISH = {
    "S": ["NP VP"],
    "NP": ["the N", "the N that VP", "the N that NP V"],
    "VP": ["sleeps", "V NP"],
    "N": ["dog", "cat"],
    "V": ["sees", "chases"],
}


def test_what_a_grammar_draws_it_recognises_and_hardly_ever_when_it_is_shuffled():
    drawn = data.sentences(200, ENGLISH, generator=draws())
    assert all(data.is_sentence(sentence, ENGLISH) for sentence in drawn)
    generator, shuffled = draws(1), []
    for words in map(str.split, drawn):
        order = torch.randperm(len(words), generator=generator).tolist()
        shuffled.append(" ".join(words[place] for place in order))
    assert sum(data.is_sentence(sentence, ENGLISH) for sentence in shuffled) < 50  # "the dog sleeps" is 1 in 6


def test_a_sentence_by_hand():
    assert data.is_sentence("the dog that the cat that sleeps sees chases the cat", ENGLISH)
    assert not data.is_sentence("the dog that the cat that sleeps sees chases", ENGLISH)
    assert data.is_sentence("  dog\n", ENGLISH, start="N")
    assert not data.is_sentence("the N sleeps", ENGLISH)  # N is a symbol, not a word
    assert not data.is_sentence("", ENGLISH)
    deep = {"S": ["( S )", "S S", ""]}
    assert data.is_sentence("( " * 60 + ") " * 60, deep)
    assert not data.is_sentence("( " * 60 + ") " * 59, deep)


def test_a_sentence_is_a_text():
    with pytest.raises(TypeError, match="a sentence must be a str, words between blanks, not list"):
        data.is_sentence(["the", "dog"], ENGLISH)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.garden_path(1.0, 3), "bad_probability must be between 0 and 1, not 1.0"),
        (lambda: data.garden_path(float("nan"), 3), "bad_probability must be between 0 and 1, not nan"),
        (lambda: data.garden_path(0.5, 0), "spread must be an int of 1 or more, not 0"),
        (
            lambda: data.markov_chain(2, 3, torch.eye(2), first=2, generator=draws()),
            "first must be a symbol, an int from 0 to 1, not 2",
        ),
        (lambda: data.is_sentence("a", {"N": ["a"]}), "each symbol needs a list of rules, and 'S' has none"),
        (lambda: data.is_sentence("a", {"S": ["a"], "N": []}), "and 'N' has none"),
        (lambda: data.is_sentence("a", {"S": "a"}), "and 'S' has none"),
        (lambda: data.delayed_recall(3, 0, generator=draws()), "delay must be an int of 1 or more, not 0"),
        (lambda: data.copy_memory(3, -1, generator=draws()), "delay must be an int of 0 or more, not -1"),
        (lambda: data.adding(3, 1, generator=draws()), "length must be 2 or more, so that there are two"),
        (
            lambda: data.k_back(3, 4, 4, generator=draws()),
            "back must be an int from 0 to 3, below the length of 4, not 4",
        ),
        (lambda: data.k_back(3, 4, 1, symbols=0, generator=draws()), "symbols must be an int of 1 or more"),
        (lambda: data.markov_chain(2, 3, torch.ones(2, 3), generator=draws()), r"must be \[K, K\], or \[2, K, K\]"),
        (lambda: data.markov_chain(2, 3, torch.ones(2, 2), generator=draws()), "with a sum of 1"),
        (lambda: data.markov_chain(2, 3, torch.tensor([[2.0, -1], [0, 1]]), generator=draws()), "0 or larger"),
        (lambda: data.sentences(1, {"N": ["a"]}, generator=draws()), "each symbol needs a list of rules, and 'S'"),
        (lambda: data.sentences(1, {"S": []}, generator=draws()), "and 'S' has none"),
        (lambda: data.sentences(1, {"S": ["S S"]}, generator=draws()), "did not end within 10,000 choices"),
        (lambda: data.sentences(1, {"S": ["A"], "A": ["S"]}, generator=draws()), "did not end within 10,000 choices"),
        (lambda: data.transition_matrix(3, sharpness=float("nan"), generator=draws()), "sharpness must be finite"),
        (lambda: data.markov_chain(2, 3, torch.tensor(1.0), generator=draws()), r"must be \[K, K\], or \[2, K, K\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
