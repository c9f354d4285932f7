"""Rows 4.21, 4.23 to 4.25: decoding, against searches over plain lists and against all sequences that there are."""

import functools
import itertools
import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from dlnotes import data
from dlnotes.randomness import stream
from dlnotes.text import decoding
from tests import reference

DOUBLE = torch.float64
MINUS_INFINITY = float("-inf")


def prefix_model(symbols, seed=0):
    """Log-probabilities that depend on all symbols before, as plain numbers."""

    @functools.cache
    def after(prefix):
        draws = random.Random(f"{seed} {prefix}")
        return reference.log_softmax([draws.gauss(0, 1.5) for _ in range(symbols)])

    return after


def step_of(after):
    """The step function of such a model: its state grows, (N, T), and is None at first."""

    def step(last, state):
        whole = last[:, None] if state is None else torch.cat([state, last[:, None]], 1)
        return torch.tensor([after(tuple(row)) for row in whole.tolist()], dtype=DOUBLE), whole

    return step


def chain(*rows):
    return decoding.markov_step(torch.tensor(rows, dtype=DOUBLE))


def flat_chain(symbols, dtype=DOUBLE):
    return decoding.markov_step(torch.full((symbols, symbols), 1 / symbols, dtype=dtype))


def draws(seed=0):
    return stream(seed, "draws")


def probabilities(found):
    return found.log_probs.exp().tolist()


START = torch.tensor([0])
PROMPTS = torch.tensor([0, 1, 1, 0, 1])
ENDS = pytest.mark.parametrize("end", [None, 1])
PENALTIES = pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 3.0, -0.5])

DECODERS = {
    "greedy": decoding.greedy,
    "sample": lambda *args, **settings: decoding.sample(*args, samples=6, generator=draws(), **settings),
    "cold sample": lambda *args, **settings: decoding.sample(
        *args, samples=6, temperature=0.3, generator=draws(), **settings
    ),
    "best of": lambda *args, **settings: decoding.best_of(*args, samples=6, generator=draws(), **settings),
    "beam search": lambda *args, **settings: decoding.beam_search(*args, beams=3, **settings),
    "exhaustive": decoding.exhaustive,
}
EACH = pytest.mark.parametrize("decode", DECODERS.values(), ids=DECODERS)
WITHOUT_DRAWS = pytest.mark.parametrize("name", ["greedy", "beam search", "exhaustive"])


# ----------------------------------------------------------------------------------------------------------------
# By hand
# ----------------------------------------------------------------------------------------------------------------

# After 0: 1 with 0.6, or the end, 2, with 0.4. After 1: 0 with 0.1, or the end with 0.9. After the end comes nonsense.
ENDING = chain([0.0, 0.6, 0.4], [0.1, 0.0, 0.9], [1.0, 0.0, 0.0])


def test_sequences_that_end_by_hand():
    found = decoding.exhaustive(ENDING, START, max_length=3, end=2)
    assert found.written()[0][:4] == [[1, 2], [2], [1, 0, 1], [1, 0, 2]]
    assert probabilities(found)[0][:4] == pytest.approx([0.54, 0.4, 0.036, 0.024])
    assert found.log_probs[0, 4:].tolist() == [MINUS_INFINITY] * 11  # there are 1 + 2 + 4 · 3, most of them impossible
    assert found.ids[0, 1].tolist() == [2, 2, 2]
    assert found.lengths[0, :4].tolist() == [2, 1, 3, 3]


def test_greedy_search_takes_the_likeliest_and_stops_when_all_have_ended():
    found = decoding.greedy(ENDING, torch.tensor([0, 1]), max_length=9, end=2)
    assert found.ids.tolist() == [[[1, 2]], [[2, 2]]]
    assert found.lengths.tolist() == [[2], [1]]
    assert probabilities(found) == [[pytest.approx(0.54)], [pytest.approx(0.9)]]
    assert decoding.greedy(ENDING, START, max_length=5).ids.tolist() == [[[1, 2, 0, 1, 2]]]  # where nothing ends


def test_beam_search_by_hand_step_by_step():
    first, second = decoding.beam_steps(ENDING, START, beams=2, max_length=9, end=2)
    assert [part.tolist() for part in first if part.dtype != DOUBLE] == [[[1, 2]], [[0, 0]], [[1, 1]], [[False, True]]]
    assert [part.tolist() for part in second if part.dtype != DOUBLE] == [[[2, 2]], [[0, 1]], [[2, 1]], [[True, True]]]
    assert probabilities(first)[0] == pytest.approx([0.6, 0.4])
    assert probabilities(second)[0] == pytest.approx([0.54, 0.4])  # what has ended is neither continued nor changed


