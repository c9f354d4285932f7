"""A state of the past: arms that differ in what is handed on, and bits that are counted where the lesson says."""

import math
import sys

import pytest
import torch
from torch.nn.functional import linear

from dlnotes.data import Text
from dlnotes.lesson import contents
from dlnotes.lesson.experiment import experiment_of
from dlnotes.measuring import largest_error
from dlnotes.randomness import stream
from dlnotes.text import RNN, CharacterModel, bits_per_character


@pytest.fixture(scope="module")
def lesson():
    experiment = experiment_of(contents.lesson_named("state_of_the_past"))
    return sys.modules[experiment.trial.__module__]


@pytest.fixture(scope="module")
def text():
    """Words of a small language, in four symbols; the three parts differ."""
    ids = torch.randint(4, (3_000,), generator=stream(0, "text"))
    ids[1::2] = (ids[0::2] + 1) % 4  # each second symbol follows from the one before
    return Text("abcd", ids[:2_000], ids[2_000:2_500], ids[2_500:])


def layer_of(hidden, symbols=2, nonlinearity="tanh"):
    return RNN(symbols, hidden, nonlinearity=nonlinearity, generator=stream(0, "weights"), dtype=torch.float64)


def weights(net):
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


# The idea


def test_a_unit_that_keeps_half_writes_its_inputs_as_binary_digits():
    layer = layer_of(1, symbols=1, nonlinearity="linear")
    layer.weight_ih_l0.data.fill_(1.0), layer.weight_hh_l0.data.fill_(0.5)
    inputs = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    states = layer(inputs[None, :, None])[0].flatten()
    assert states.tolist() == [1, 0.5, 1.25, 1.625]
    read, digits = states[-1].item(), []
    for _ in inputs:
        digits.append(float(read >= 1))
        read = 2 * (read - digits[-1])
    assert digits == inputs.flip(0).tolist()


@pytest.mark.parametrize("count", [4, 10])
def test_the_first_of_some_inputs_is_read_from_a_state_to_within_half_its_smallest_step(count):
    """The state is a multiple of 1/2^(n-1): read to within half of that, all inputs are known."""
    inputs = ((torch.arange(2**count)[:, None] >> torch.arange(count)) & 1).double()
    states = (inputs * 0.5 ** torch.arange(count - 1, -1, -1)).sum(1).sort().values
    assert states.diff().min().item() / 2 == {4: 1 / 16, 10: 1 / 1_024}[count]


def test_unrolled_it_is_a_feed_forward_net_with_the_same_weights_in_each_layer():
    layer = layer_of(5)
    inputs = torch.randn(3, 6, 2, generator=stream(0, "inputs"), dtype=torch.float64)
    bias = layer.bias_ih_l0.detach() + layer.bias_hh_l0.detach()
    both = torch.cat([layer.weight_hh_l0, layer.weight_ih_l0], 1)
    deep = inputs.new_zeros(3, 5)
    for depth in range(6):  # each layer sees what the one below made, and one symbol
        deep = linear(torch.cat([deep, inputs[:, depth]], 1), both, bias).tanh()
    assert largest_error(deep, layer(inputs)[1][0]) < 1e-14


def test_what_was_read_counts_by_the_state_alone():
    layer = layer_of(5)
    inputs = torch.randn(3, 9, 2, generator=stream(0, "inputs"), dtype=torch.float64)
    whole, last = layer(inputs)
    for half in range(1, 9):
        _, state = layer(inputs[:, :half])
        rest, end = layer(inputs[:, half:], state)
        assert largest_error(rest, whole[:, half:]) < 1e-14
        assert largest_error(end, last) < 1e-14


def test_four_units_hold_four_symbols_set_by_hand():
    """Each unit hands its bit to the next; the fourth names the symbol of three steps before, and forgets it."""
    layer = layer_of(4)
    layer.weight_ih_l0.data.zero_()[0] = torch.tensor([-5.0, 5.0])
    layer.weight_hh_l0.data.copy_(5 * torch.diag(torch.ones(3), -1))
    symbols = torch.randint(2, (8, 30), generator=stream(0, "symbols"))
    states, _ = layer(torch.nn.functional.one_hot(symbols, 2).double())
    for back in range(4):
        assert torch.equal((states[:, back:, back] > 0).long(), symbols[:, : 30 - back])
    assert 0.4 < ((states[:, 4:, 3] > 0).long() == symbols[:, :-4]).double().mean() < 0.6


# The arms


def test_the_two_arms_start_from_the_same_weights_and_see_the_same_batches(lesson, text, monkeypatch):
    started, seen, trainer = [], [], lesson.Trainer

    def noted(net, loss, optimizer, batches, **options):
        batches = list(zip(range(20), batches, strict=False))
        started.append(weights(net).clone())
        seen.append([one for _, (ids, targets) in batches for one in (ids, targets)])
        return trainer(net, loss, optimizer, (batch for _, batch in batches), **options)

    monkeypatch.setattr(lesson, "Trainer", noted)
    for arm in ("state", "alone"):
        lesson.player(lesson.QUICK, 0, arm, 2, 0.1)
        lesson.reader(lesson.QUICK, 0, arm, text, 0.1)
    lesson.player(lesson.QUICK, 0, "few", 2, 0.1)
    for one, other in ((0, 2), (1, 3)):
        assert torch.equal(started[one], started[other])
    assert len(started[4]) < len(started[0])
    for one, other in ((0, 2), (1, 3), (0, 4)):
        assert len(seen[one]) == len(seen[other])
        assert all(map(torch.equal, seen[one], seen[other]))
    assert not torch.equal(seen[0][0], seen[0][2])


