"""Planted sequences: what is asked for is there, where it is said to be, and nowhere else."""

import pytest
import torch

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


@pytest.mark.parametrize(
    ("call", "message"),
    [
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