def test_a_length_penalty_weighs_a_mean_against_a_sum():
    """0.4 at once, or 0.5 · 0.7 = 0.35: as means of logarithms, -0.92 and -0.52."""
    step = chain([0.0, 0.5, 0.4, 0.1], [0.3, 0.0, 0.7, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    for penalty, expected in ((0.0, [2]), (0.2, [1, 2]), (1.0, [1, 2])):  # 0.4^(1/1) against 0.35^(1/2^0.2)
        settings = {"max_length": 2, "end": 2, "length_penalty": penalty}
        assert decoding.beam_search(step, START, beams=3, **settings).written()[0][0] == expected
        assert decoding.exhaustive(step, START, **settings).written()[0][0] == expected
        samples = decoding.best_of(step, START, samples=40, generator=draws(), **settings)
        assert samples.written()[0][0] == expected


def test_a_wider_beam_can_end_with_a_less_probable_sequence():
    """4.25: 1, 3, 3 has 0.4 · 0.36 · 1 = 0.144. Two of 0.35 · 0.5 = 0.175 push its beginning out, and spread."""
    even = [1 / 6] * 6
    step = chain(
        [0.25, 0.40, 0.35, 0.00, 0.00, 0.00],
        [0.00, 0.32, 0.32, 0.36, 0.00, 0.00],
        [0.00, 0.00, 0.00, 0.00, 0.50, 0.50],
        [0.00, 0.00, 0.00, 1.00, 0.00, 0.00],
        even,
        even,
    )
    one, two, three = (decoding.beam_search(step, START, beams=beams, max_length=3) for beams in (1, 2, 3))
    assert one.written()[0][0] == three.written()[0][0] == [1, 3, 3]
    assert probabilities(one)[0][0] == pytest.approx(0.144)
    assert probabilities(two)[0] == pytest.approx([0.175 / 6] * 2)
    assert two.ids[0, :, 0].tolist() == [2, 2]


def test_200_probabilities_of_a_thousandth_do_not_underflow():
    """4.23: logarithms are added; the product is 0 in either precision."""
    assert math.prod([1e-3] * 200) == 0
    assert torch.full((100,), 1 / 3, dtype=torch.float32).prod() == 0  # as the module says
    step = flat_chain(1_000, torch.float32)
    for name in ("greedy", "sample", "best of", "beam search"):
        found = DECODERS[name](step, START, max_length=200)
        assert found.ids.shape[2] == 200
        torch.testing.assert_close(
            found.log_probs, torch.full_like(found.log_probs, 200 * math.log(1e-3)), rtol=1e-6, atol=0
        )


def test_of_certain_sequences_all_but_one_are_impossible():
    """Beams that there is nothing for are of probability 0, and come last."""
    step = chain([0.0, 1.0], [1.0, 0.0])
    found = decoding.beam_search(step, START, beams=3, max_length=4)
    assert found.ids[0, 0].tolist() == [1, 0, 1, 0]
    assert found.log_probs.tolist() == [[0.0, MINUS_INFINITY, MINUS_INFINITY]]
    ends = decoding.beam_search(step, START, beams=3, max_length=4, end=1, length_penalty=1.0)
    assert ends.written()[0][0] == [1]
    assert ends.log_probs[0].tolist() == [0.0, MINUS_INFINITY]  # [0] has probability 0, and there is no third symbol


# ----------------------------------------------------------------------------------------------------------------
# Slow twins
# ----------------------------------------------------------------------------------------------------------------


@ENDS
@pytest.mark.parametrize("symbols", [2, 5])
def test_greedy_search_is_its_loop(symbols, end):
    for number in range(10):
        after = prefix_model(symbols, number)
        found = decoding.greedy(step_of(after), PROMPTS, max_length=6, end=end)
        for place, prompt in enumerate(PROMPTS.tolist()):
            expected = reference.greedy(after, (prompt,), 6, end)
            assert found.written()[place] == [list(expected)]
            total = reference.log_probability(after, (prompt,), expected)
            assert found.log_probs[place].item() == pytest.approx(total, abs=1e-12)


@ENDS
@PENALTIES
@pytest.mark.parametrize("beams", [1, 2, 3, 7])
def test_beam_search_is_a_search_over_lists(beams, penalty, end):
    for number, symbols in enumerate((2, 3, 4, 5)):
        after = prefix_model(symbols, number)
        settings = {"beams": beams, "end": end, "length_penalty": penalty}
        for length in (1, 2, 5):
            found = decoding.beam_search(step_of(after), PROMPTS[:3], max_length=length, **settings)
            for place, prompt in enumerate(PROMPTS[:3].tolist()):
                expected = reference.beam_search(after, (prompt,), beams, length, end, penalty)
                assert_same(found, place, expected)


@ENDS
@PENALTIES
@pytest.mark.parametrize(("symbols", "length"), [(2, 1), (2, 6), (4, 4)])
def test_an_exhaustive_search_and_the_widest_beam_are_all_sequences(symbols, length, penalty, end):
    """4.25, of V symbols and T steps: V^(T-1) beams are all beginnings, so that the best is found for certain."""
    after = prefix_model(symbols)
    step, settings = step_of(after), {"max_length": length, "end": end, "length_penalty": penalty}
    every = decoding.exhaustive(step, PROMPTS[:2], **settings)
    widest = decoding.beam_search(step, PROMPTS[:2], beams=symbols**length, **settings)
    enough = decoding.beam_search(step, PROMPTS[:2], beams=symbols ** (length - 1), **settings)
    for place, prompt in enumerate(PROMPTS[:2].tolist()):
        expected = reference.all_sequences(after, (prompt,), length, end, penalty)
        assert len(expected) == every.ids.shape[1]
        assert math.fsum(math.exp(log_prob) for log_prob, _ in expected) == pytest.approx(1)
        assert_same(every, place, expected)
        assert_same(widest, place, expected)
        assert enough.written()[place][0] == list(expected[0][1])


def assert_same(found, place, expected):
    """The sequences of a prompt are those of a twin, in its order; what fills up is impossible and comes last."""
    count = len(expected)
    assert [tuple(symbols) for symbols in found.written()[place][:count]] == [symbols for _, symbols in expected]
    assert found.log_probs[place, :count].tolist() == pytest.approx([total for total, _ in expected], abs=1e-12)
    assert found.log_probs[place, count:].tolist() == [MINUS_INFINITY] * (found.ids.shape[1] - count)


@PENALTIES
def test_best_first_is_a_sort(penalty):
    found = DECODERS["sample"](step_of(prefix_model(3)), PROMPTS, max_length=5, end=1)
    expected = [
        sorted(zip(logs, symbols, strict=True), key=lambda one: one[0] / len(one[1]) ** penalty, reverse=True)
        for logs, symbols in zip(found.log_probs.tolist(), found.written(), strict=True)
    ]
    ordered = found.best_first(penalty)
    assert ordered.written() == [[symbols for _, symbols in rows] for rows in expected]
    assert ordered.log_probs.tolist() == [[log for log, _ in rows] for rows in expected]
    best = DECODERS["best of"](step_of(prefix_model(3)), PROMPTS, max_length=5, end=1, length_penalty=penalty)
    assert torch.equal(best.ids, ordered.ids)


@ENDS
@pytest.mark.parametrize("temperature", [0.2, 1.0, 4.0])
def test_what_is_drawn_is_what_a_loop_draws(temperature, end):
    """With the same generator: PyTorch's draw from softmax(log p / temperature), and p as the model gives it."""
    after, generator = prefix_model(4), draws()
    found = decoding.sample(step_of(after), PROMPTS, max_length=5, end=end, temperature=temperature, generator=draws())
    symbols = [[] for _ in PROMPTS]
    for _ in range(found.ids.shape[2]):
        logs = torch.tensor([after((prompt, *row)) for prompt, row in zip(PROMPTS.tolist(), symbols, strict=True)])
        drawn = torch.multinomial((logs.double() / temperature).softmax(1), 1, generator=generator)[:, 0].tolist()
        for row, symbol in zip(symbols, drawn, strict=True):
            row.append(end if end is not None and end in row else symbol)
    assert found.ids[:, 0].tolist() == symbols


# ----------------------------------------------------------------------------------------------------------------
# What must not matter, and what must hold
# ----------------------------------------------------------------------------------------------------------------


@EACH
@ENDS
@pytest.mark.parametrize("symbols", [2, 4])
def test_the_log_probability_is_the_models_of_what_was_written(decode, end, symbols):
    """Teacher-forced: also where draws are sharpened, and nothing is counted after the end."""
    after = prefix_model(symbols)
    found = decode(step_of(after), PROMPTS, max_length=4, end=end)
    assert found.log_probs.dtype == DOUBLE
    for prompt, rows, logs in zip(PROMPTS.tolist(), found.written(), found.log_probs.tolist(), strict=True):
        for row, log in zip(rows, logs, strict=True):
            if log > MINUS_INFINITY:
                assert log == pytest.approx(reference.log_probability(after, (prompt,), row), abs=1e-12)
                assert end is None or end not in row[:-1]
                assert len(row) == 4 or row[-1] == end
    written = torch.arange(found.ids.shape[2]) < found.lengths[:, :, None]
    possible = (found.log_probs > MINUS_INFINITY)[:, :, None]
    assert (found.ids[~written & possible] == (-1 if end is None else end)).all()


@WITHOUT_DRAWS
@ENDS
def test_prompts_of_a_batch_do_not_depend_on_each_other(name, end):
    step, decode = step_of(prefix_model(3)), DECODERS[name]
    together = decode(step, PROMPTS, max_length=5, end=end)
    for place, prompt in enumerate(PROMPTS.split(1)):
        alone = decode(step, prompt, max_length=5, end=end)
        assert alone.written()[0] == together.written()[place]
        assert torch.equal(alone.log_probs[0], together.log_probs[place])


@given(
    seed=st.integers(0, 10**6),
    symbols=st.integers(1, 6),
    length=st.integers(1, 6),
    end=st.none() | st.just(0),
    penalty=st.floats(-2, 2),
)
def test_one_beam_is_greedy_search(seed, symbols, length, end, penalty):
    step, prompts = step_of(prefix_model(symbols, seed)), torch.tensor([0, 0, symbols - 1])
    greedy = decoding.greedy(step, prompts, max_length=length, end=end)
    beam = decoding.beam_search(step, prompts, beams=1, max_length=length, end=end, length_penalty=penalty)
    for ours, theirs in zip(beam, greedy, strict=True):
        assert torch.equal(ours, theirs)


@given(
    weights=st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any), min_size=3, max_size=3),
    length=st.integers(1, 4),
    end=st.none() | st.integers(0, 2),
    penalty=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_widest_beam_is_exhaustive_with_ties_and_zeros(weights, length, end, penalty):
    """Which of two equals comes first is not defined, and so probabilities are compared."""
    rows = torch.tensor(weights, dtype=DOUBLE)
    step = decoding.markov_step(rows / rows.sum(1, keepdim=True))
    settings = {"max_length": length, "end": end, "length_penalty": penalty}
    beam = decoding.beam_search(step, torch.arange(3), beams=3**length, **settings)
    every = decoding.exhaustive(step, torch.arange(3), **settings)
    for found, expected in zip(beam.log_probs, every.log_probs, strict=True):
        found, expected = (sorted(logs[logs > MINUS_INFINITY].tolist()) for logs in (found, expected))
        assert found == pytest.approx(expected, abs=1e-12)
    for ours, theirs in zip(scores(beam, penalty)[:, 0].tolist(), scores(every, penalty)[:, 0].tolist(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12)


def scores(found, penalty):
    return found.log_probs / found.lengths**penalty


@PENALTIES
@ENDS
def test_scores_fall_from_the_first_to_the_last(penalty, end):
    step, settings = step_of(prefix_model(3)), {"max_length": 5, "end": end, "length_penalty": penalty}
    for found in (
        decoding.beam_search(step, PROMPTS, beams=6, **settings),
        decoding.exhaustive(step, PROMPTS, **settings),
        decoding.best_of(step, PROMPTS, samples=20, generator=draws(), **settings),
    ):
        ordered = scores(found, penalty)
        assert (ordered[:, :-1] >= ordered[:, 1:]).all()


def test_what_the_steps_keep_leads_back_to_what_is_found():
    step = step_of(prefix_model(4))
    settings = {"beams": 3, "max_length": 6, "end": 1}
    found, kept = decoding.beam_search(step, PROMPTS, **settings), list(decoding.beam_steps(step, PROMPTS, **settings))
    assert torch.equal(kept[-1].log_probs, found.log_probs)
    assert torch.equal(kept[-1].lengths, found.lengths)
    for prompt in range(len(PROMPTS)):
        rows = [[]]
        for beam in kept:
            ways = zip(beam.parents[prompt].tolist(), beam.tokens[prompt].tolist(), strict=True)
            rows = [[*rows[parent], token] for parent, token in ways]
        assert rows == found.ids[prompt].tolist()
    for before, beam in itertools.pairwise(kept):
        parents = before.log_probs.gather(1, beam.parents)
        assert (beam.log_probs <= parents).all()
        ended = before.ended.gather(1, beam.parents)
        assert torch.equal(beam.log_probs[ended], parents[ended])
        assert beam.ended[ended].all()


def test_beam_search_asks_about_unfinished_sequences_alone_and_stops_when_there_are_none():
    asked, step = [], step_of(prefix_model(3))

    def watched(last, state):
        asked.append(len(last))
        assert 1 not in last.tolist()
        return step(last, state)

    found = decoding.beam_search(watched, torch.tensor([0, 2]), beams=3, max_length=60, end=1)
    kept = list(decoding.beam_steps(step, torch.tensor([0, 2]), beams=3, max_length=60, end=1))
    assert asked == [2, *(int((~beam.ended).sum()) for beam in kept[:-1])]
    assert found.ids.shape[2] == len(asked) < 60
    assert kept[-1].ended.all()


def test_steps_are_made_when_they_are_asked_for_and_arguments_refused_at_once():
    asked = []
    steps = decoding.beam_steps(lambda *given: asked.append(given) or ENDING(*given), START, beams=2, max_length=9)
    assert not asked
    next(steps)
    assert len(asked) == 1
    with pytest.raises(ValueError, match="beams must be"):
        decoding.beam_steps(ENDING, START, beams=0, max_length=9)


@pytest.mark.parametrize("temperature", [1e-300, 1e-3])
def test_at_a_temperature_near_0_sampling_is_greedy(temperature):
    for dtype in (torch.float32, DOUBLE):
        matrix = data.transition_matrix(5, generator=draws()).to(dtype)
        step = decoding.markov_step(matrix)
        cold = decoding.sample(
            step, torch.arange(5), max_length=20, samples=3, temperature=temperature, generator=draws()
        )
        greedy = decoding.greedy(step, torch.arange(5), max_length=20)
        assert torch.equal(cold.ids, greedy.ids.expand(5, 3, 20))
        torch.testing.assert_close(cold.log_probs, greedy.log_probs.expand(5, 3))


def test_what_has_no_probability_is_not_drawn_at_any_temperature():
    step = chain([0.0, 0.5, 0.5], [0.999, 0.001, 0.0], [0.5, 0.0, 0.5])
    for temperature in (1e-2, 1.0, 1e6):
        found = decoding.sample(step, START, max_length=50, samples=100, temperature=temperature, generator=draws())
        assert found.log_probs.isfinite().all()


def test_the_same_seed_draws_the_same_and_sampling_is_not_greedy():
    """4.21."""
    step, settings = step_of(prefix_model(5)), {"max_length": 8, "samples": 4}
    one, again, other = (decoding.sample(step, PROMPTS, generator=draws(seed), **settings) for seed in (3, 3, 4))
    assert torch.equal(one.ids, again.ids)
    assert not torch.equal(one.ids, other.ids)
    assert not torch.equal(one.ids[:, :1], decoding.greedy(step, PROMPTS, max_length=8).ids)
    assert len({tuple(row) for row in one.ids[0].tolist()}) > 1


def test_the_best_of_more_samples_is_never_less_probable():
    """4.23, exact on nested samples: the first n of a hundred, for prompts of all symbols."""
    found = decoding.sample(
        flat_chain(2), torch.tensor([0]), max_length=1, generator=draws()
    )  # the smallest case there is
    assert found.best_first().ids.tolist() == found.ids.tolist()
    step = step_of(prefix_model(5))
    found = decoding.sample(step, torch.arange(5), max_length=6, samples=100, generator=draws())
    best = torch.stack([first(found, count).best_first().log_probs[:, 0] for count in range(1, 101)])
    assert torch.equal(best, found.log_probs.T.cummax(0).values)
    assert (best[-1] > best[0]).all()
    # The same draws, and all that is done with them is to put the best first.
    settings = {"max_length": 6, "samples": 100, "generator": draws()}
    assert torch.equal(decoding.best_of(step, torch.arange(5), **settings).log_probs[:, 0], best[-1])


def first(found, count):
    return decoding.Sequences(*(part[:, :count] for part in found))


def state_of_parts(after):
    """The growing state again, as a tuple of tuples whose tensors belong together row by row."""
    step = step_of(after)

    def nested(last, state):
        if state is not None:
            whole, (total, (twice, nothing)) = state
            assert torch.equal(whole.sum(1), total)
            assert torch.equal(2.0 * whole, twice)
            assert nothing is None
            state = whole
        log_probs, whole = step(last, state)
        return log_probs, (whole, (whole.sum(1), (2.0 * whole, None)))

    return nested


@EACH
@ENDS
def test_a_state_may_be_a_tuple_of_states_and_rows_stay_together(decode, end):
    after = prefix_model(3)
    plain = decode(step_of(after), PROMPTS, max_length=4, end=end)
    nested = decode(state_of_parts(after), PROMPTS, max_length=4, end=end)
    for ours, theirs in zip(nested, plain, strict=True):
        assert torch.equal(ours, theirs)


@EACH
def test_a_prompt_is_continued_from_its_state(decode):
    """The prompt 0, 2, 1 is the state [0, 2] and the last symbol 1."""
    after = prefix_model(3)
    found = decode(step_of(after), torch.tensor([1, 1]), torch.tensor([[0, 2], [2, 2]]), max_length=3)
    for prompt, rows, logs in zip(((0, 2, 1), (2, 2, 1)), found.written(), found.log_probs.tolist(), strict=True):
        for row, log in zip(rows, logs, strict=True):
            assert log == pytest.approx(reference.log_probability(after, prompt, row), abs=1e-12)


@EACH
def test_nothing_is_modified_and_no_gradient_is_kept(decode):
    table = data.transition_matrix(3, generator=draws()).log().requires_grad_()
    states = []

    def step(last, state):
        states.append((last.clone(), last, state.clone(), state))
        return table[last] + 0 * state[:, :1], state + 1

    start, state = torch.tensor([0, 1], dtype=torch.int32), torch.zeros(2, 4, dtype=DOUBLE)
    found = decode(step, start, state, max_length=3)
    assert found.ids.dtype == found.lengths.dtype == torch.int64
    assert not found.log_probs.requires_grad
    assert start.tolist() == [0, 1]
    assert not state.any()
    assert all(torch.equal(*pair) for before in states for pair in (before[:2], before[2:]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@EACH
def test_log_probabilities_in_half_precision_are_added_up_in_double(decode, dtype):
    """A sum of 300 in half precision would be whole numbers alone."""
    table = data.transition_matrix(3, generator=draws()).log().to(dtype)
    length = 7 if decode is decoding.exhaustive else 300
    found = decode(lambda last, state: (table[last], None), torch.tensor([0, 2]), max_length=length)
    whole = torch.cat([torch.tensor([0, 2]).expand(found.ids.shape[1], 2).T[:, :, None], found.ids], 2)
    expected = table.double()[whole[:, :, :-1], whole[:, :, 1:]].sum(2)
    torch.testing.assert_close(found.log_probs, expected, rtol=1e-12, atol=0)


# ----------------------------------------------------------------------------------------------------------------
# What is refused
# ----------------------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (torch.zeros(0, dtype=torch.int64), ValueError, r"the last symbol of one prompt or more, not \[0\]"),
        (torch.zeros(1, 2, dtype=torch.int64), ValueError, r"start must be \[prompts\].*, not \[1, 2\]"),
        (torch.tensor(0), ValueError, r"start must be \[prompts\].*, not \[\]"),
        (torch.tensor([-1]), ValueError, "start must be numbers of symbols, from 0 up, and there is a -1"),
        (torch.tensor([0, 3]), ValueError, "symbols must be from 0 to 2, and there is a 3"),
        (torch.tensor([0.0]), TypeError, "start must be int64, the numbers of symbols, not torch.float32"),
        ([0], TypeError, "start must be a tensor, not list"),
    ],
)
def test_prompts_that_are_none_are_refused(decode, start, error, message):
    with pytest.raises(error, match=message):
        decode(ENDING, start, max_length=2)


@EACH
@pytest.mark.parametrize("max_length", [0, -1, 2.0, True, None])
def test_a_length_below_1_is_refused(decode, max_length):
    with pytest.raises(ValueError, match=f"max_length must be an int of 1 or more, not {max_length}"):
        decode(ENDING, START, max_length=max_length)


@EACH
@pytest.mark.parametrize("end", [3, -1, 2.0, True])
def test_an_end_outside_the_vocabulary_is_refused(decode, end):
    with pytest.raises(ValueError, match=f"end must be a symbol from 0 to 2, not {end}"):
        decode(ENDING, START, max_length=2, end=end)


NAN, INFINITY = float("nan"), float("inf")


@WITHOUT_DRAWS
@pytest.mark.parametrize(
    ("log_probs", "error", "message"),
    [
        (torch.tensor([[2.0, 1.0, 0.0]]), ValueError, "they add up to 11.11: did you forget log_softmax?"),
        (torch.tensor([[0.5, 0.5, 0.0]]), ValueError, "they add up to 4.297"),  # probabilities
        (torch.tensor([[NAN, 0.0, MINUS_INFINITY]]), ValueError, "they add up to nan"),
        (torch.tensor([[INFINITY, 0.0, 0.0]]), ValueError, "they add up to inf"),
        (torch.full((1, 3), MINUS_INFINITY), ValueError, "they add up to 0:"),
        (torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float16), ValueError, "they add up to 4.297"),
        (torch.zeros(3), ValueError, r"must give log-probabilities \[1, symbols\], not \[3\]"),
        (torch.zeros(2, 1), ValueError, r"must give log-probabilities \[1, symbols\], not \[2, 1\]"),
        (torch.zeros(1, 0), ValueError, r"must give log-probabilities \[1, symbols\], not \[1, 0\]"),
        (torch.zeros(1, 1, 1), ValueError, r"must give log-probabilities \[1, symbols\], not \[1, 1, 1\]"),
        ([[0.0]], TypeError, "the log-probabilities of the step function must be a tensor, not list"),
    ],
)
def test_what_is_no_log_probability_is_refused(name, log_probs, error, message):
    with pytest.raises(error, match=message):
        DECODERS[name](lambda last, state: (log_probs, state), START, max_length=2)


@EACH
def test_the_row_that_is_farthest_off_is_named_and_a_later_step_is_checked_too(decode):
    logs = torch.tensor([[0.5, 0.5], [0.5, 0.8]]).log()
    with pytest.raises(ValueError, match=r"they add up to 1\.3"):
        decode(lambda last, state: (logs[last], state), torch.tensor([0, 1]), max_length=1)
    logs = torch.tensor([[0.0, 1.0], [NAN, 1.0]]).log()
    with pytest.raises(ValueError, match=r"must give log-probabilities.* nan"):
        decode(lambda last, state: (logs[last], state), START, max_length=2)


@pytest.mark.parametrize("end", [None, 3])
def test_a_step_that_gives_as_many_rows_at_each_step_is_refused(end):
    """Two prompts and two beams ask for four rows: two rows of four symbols could be read as four of two."""
    logs = torch.tensor([[0.3, 0.3, 0.3, 0.1]] * 2).log()
    with pytest.raises(ValueError, match=r"must give log-probabilities \[4, symbols\], not \[2, 4\]"):
        decoding.beam_search(lambda last, state: (logs, state), torch.tensor([0, 1]), beams=2, max_length=3, end=end)


@pytest.mark.parametrize("name", ["sample", "best of", "beam search", "exhaustive"])
def test_a_state_that_is_no_state_is_refused(name):
    step = flat_chain(2)
    with pytest.raises(TypeError, match="a state must be a tensor, a tuple of states, or None, not dict"):
        DECODERS[name](lambda last, state: step(last, {"h": last}), START, {"h": START}, max_length=3)


@pytest.mark.parametrize("penalty", [NAN, INFINITY, -INFINITY])
def test_a_penalty_that_is_not_finite_is_refused(penalty):
    settings = {"max_length": 2, "length_penalty": penalty}
    found = decoding.greedy(ENDING, START, max_length=2)
    for call in (
        lambda: decoding.beam_search(ENDING, START, beams=2, **settings),
        lambda: decoding.beam_steps(ENDING, START, beams=2, **settings),
        lambda: decoding.best_of(ENDING, START, samples=2, generator=draws(), **settings),
        lambda: decoding.exhaustive(ENDING, START, **settings),
        lambda: found.best_first(penalty),
    ):
        with pytest.raises(ValueError, match=f"length_penalty must be finite, not {penalty}"):
            call()
    with pytest.raises(TypeError, match="length_penalty must be a number, not str"):
        found.best_first("1")


@pytest.mark.parametrize("count", [0, -2, 1.0, True])
def test_counts_below_1_are_refused(count):
    with pytest.raises(ValueError, match=f"beams must be an int of 1 or more, not {count}"):
        decoding.beam_search(ENDING, START, beams=count, max_length=2)
    for draw in (decoding.sample, decoding.best_of):
        with pytest.raises(ValueError, match=f"samples must be an int of 1 or more, not {count}"):
            draw(ENDING, START, samples=count, max_length=2, generator=draws())


@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, NAN, INFINITY])
def test_temperatures_are_refused(temperature):
    for draw in (decoding.sample, decoding.best_of):
        with pytest.raises(ValueError, match=f"temperature must be finite and above 0, not {temperature}"):
            draw(ENDING, START, samples=1, max_length=2, temperature=temperature, generator=draws())
    with pytest.raises(TypeError, match="temperature must be a number, not NoneType"):
        decoding.sample(ENDING, START, max_length=2, temperature=None, generator=draws())


