"""Beam search by hand, as the lesson tells it; a lesson whose arms differ in the way of choosing alone."""

import sys
from dataclasses import replace

import pytest
import torch

from dlnotes import data
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.randomness import stream
from dlnotes.text import CharacterModel, EncoderDecoder, decoding, distinct_ngrams, error_rate, train_character_model


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("beam_search"))
    return sys.modules[experiment.trial.__module__]


def drawn_words(purpose, count):
    """Words of two to seven letters; each letter is said by the phone of its number, so that there is much to learn."""
    draws = stream(0, purpose)
    lengths = torch.randint(2, 8, (count,), generator=draws).tolist()
    spellings = [tuple(torch.randint(26, (length,), generator=draws).tolist()) for length in lengths]
    return data.Words(spellings, spellings)


@pytest.fixture(scope="module")
def words():
    parts = [drawn_words(purpose, count) for purpose, count in (("train", 400), ("validation", 30), ("test", 510))]
    return data.Pronunciations("abcdefghijklmnopqrstuvwxyz", tuple(map(str, range(39))), *parts)


@pytest.fixture(scope="module")
def known(lesson):
    """A text of four symbols, of which each second one follows from the one before."""
    ids = torch.randint(4, (1_000 + lesson.TEXTS * (lesson.PROMPT + lesson.LENGTH),), generator=stream(0, "text"))
    ids[1::2] = (ids[0::2] + 1) % 4
    return data.Text("abcd", ids[:1_000], ids[:0], ids[1_000:])


@pytest.fixture
def drawn(lesson, words, known, monkeypatch):
    """The lesson on drawn words and a drawn text, which need no dictionary."""
    monkeypatch.setattr(lesson, "load", lambda config, seed: (words, known))
    monkeypatch.setattr(lesson, "LENGTH", 12)
    return lesson


@pytest.fixture(scope="module")
def net():
    return EncoderDecoder(26, 39, 8, generator=stream(0, "weights"), dtype=torch.float64).requires_grad_(False)


# The idea


def by_hand():
    """The table of the lesson, with a symbol 0 to start from: 1 is K, 2 is N, 3 is IH."""
    after = [[0, 0.5, 0.4, 0.1], [0, 0.2, 0.45, 0.35], [0, 0.05, 0.05, 0.9], [0, 0.3, 0.5, 0.2]]
    return decoding.markov_step(torch.tensor(after, dtype=torch.float64)), torch.tensor([0])


def test_a_net_that_begins_knit_with_a_k_is_mended_by_a_beam_of_two():
    step, start = by_hand()
    greedy = decoding.greedy(step, start, max_length=2)
    assert greedy.written() == [[[1, 2]]]  # K N
    assert greedy.log_probs.exp().item() == pytest.approx(0.225)
    first, second = decoding.beam_steps(step, start, beams=2, max_length=2)
    assert first.tokens.tolist() == [[1, 2]]  # K, N
    assert first.log_probs[0].exp().tolist() == pytest.approx([0.5, 0.4])
    assert second.parents.tolist() == [[1, 0]]
    assert second.tokens.tolist() == [[3, 2]]  # N IH, K N
    assert second.log_probs[0].exp().tolist() == pytest.approx([0.36, 0.225])


# The arms


def test_a_beam_asks_the_net_about_as_many_beginnings_as_samples_are_drawn(lesson):
    config = lesson.Config(beams=8)
    asked, chances = [], torch.full((9, 9), 1 / 9)

    def step(last, state):
        asked[-1].append(len(last))
        return decoding.markov_step(chances)(last, state)

    ways = lesson.decoders(config, 0)
    for arm in ("greedy", "sample", "beam 2", "best", "beam"):
        asked.append([])
        ways[arm](step, torch.tensor([0]), max_length=4)
    assert asked == [[1] * 4, [1] * 4, [1, 2, 2, 2], [8] * 4, [1, 8, 8, 8]]


