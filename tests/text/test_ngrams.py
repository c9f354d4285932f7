"""Row 4.22: n-grams, against counting with a Counter."""

import math
from collections import Counter

import pytest
import torch

from dlnotes.randomness import stream
from dlnotes.text import NGrams, decoding
from tests import reference

END = 3


def words(count=30, seed=0):
    """Sequences of 0, 1, 2 of lengths 0 to 6."""
    draws = stream(seed, "words")
    lengths = torch.randint(7, (count,), generator=draws).tolist()
    return [torch.randint(END, (length,), generator=draws).tolist() for length in lengths]


def counted(sequences, order):
    """The function from the symbols before to the probability of each next one, by counting anew each time."""

    def after(before):
        context = ((END,) * order + tuple(before))[len(before) + 1 :]  # the last order - 1
        while True:
            found = Counter()
            for sequence in sequences:
                padded = (*[END] * (order - 1), *sequence, END)
                for place in range(order - 1, len(padded)):
                    if padded[place - len(context) : place] == context:
                        found[padded[place]] += 1
            if found:
                return [found[symbol] / found.total() for symbol in range(END + 1)]
            context = context[1:]

    return after


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_counts(order):
    sequences = words()
    model, after = NGrams(sequences, order, end=END), counted(sequences, order)
    step = model.step_function()
    for before in [*words(seed=1), *([0, END, 1], [END, END, 2, 2], [2, END])]:  # also what goes on after an end
        last, state = model.begin(1)
        log_probs, state = step(last, state)
        for place, symbol in enumerate(before):
            assert log_probs[0].exp().tolist() == pytest.approx(after(before[:place]), abs=1e-12)
            log_probs, state = step(torch.tensor([symbol]), state)
        assert log_probs[0].exp().tolist() == pytest.approx(after(before), abs=1e-12)
    assert model.probabilities.shape == (4 ** (order - 1), 4)
    assert model.probabilities.dtype == torch.float64


def test_trigrams_by_hand():
    """Of 0 1 0 2 and 0 1 1: after 0 1 either 0 or 1; after 2 0, which never came, what came after 0."""
    model = NGrams([[0, 1, 0, 2], [0, 1, 1]], 3, end=END)

    def row(first, second):
        return model.probabilities[4 * first + second].tolist()

    assert row(END, END) == [1.0, 0.0, 0.0, 0.0]
    assert row(0, 1) == [0.5, 0.5, 0.0, 0.0]
    assert row(0, 2) == [0.0, 0.0, 0.0, 1.0]
    assert row(2, 0) == pytest.approx([0.0, 2 / 3, 1 / 3, 0.0])
    assert row(1, END) == [1.0, 0.0, 0.0, 0.0]  # after the end, a beginning


def test_a_symbol_that_never_came_backs_off_to_how_often_each_one_came():
    model = NGrams([[0, 0, 1]], 3, end=END)
    for before in range(4):
        assert model.probabilities[4 * before + 2].tolist() == [0.5, 0.25, 0.0, 0.25]


def test_order_1_looks_back_at_nothing():
    model = NGrams([[0, 0, 1], []], 1, end=2)
    assert model.probabilities.tolist() == [[0.4, 0.2, 0.4]]
    last, state = model.begin(2)
    assert last.tolist() == [2, 2]
    for symbol in (0, 1, 2):
        log_probs, state = model.step_function()(torch.tensor([symbol, 0]), state)
        assert log_probs.exp().tolist() == [pytest.approx([0.4, 0.2, 0.4])] * 2


def test_a_long_context_writes_what_was_counted_and_nothing_else():
    """Order 8 knows all of a word: only words that it has seen have a probability, each its share."""
    sequences = [word for word in words(12) if word]
    model = NGrams(sequences, 8, end=END)
    found = decoding.beam_search(model.step_function(), *model.begin(1), beams=40, max_length=8, end=END)
    possible = {
        tuple(row[:-1]): math.exp(log)
        for row, log in zip(found.written()[0], found.log_probs[0].tolist(), strict=True)
        if log > float("-inf")
    }
    shares = {word: count / len(sequences) for word, count in Counter(map(tuple, sequences)).items()}
    assert possible == pytest.approx(shares)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_beam_search_over_the_states_is_one_over_whole_prefixes(order):
    sequences = words()
    model, after = NGrams(sequences, order, end=END), counted(sequences, order)

    def logs(prefix):
        return [math.log(p) if p else float("-inf") for p in after(prefix)]

    settings = {"beams": 3, "end": END}
    found = decoding.beam_search(model.step_function(), *model.begin(2), max_length=5, **settings)
    expected = reference.beam_search(logs, (), 3, 5, end=END)
    for place in range(2):
        assert found.log_probs[place].tolist() == pytest.approx([log for log, _ in expected], abs=1e-12)


def test_a_sum_of_logarithms_is_the_likelihood_of_a_word():
    sequences = words()
    model = NGrams(sequences, 2, end=END)
    draws = stream(0, "draws")
    found = decoding.sample(model.step_function(), *model.begin(3), max_length=9, end=END, samples=5, generator=draws)
    table = model.probabilities.log().tolist()
    for rows, logs in zip(found.written(), found.log_probs.tolist(), strict=True):
        for row, log in zip(rows, logs, strict=True):
            pairs = zip([END, *row], row, strict=False)
            assert log == pytest.approx(sum(table[one][other] for one, other in pairs), abs=1e-12)


@pytest.mark.parametrize(
    ("sequences", "order", "end", "message"),
    [
        ([], 2, 3, "there must be one sequence or more to count in"),
        ([[0]], 0, 3, "order must be an int of 1 or more, not 0"),
        ([[0]], 2.0, 3, "order must be an int of 1 or more, not 2.0"),
        ([[0]], 2, 0, "end must be an int of 1 or more, not 0"),
        ([[0], [1, 3]], 2, 3, "symbols must be from 0 to 2, and they go from 0 to 3"),
        ([[-1]], 2, 3, "symbols must be from 0 to 2, and they go from -1 to -1"),
        ([[0]], 6, 26, "27 symbols have 387,420,489 runs of 6: expected 20,000,000 at most"),
    ],
)
def test_what_cannot_be_counted_is_refused(sequences, order, end, message):
    with pytest.raises(ValueError, match=message):
        NGrams(sequences, order, end=end)


def test_states_and_symbols_that_there_are_not_are_refused():
    model = NGrams([[0, 1]], 2, end=2)
    with pytest.raises(ValueError, match="there is no state to go on from: start from what begin gives"):
        decoding.greedy(model.step_function(), torch.tensor([2]), max_length=2)
    with pytest.raises(ValueError, match="symbols must be from 0 to 2, and there is a 3"):
        decoding.greedy(model.step_function(), torch.tensor([3]), torch.tensor([0]), max_length=2)
    with pytest.raises(ValueError, match="count must be an int of 1 or more, not 0"):
        model.begin(0)