def test_more_sequences_than_can_be_compared_are_refused_before_the_model_is_asked():
    asked, step = [], flat_chain(1_025)

    def watched(last, state):
        asked.append(len(last))
        return step(last, state)

    with pytest.raises(
        ValueError, match=r"there are 1,050,625 of length 2 already \(1025 symbols, 1 prompts\): take fewer"
    ):
        decoding.exhaustive(watched, START, max_length=9)
    assert asked == [1]
    assert decoding.exhaustive(flat_chain(2), START, max_length=15).ids.shape == (1, 2**15, 15)


@pytest.mark.parametrize(
    ("transitions", "error", "message"),
    [
        (torch.ones(2, 3) / 3, ValueError, r"transitions must be square, \[symbols, symbols\], not \[2, 3\]"),
        (torch.ones(0, 0), ValueError, r"not \[0, 0\]"),
        (torch.ones(2), ValueError, r"not \[2\]"),
        (torch.ones(2, 2), ValueError, "each row of transitions must be probabilities that add up to 1"),
        (torch.tensor([[1.5, -0.5], [0.5, 0.5]]), ValueError, "each row of transitions must be probabilities"),
        (torch.tensor([[NAN, 1.0], [0.5, 0.5]]), ValueError, "each row of transitions must be probabilities"),
        ([[1.0]], TypeError, "transitions must be a tensor, not list"),
    ],
)
def test_a_chain_of_no_probabilities_is_refused(transitions, error, message):
    with pytest.raises(error, match=message):
        decoding.markov_step(transitions)