def test_the_arms_are_the_ways_of_choosing_that_they_are_called(lesson, net, words):
    config = lesson.Config(beams=5, wide=9)
    ways = lesson.decoders(config, 7)
    start, options = net.begin(words.test.spellings[:20]), {"max_length": 6, "end": net.end}
    step = net.step_function()
    drawn = decoding.sample(step, *start, **options, generator=stream(7, "draws"))
    best = decoding.best_of(step, *start, **options, samples=5, generator=stream(7, "more draws"))
    beams = {"beam 2": 2, "beam 4": 4, "beam": 5, "wide": 9}
    expected = {"sample": drawn, "greedy": decoding.greedy(step, *start, **options), "best": best} | {
        arm: decoding.beam_search(step, *start, **options, beams=width) for arm, width in beams.items()
    }
    assert ways.keys() == expected.keys() == {*lesson.ARMS, "wide"}
    for arm, way in ways.items():
        assert torch.equal(way(step, *start, **options).ids, expected[arm].ids), arm


def test_one_net_says_the_words_for_all_arms(drawn, monkeypatch):
    config = replace(drawn.QUICK, units=4, steps=2, wide=2, text_steps=1)
    nets, judged, speaker, said = [], [], drawn.speaker, drawn.said
    monkeypatch.setattr(drawn, "speaker", lambda *some: nets.append(speaker(*some)) or nets[-1])
    monkeypatch.setattr(drawn, "said", lambda net, *some: judged.append(net) or said(net, *some))
    measured = drawn.trial(config, 0, {"words": 0.25})
    assert len(nets) == 1
    assert len(judged) == len(drawn.ARMS) + 2
    assert all(one is nets[0] for one in judged)
    assert {name for name in measured if name.endswith("/right")} == {
        *(f"words/{arm}/right" for arm in drawn.ARMS),
        "some words/beam/right",
        "some words/wide/right",
    }


# What is measured


def test_what_is_said_is_the_first_of_the_sequences_without_end_marks(lesson, net, words):
    """Of 510 words, which are decoded in two pieces: to the same as at once."""
    way = lesson.decoders(lesson.Config(beams=3), 0)["beam"]
    found, judged = lesson.said(net, words.test, way)
    whole = decoding.beam_search(
        net.step_function(), *net.begin(words.test.spellings), beams=3, max_length=lesson.LONGEST, end=net.end
    )
    expected = [tuple(phone for phone in rows[0] if phone != 39) for rows in whole.written()]
    assert found == expected
    assert judged["log-probability"] == pytest.approx(whole.log_probs[:, 0].mean().item())
    assert judged["length"] == pytest.approx(sum(map(len, expected)) / 510)
    assert judged["phones wrong"] == error_rate(expected, words.test.sounds)


def test_a_word_is_right_if_all_its_phones_are(lesson, net):
    asked = data.Words([(0, 1), (2,), (3, 4)], [(5, 6), (7,), (8, 9)])

    def way(step, start, state, *, max_length, end):
        ids = torch.tensor([[[5, 6, end]], [[7, 7, end]], [[8, end, end]]])
        return decoding.Sequences(ids, torch.tensor([[3], [3], [2]]), torch.tensor([[-1.0], [-2.0], [-3.0]]))

    found, judged = lesson.said(net, asked, way)
    assert found == [(5, 6), (7, 7), (8,)]
    wanted = {"right": 1 / 3, "length": 5 / 3, "phones wrong": 2 / 5, "log-probability": -2}
    assert judged == pytest.approx(wanted)


def test_a_wide_beam_is_judged_on_the_first_500_words_beside_the_other(drawn, words):
    config = replace(drawn.QUICK, units=4, steps=2, wide=3, beams=2, text_steps=1)
    measured = drawn.trial(config, 0, {"words": 0.25})
    net, ways = drawn.speaker(config, 0, words, 0.25), drawn.decoders(config, 0)
    some = data.Words(words.test.spellings[:500], words.test.sounds[:500])
    for arm in ("beam", "wide"):
        _, judged = drawn.said(net, some, ways[arm])
        assert {what: measured[f"some words/{arm}/{what}"] for what in judged} == judged
    _, judged = drawn.said(net, words.test, ways["beam"])
    assert measured["words/beam/phones wrong"] == judged["phones wrong"]
    assert measured["words/beam/phones wrong"] != measured["some words/beam/phones wrong"]


