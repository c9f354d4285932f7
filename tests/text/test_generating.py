"""Generating: what is drawn and fed back comes as often as its product says, and what counts as valid and new is so."""

import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from dlnotes.data import is_sentence, transition_matrix
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.text import NGrams, decoding


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("generating"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def config(lesson):
    """A network that is trained in two seconds, and knows what a sentence is."""
    return replace(lesson.Config(), symbols=2_000, sentences=2_000, written=100, units=32, steps=150)


@pytest.fixture(scope="module")
def net(lesson, config):
    return lesson.trained(config, 1_000, lesson.sentences(config, 1_000, "sentences"))


def letters(lesson, text):
    return torch.tensor([["ban.".index(letter) for letter in row] for row in text.split()])


# The model made by hand


def test_the_example_is_the_product_of_its_steps(lesson):
    step = decoding.markov_step(lesson.CHAIN)
    every = decoding.exhaustive(step, torch.tensor([3]), max_length=8, end=3)
    words = ["".join("ban."[one] for one in row) for row in every.written()[0]]
    found = dict(zip(words, every.log_probs[0].exp(), strict=True))
    for word, probability in (("ba", 0.4), ("bana", 0.24), ("banana", 0.144)):
        assert found[f"{word}."].item() == pytest.approx(probability)
        assert lesson.PROMISED[word] == pytest.approx(probability)
    assert sum(lesson.PROMISED.values()) == pytest.approx(1)


def test_the_words_of_the_model_made_by_hand_come_as_often_as_their_products_say(lesson):
    ids = lesson.by_hand(lesson.Config(), 1_000)["drawn"]
    assert ids.numel() == 100_000
    words = [word for row in ids.tolist() for word in "".join("ban."[one] for one in row).split(".")[:-1]]
    for word in ("ba", "bana", "banana"):
        p = lesson.PROMISED[word]
        assert abs(words.count(word) / len(words) - p) < 4 * (p * (1 - p) / len(words)) ** 0.5
    assert lesson.astray(ids) < 0.02


def test_the_likeliest_letters_go_round_in_a_circle(lesson):
    ids = lesson.by_hand(lesson.QUICK, 1_000)["likeliest"]
    assert {"".join("ban."[one] for one in row) for row in ids.tolist()} == {"ba" + 9 * "na"}
    assert lesson.astray(ids) == 1.0  # no word ever ends


def test_a_letter_that_is_not_read_does_not_fit_the_next(lesson):
    read, written = letters(lesson, "bana."), letters(lesson, "ba.an")
    before = torch.cat([torch.tensor([[3]]), read[:, :-1]], 1)
    assert (lesson.CHAIN[before[0], written[0]] > 0).all()  # the example can come
    arms = lesson.by_hand(lesson.Config(), 1_000)
    possible = {arm: {pair for row in ids.tolist() for pair in pairwise(row)} for arm, ids in arms.items()}
    assert all(lesson.CHAIN[pair] > 0 for pair in possible["drawn"])
    assert (2, 0) in possible["unread"]  # a b after an n
    shares = {arm: ids.flatten().bincount(minlength=4) / ids.numel() for arm, ids in arms.items()}
    assert torch.allclose(shares["drawn"], shares["unread"], atol=0.01)  # one by one, its letters are right


def test_astray_is_the_share_of_words_that_come_too_often(lesson):
    assert lesson.astray(letters(lesson, "ba.bana. bana.ba. ba.bana.")) == pytest.approx(0.1 + 0.26)
    assert lesson.astray(letters(lesson, "nn. bb.")) == 1.0
    assert lesson.astray(letters(lesson, "ba.ba")) == pytest.approx(0.6)  # what has not ended is no word


def test_a_hundred_thousand_symbols_have_the_pairs_of_the_chain():
    """Given a symbol, the next ones are independent draws from its row: 30 degrees of freedom for 6 symbols."""
    chain = transition_matrix(6, sharpness=1.0, generator=stream(0, "chain"))
    start = torch.arange(1_000) % 6
    generator = stream(0, "draws")
    ids = decoding.sample(decoding.markov_step(chain), start, max_length=100, generator=generator).ids[:, 0]
    before = torch.cat([start[:, None], ids[:, :-1]], 1)
    counts = (before * 6 + ids).flatten().bincount(minlength=36).view(6, 6).double()

    def p_of(matrix):
        expected = counts.sum(1, keepdim=True) * matrix
        return chi2.sf(((counts - expected) ** 2 / expected).sum().item(), 30)

    assert counts.sum() == 100_000
    assert p_of(chain) > 1e-3
    assert p_of(0.98 * chain + 0.02 / 6) < 1e-3  # another chain is told from it


# The network


def test_sentences_of_a_network_come_as_often_as_the_products_of_its_probabilities(lesson, config, net):
    """The probability of each short sentence is read off the network in one go, and not step by step."""
    nouns = lesson.GRAMMAR["CAT"] + lesson.GRAMMAR["CATS"]
    texts = [f"the {noun} {verb}" for noun in nouns for verb in ("sleep", "sleeps")]
    ids = torch.tensor([[*lesson.coded(text), lesson.END] for text in texts])
    logs = net(torch.nn.functional.pad(ids, (1, 0), value=lesson.END)[:, :-1]).log_softmax(-1)
    promised = logs.gather(2, ids[:, :, None]).sum((1, 2)).exp().double()
    assert 0.15 < promised.sum() < 0.35  # a quarter by the grammar
    astray = {}
    for temperature in (1.0, 2.0):
        written = Counter(lesson.in_words(lesson.write(net, replace(config, written=6_000), 0, temperature)))
        shares = torch.tensor([written[text] / 6_000 for text in texts], dtype=torch.float64)
        astray[temperature] = (shares - promised).abs().sum().item()
    assert astray[1.0] < 0.04
    assert astray[2.0] > 0.08


def test_what_is_not_fed_back_is_drawn_from_the_same_probabilities_place_by_place(lesson):
    scores = torch.tensor([[0.0, -torch.inf, 1.0], [0.0, 0.0, -torch.inf], [-torch.inf, 0.0, 0.0]])
    ids = torch.tensor([[0, 1, 2]]).expand(3_000, 3)
    found = lesson.unread(scores.__getitem__, ids, 2, stream(0, "draws"))
    for place, before in enumerate((2, 0, 1)):  # the end symbol is read first
        shares = found[:, place].bincount(minlength=3) / 3_000
        assert torch.allclose(shares, scores[before].softmax(0), atol=0.03)


def test_the_same_seed_writes_the_same_and_another_does_not(lesson, config, net):
    one, again, other = (lesson.write(net, config, seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert lesson.in_words(one) != lesson.in_words(other)


def test_a_trained_network_agrees_across_a_clause_and_trigrams_do_not(lesson, config, net):
    learned = lesson.sentences(config, 1_000, "sentences")
    trigrams = NGrams([*map(lesson.coded, learned)], 3, end=lesson.END)
    verbs = [lesson.WORDS.index(verb) for verb in ("sleeps", "sleep")]
    found = {}
    for noun in ("cat", "cats"):
        begun = lesson.coded(f"the {noun} that the dogs hear")
        found[noun] = net(torch.tensor([[lesson.END, *begun]]))[0, -1].softmax(0)[verbs]
        found[noun, "trigrams"] = trigrams.probabilities[begun[-2] * (lesson.END + 1) + begun[-1]][verbs]
    assert found["cat"][0] > 3 * found["cat"][1]
    assert found["cats"][1] > 3 * found["cats"][0]
    assert torch.equal(found["cat", "trigrams"], found["cats", "trigrams"])


def test_a_network_is_asked_for_each_word_and_the_end_and_for_nothing_behind_it(lesson, monkeypatch):
    seen = []

    def minibatches(examples, *settings, batches=lesson.Minibatches):
        seen.append(examples)
        return batches(examples, *settings)

    monkeypatch.setattr(lesson, "Minibatches", minibatches)
    learned = ["the cat sleeps", " ".join(["the"] * 24)]
    lesson.trained(replace(lesson.QUICK, steps=1), 0, learned)
    ((inputs, targets),) = seen
    words, end = lesson.coded("the cat sleeps"), lesson.END
    assert inputs[0, :4].tolist() == [end, *words]
    assert targets[0].tolist() == [*words, end, *[-100] * 21]
    assert targets[1].tolist() == [*lesson.coded(learned[1]), end]


# What is measured


def test_valid_is_what_the_grammar_makes_and_new_what_was_not_learned(lesson, monkeypatch):
    texts = ["the cat sleeps", "the cat sleep", "the dogs see the bird", "the cat that sees the dog sleeps"]
    ids = torch.tensor([lesson.coded(text, lesson.LENGTH) for text in texts])
    monkeypatch.setattr(lesson, "write", lambda *_: ids)
    monkeypatch.setattr(lesson, "sentences", lambda *_: [texts[0], texts[3]])
    measured = lesson.trial(replace(lesson.QUICK, steps=1), 0)
    assert measured["LSTM/valid"] == 0.75
    assert measured["LSTM/new"] == 0.25  # one of them
    assert measured["LSTM/0/valid"] == pytest.approx(2 / 3)
    assert measured["LSTM/1/valid"] == 1.0
    assert np.isnan(measured["LSTM/2/valid"])
    assert measured["grammar/new"] == 0.0


def test_a_sentence_that_does_not_end_is_not_valid(lesson):
    row = lesson.coded("the cat sleeps")
    ended, not_ended = lesson.in_words(torch.tensor([[*row, lesson.END], [*row, row[0]]]))
    assert ended == "the cat sleeps"
    assert lesson.valid(ended)
    assert not_ended.startswith("the cat sleeps the")
    (open_end,) = lesson.in_words(torch.tensor([row]))
    assert not lesson.valid(open_end)


def test_the_sentences_are_of_the_grammar_and_those_that_judge_are_others(lesson):
    found = {purpose: lesson.sentences(lesson.QUICK, 0, purpose) for purpose in ("sentences", "fresh")}
    for made in found.values():
        assert all(is_sentence(one, lesson.GRAMMAR) for one in made)
        assert max(len(one.split()) for one in made) <= 24
        assert len(made) > 150
    assert found["sentences"] != found["fresh"]
    assert is_sentence("the cat that the dogs hear sleeps", lesson.GRAMMAR)
    assert is_sentence("the cats that the dog that the birds see likes sleep", lesson.GRAMMAR)
    assert not is_sentence("the cat that the dogs hear sleep", lesson.GRAMMAR)


def test_a_trial_judges_what_each_arm_wrote(lesson, config):
    config = replace(config, steps=60)
    measured = lesson.trial(config, 1_000)
    learned = lesson.sentences(config, 1_000, "sentences")
    net = lesson.trained(config, 1_000, learned)
    own = lesson.write(net, config, 1_000)
    arms = {
        "LSTM": own,
        "hot LSTM": lesson.write(net, config, 1_000, 2.0),
        "unread LSTM": lesson.unread(net, own, lesson.END, stream(1_000, "unread words")),
        "trigrams": lesson.write(NGrams([*map(lesson.coded, learned)], 3, end=lesson.END), config, 1_000),
    }
    for arm, ids in arms.items():
        shares = [is_sentence(text, lesson.GRAMMAR) for text in lesson.in_words(ids)]
        assert measured[f"{arm}/valid"] == pytest.approx(np.mean(shares)), arm
    assert len({measured[f"{arm}/valid"] for arm in arms}) == 4
    assert lesson.TABLES == {"unigrams": 1, "trigrams": 3, "5-grams": 5}


def test_all_that_write_draw_by_the_same_numbers(lesson, config, net, monkeypatch):
    used, draw = [], lesson.stream
    monkeypatch.setattr(lesson, "stream", lambda seed, purpose: used.append((seed, purpose)) or draw(seed, purpose))
    lesson.write(net, config, 0)
    lesson.write(NGrams([lesson.coded("the cat sleeps")], 2, end=lesson.END), config, 0)
    assert used == [(0, "draws")] * 2