# ----------------------------------------------------------------------------------------------------------------
# Draws
# ----------------------------------------------------------------------------------------------------------------

# A hundred seeds, and all of them pass: by chance alone one p below this would come in a thousand such hundreds.
TOO_RARE = 1e-5


def p_value(found, expected):
    """Pearson's test of counts against what is expected of them, each row of a table with its own total."""
    possible = expected > 0
    statistic = ((found - expected)[possible] ** 2 / expected[possible]).sum().item()
    return chi2.sf(statistic, int(possible.sum()) - len(expected))


def test_pairs_of_a_chain_come_as_often_as_it_says(seed):
    """4.21: 100,000 symbols; another chain is told apart from it."""
    matrix = data.transition_matrix(5, generator=stream(seed, "chain"))
    found = decoding.sample(
        decoding.markov_step(matrix), torch.zeros(100, dtype=torch.int64), max_length=1_000, generator=draws(seed)
    )
    whole = torch.cat([torch.zeros(100, 1, dtype=torch.int64), found.ids[:, 0]], 1)
    counts = torch.bincount((whole[:, :-1] * 5 + whole[:, 1:]).flatten(), minlength=25).view(5, 5).double()
    totals = counts.sum(1, keepdim=True)
    assert totals.sum() == 100_000
    assert p_value(counts, totals * matrix) > TOO_RARE
    assert p_value(counts, totals * (0.98 * matrix + 0.02 * matrix.roll(1, 1))) < TOO_RARE


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_temperature_is_the_power_of_a_probability(temperature, seed):
    """P ∝ p^(1/T), against the frequencies of whole sequences of two symbols."""
    after = prefix_model(3, seed)
    found = decoding.sample(
        step_of(after), START, max_length=2, samples=20_000, temperature=temperature, generator=draws(seed)
    )
    counts = torch.bincount(found.ids[0] @ torch.tensor([3, 1]), minlength=9).double()

    def chances(temperature):
        first = reference.softmax(after((0,)), temperature)
        return torch.tensor(
            [first[one] * two for one in range(3) for two in reference.softmax(after((0, one)), temperature)],
            dtype=DOUBLE,
        )

    assert p_value(counts[None], 20_000 * chances(temperature)[None]) > TOO_RARE
    assert p_value(counts[None], 20_000 * chances(1.3 * temperature)[None]) < TOO_RARE


def test_all_of_n_samples_end_badly_with_the_nth_power_of_the_probability(seed):
    """4.24: p_bad^n, on a chain whose bad branch is the likelier step and whose good sequence is the likelier one."""
    path, count = data.garden_path(0.6, 4), 4_000
    step, prompts = decoding.markov_step(path.transitions), torch.full((count,), path.start)
    assert decoding.greedy(step, prompts[:1], max_length=3).ids[0, 0, 0] == path.bad[0]
    assert decoding.beam_search(step, prompts[:1], beams=2, max_length=3).written()[0][0] == [path.good] * 3
    found = decoding.sample(step, prompts, max_length=3, samples=8, generator=draws(seed))
    for samples in (1, 2, 4, 8):
        best = first(found, samples).best_first().ids[:, 0]
        share, expected = (best[:, 0] != path.good).double().mean().item(), 0.6**samples
        error = math.sqrt(expected * (1 - expected) / count)
        assert abs(share - expected) < 5.5 * error, samples