def test_the_tree_is_what_a_beam_of_four_keeps_of_the_first_word_of_six_phones_that_it_mends(lesson, net):
    sounds = [(1,) * 6, (2,) * 6, (3,) * 5, (4,) * 6, (5,) * 6]
    asked = data.Words([(letter, letter) for letter in range(5)], sounds)
    wrong = (9, 9)
    greedy, beam = [sounds[0], wrong, wrong, wrong, wrong], [sounds[0], wrong, sounds[2], sounds[3], sounds[4]]
    found = lesson.tree(net, asked, greedy, beam)
    assert found["tree/word"] == 3.0
    kept = torch.tensor(found["tree/kept"]).view(7, 5, 7)
    shares = torch.tensor(found["tree/probabilities"], dtype=torch.float64).view(7, 4)
    start = net.begin([(3, 3)])
    steps = decoding.beam_steps(net.step_function(), *start, beams=4, max_length=7, end=net.end)
    before = torch.empty(4, 0, dtype=torch.int64)
    for row, probabilities, step in zip(kept, shares, steps, strict=True):
        before = torch.cat([before[step.parents[0] if before.shape[1] else [0] * 4], step.tokens[0][:, None]], 1)
        assert torch.equal(row[:4, : before.shape[1]], before)
        assert torch.allclose(probabilities, step.log_probs[0].exp())
        assert row[4].tolist() == [9, 9, *[net.end] * 5]


def test_texts_are_judged_by_the_net_that_wrote_them_and_by_their_own_repeats(lesson, known):
    config = replace(lesson.QUICK, beams=3, units=6, text_steps=20)
    measured = lesson.on_text(config, 1, known)
    net = CharacterModel(4, 6, generator=stream(1, "weights"))
    train_character_model(net, known.train, steps=20, batch_size=16, window=32, lr=1.0)
    pieces = known.test.view(lesson.TEXTS, -1)
    prompts, step = pieces[:, : lesson.PROMPT], net.requires_grad_(False).step_function()
    ways = lesson.decoders(config, 1)
    for arm in ("sample", "greedy", "beam"):
        found = ways[arm](step, *net.begin(prompts), max_length=lesson.LENGTH)
        nats = found.log_probs[:, 0].mean().item() / lesson.LENGTH
        assert measured[f"text/{arm}/log-probability"] == pytest.approx(nats, rel=1e-4)
        repeats = [1 - distinct_ngrams(one[0], 8) for one in found.ids.tolist()]
        assert measured[f"text/{arm}/repeats"] == pytest.approx(sum(repeats) / len(repeats))
        assert measured[f"text/{arm}/shown"] == found.ids[0, 0, : lesson.SHOWN].tolist()
    real = pieces[:, lesson.PROMPT :]
    repeats = [1 - distinct_ngrams(one, 8) for one in real.tolist()]
    assert measured["text/real/repeats"] == pytest.approx(sum(repeats) / len(repeats))
    assert measured["text/real/log-probability"] < -0.3  # half of it is drawn: it cannot be foreseen
    assert measured["text/beam/log-probability"] > measured["text/sample/log-probability"]


def test_the_rate_is_chosen_by_greedy_search_on_validation_words(drawn, words, monkeypatch):
    config, asked, said = replace(drawn.QUICK, units=4, steps=10), [], drawn.said

    def noted(net, those, way):
        asked.append((those, way.func))
        return said(net, those, way)

    monkeypatch.setattr(drawn, "said", noted)
    scores = drawn.tune(config, 0, "words", (0.25, 0.5))
    assert [(those is words.validation, way) for those, way in asked] == [(True, decoding.greedy)] * 2
    net = drawn.speaker(config, 0, words, 0.5)
    found = decoding.greedy(
        net.step_function(), *net.begin(words.validation.spellings), max_length=drawn.LONGEST, end=net.end
    )
    phones = [[phone for phone in rows[0] if phone != net.end] for rows in found.written()]
    assert scores[1] == error_rate(phones, words.validation.sounds)