def test_alone_a_net_knows_the_present_symbol_and_no_other(lesson):
    model = CharacterModel(4, 6, cell="rnn", generator=stream(0, "weights"))
    ids = torch.tensor([[0, 1, 2, 3], [3, 1, 2, 0]])
    alone, whole = lesson.Alone(model)(ids), model(ids)
    assert torch.equal(alone[0, 1:3], alone[1, 1:3])
    assert not torch.allclose(whole[0, 1:3], whole[1, 1:3])
    assert torch.allclose(alone[:, 0], whole[:, 0])
    assert alone.shape == whole.shape


def test_with_a_state_the_game_is_learned_and_without_one_it_is_guessed(lesson):
    config = lesson.Config(game_steps=60)
    ids, targets = lesson.game(config, 0, 1, "test")
    found = {}
    for arm in ("state", "few", "alone"):
        named = lesson.player(config, 0, arm, 1, 0.25)(ids).argmax(-1)
        found[arm] = (named == targets)[:, 1:].double().mean().item()
    assert found["state"] == 1.0
    assert found["few"] > 0.95
    assert found["alone"] == pytest.approx(0.5, abs=0.03)


def test_the_game_asks_for_the_symbol_that_came_so_long_before(lesson):
    ids, targets = lesson.game(lesson.Config(), 0, 8, "test", count=3)
    assert torch.equal(targets[:, 8:], ids[:, :-8])
    assert (targets[:, :8] == -100).all()
    scores = torch.zeros(3, 24, 2)
    scores[:, :8, 0] = 9.0  # what is said there costs nothing
    assert lesson.loss_of(scores, targets).item() == pytest.approx(math.log(2))


# What is measured


def test_the_surprise_of_a_state_that_has_read_all_is_the_bits_of_the_library(lesson, text):
    net = torch.nn.Sequential(CharacterModel(4, 6, cell="rnn", generator=stream(0, "weights"))).requires_grad_(False)
    ids = text.test
    bits = lesson.surprise(net, ids)
    assert len(bits) == len(ids) - lesson.FIRST
    nats = torch.nn.functional.cross_entropy(net(ids[None, :-1])[0], ids[1:], reduction="none")
    assert torch.allclose(bits, nats[lesson.FIRST - 1 :].double() / math.log(2), atol=1e-5)
    whole = bits_per_character(net[0], ids) * (len(ids) - 1)
    assert bits.sum().item() + nats[: lesson.FIRST - 1].sum().item() / math.log(2) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("reach", [1, 3, 32])
def test_a_state_of_some_reach_has_read_the_last_characters_and_no_others(lesson, text, reach):
    net = torch.nn.Sequential(CharacterModel(4, 6, cell="rnn", generator=stream(0, "weights"))).requires_grad_(False)
    bits = lesson.surprise(net, text.test[:50], reach)
    for place in range(lesson.FIRST, 50):
        scores = net(text.test[None, place - reach : place])[0, -1].double()
        expected = -scores.log_softmax(0)[text.test[place]].item() / math.log(2)
        assert bits[place - lesson.FIRST].item() == pytest.approx(expected, abs=1e-5)


def test_the_table_counts_pairs_of_the_training_text_plus_one(lesson):
    train = torch.tensor([0, 1, 0, 1, 0, 2, 1, 0])  # after 0 came 1 twice and 2 once, after 1 came 0 three times
    ids = torch.zeros(lesson.FIRST + 3, dtype=torch.int64)
    ids[lesson.FIRST :] = torch.tensor([1, 0, 2])
    expected = [-math.log2(share) for share in (3 / 6, 4 / 6, 2 / 6)]
    assert lesson.pair_surprise(train, ids).tolist() == pytest.approx(expected)


def test_a_trial_judges_text_that_was_neither_learned_nor_tuned_on(lesson, text, monkeypatch):
    monkeypatch.setattr(lesson, "load", lambda config, seed: text)
    measured = lesson.trial(lesson.QUICK, 0, dict.fromkeys(lesson.TUNING, 0.25))
    net = lesson.reader(lesson.QUICK, 0, "alone", text, 0.25)
    assert measured["text/alone/bits"] == lesson.surprise(net, text.test).mean().item()
    assert measured["text/table/bits"] == lesson.pair_surprise(text.train, text.test).mean().item()
    state = lesson.reader(lesson.QUICK, 0, "state", text, 0.25)
    assert measured["reach/last 8/bits"] == lesson.surprise(state, text.test, 8).mean().item()
    assert measured["reach/all/bits"] == measured["text/state/bits"] == lesson.surprise(state, text.test).mean().item()
    (score,) = lesson.tune(lesson.QUICK, 0, "text/state", (0.25,))
    assert score == lesson.surprise(state, text.validation).mean().item()


def test_rates_of_the_game_are_chosen_on_other_sequences(lesson):
    (score,) = lesson.tune(lesson.QUICK, 1_000, "game/few", (0.25,))
    net = lesson.player(lesson.QUICK, 1_000, "few", 8, 0.25)
    ids, targets = lesson.game(lesson.QUICK, 1_000, 8, "validation")
    assert score == lesson.loss_of(net(ids), targets).item()
    others = [lesson.game(lesson.QUICK, 1_000, 8, purpose).inputs for purpose in ("batches", "test")]
    assert not any(torch.equal(ids, other) for other in others)
