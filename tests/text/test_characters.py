"""The character model: the same function however it is computed, a state that is carried, a run that can be resumed."""

import copy
import math
from itertools import islice

import pytest
import torch
from torch import nn

from dlnotes.randomness import stream
from dlnotes.text import (
    CharacterModel,
    Windows,
    bits_per_character,
    decoding,
    next_character_loss,
    train_character_model,
)
from dlnotes.training import CheckpointError, Trainer
from tests import reference
from tests.kills import killed_after

DOUBLE = torch.float64


def model(cell="lstm", symbols=7, hidden=6, **settings):
    return CharacterModel(symbols, hidden, cell=cell, generator=stream(0, "weights"), dtype=DOUBLE, **settings)


def text(length, symbols=7, seed=0):
    return torch.randint(symbols, (length,), generator=stream(seed, "text"))


BOTH = pytest.mark.parametrize("cell", ["rnn", "lstm"])


@BOTH
def test_products_that_are_looked_up_are_those_of_the_embedding(cell):
    one = model(cell, embedding_size=4)
    ids = text(30).view(3, 10)
    one(ids).pow(2).sum().backward()
    found = [each.grad.clone() for each in one.parameters()]
    one.zero_grad()
    outputs, _ = one.recurrent(nn.functional.one_hot(ids, 7).to(DOUBLE) @ one.embedding)
    scores = one.scores(outputs)
    scores.pow(2).sum().backward()
    torch.testing.assert_close(one(ids), scores, rtol=0, atol=1e-12)
    for ours, plain in zip(found, one.parameters(), strict=True):
        torch.testing.assert_close(ours, plain.grad, rtol=1e-10, atol=1e-12)


@BOTH
def test_with_dropout_each_input_has_a_mask_of_its_own(cell):
    one = model(cell, dropout=0.5, masks=stream(0, "masks"))
    same = torch.zeros(2, 5, dtype=torch.int64)
    scores = one(same)
    assert not torch.equal(scores[0], scores[1])
    _, state = one.read(same)  # which no mask of the outputs touches
    hidden = state if isinstance(state, torch.Tensor) else state[0]
    assert not torch.equal(hidden[0, 0], hidden[0, 1])
    assert torch.equal(one.eval()(same)[0], one(same)[1])


@BOTH
def test_a_text_in_pieces_is_the_text_at_once(cell):
    one, ids = model(cell), text(40).view(2, 20)
    state, pieces = None, []
    for piece in ids.split(7, dim=1):
        scores, state = one.read(piece, state)
        pieces.append(scores)
    torch.testing.assert_close(torch.cat(pieces, 1), one(ids), rtol=0, atol=1e-13)


@BOTH
def test_a_carried_state_goes_from_call_to_call_while_training_and_takes_no_gradient(cell):
    one, ids = model(cell), text(40).view(2, 20)
    whole = one(ids)
    one.carry_state(2)
    first, second = one(ids[:, :12]), one(ids[:, 12:])
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-13)
    kept = copy.deepcopy(one.state_dict())
    second.sum().backward()  # through the second window alone
    assert torch.equal(one.eval()(ids), whole)  # evaluation begins with zeros, and changes nothing
    assert all(torch.equal(kept[name], now) for name, now in one.state_dict().items())
    assert any(name.startswith("carried") for name in kept)
    one.train().carry_state(None)
    assert torch.equal(one(ids), whole)
    assert not any(name.startswith("carried") for name in one.state_dict())


def test_a_gradient_ends_at_the_window():
    one, ids = model(), text(20).view(1, 20)
    one.carry_state(1)
    one(ids[:, :12])
    one(ids[:, 12:])[0, -1, 0].backward()
    carried = one.embedding.grad.clone()
    one.zero_grad()
    one.carry_state(None)
    one(ids)[0, -1, 0].backward()
    assert not torch.allclose(carried, one.embedding.grad, atol=1e-9)


def test_a_state_of_another_batch_size_is_refused():
    one = model()
    one.carry_state(3)
    with pytest.raises(ValueError, match=r"\[1, 2, 6\], for 2 sequences and 6 units, not \[1, 3, 6\]"):
        one(text(10).view(2, 5))
    with pytest.raises(ValueError, match="batch_size must be an int of 1 or more, not 0"):
        one.carry_state(0)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (torch.tensor([[0, 7]]), ValueError, "ids must be from 0 to 6, the alphabet's, and there is a 7"),
        (torch.tensor([[-1, 6]]), ValueError, "and there is a -1"),
        (torch.tensor([0, 1]), ValueError, r"ids must be \[batch, time\], with one or more of each, not \[2\]"),
        (torch.zeros(1, 0, dtype=torch.int64), ValueError, r"not \[1, 0\]"),
        (
            torch.zeros(1, 2),
            TypeError,
            "ids must be int64, the places of characters in the alphabet, not torch.float32",
        ),
        ("ab", TypeError, "ids must be a tensor"),
    ],
)
def test_ids_that_do_not_fit_are_refused(ids, error, message):
    with pytest.raises(error, match=message):
        model()(ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "gru"}, 'cell must be "lstm" or "rnn", not \'gru\''),
        ({"symbols": 0}, "symbols must be an int of 1 or more, not 0"),
        ({"embedding_size": 0}, "embedding_size must be an int of 1 or more, not 0"),
        ({"recurrent_dropout": 0.1}, "recurrent_dropout=0.1 draws masks"),
    ],
)
def test_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        model(**settings)


# ----------------------------------------------------------------------------------------------------------------
# Windows
# ----------------------------------------------------------------------------------------------------------------


def test_rows_read_on_where_they_were_and_targets_are_the_next_characters():
    ids = torch.arange(23)
    rows = [[], []]
    for inputs, targets in islice(Windows(ids, 2, 5), 9):
        for row, (one, next_ones) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
            rows[row] += one
            assert next_ones == [(character + 1) % 23 for character in one]
    assert rows == [[place % 23 for place in range(45)], [(11 + place) % 23 for place in range(45)]]


def test_windows_go_back_to_a_state():
    windows = Windows(text(100), 3, 7)
    list(islice(windows, 5))
    state = windows.state_dict()
    ahead = list(islice(windows, 30))
    again = Windows(text(100), 3, 7)
    again.load_state_dict(state)
    for left, right in zip(ahead, islice(again, 30), strict=True):
        assert torch.equal(left[0], right[0])
        assert torch.equal(left[1], right[1])
    with pytest.raises(ValueError, match="other windows: batch_size 3 and not 4"):
        Windows(text(100), 4, 7).load_state_dict(state)
    with pytest.raises(ValueError, match="other windows"):
        windows.load_state_dict({})


@pytest.mark.parametrize(
    ("ids", "sizes", "error", "message"),
    [
        (text(23), (4, 5), ValueError, r"24 or more for 4 rows of 5 and the one after, not \[23\]"),
        (text(20).view(2, 10), (1, 5), ValueError, r"not \[2, 10\]"),
        (text(20), (0, 5), ValueError, "batch_size must be an int of 1 or more, not 0"),
        (text(20), (1, 0), ValueError, "window must be an int of 1 or more, not 0"),
        ("a text", (1, 5), TypeError, "ids must be a tensor"),
    ],
)
def test_texts_that_are_too_short_are_refused(ids, sizes, error, message):
    with pytest.raises(error, match=message):
        Windows(ids, *sizes)


# ----------------------------------------------------------------------------------------------------------------
# Training
# ----------------------------------------------------------------------------------------------------------------

SMALL = {"batch_size": 3, "window": 5, "steps": 13, "save_every": 4}


@pytest.mark.parametrize("settings", [{}, {"recurrent_dropout": 0.3}, {"dropout": 0.3, "variational": True}])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(settings, tmp_path, monkeypatch):
    def new():
        return model(masks=stream(0, "masks"), **settings)

    undisturbed, killed, resumed = new(), new(), new()
    losses = train_character_model(undisturbed, text(200), **SMALL)
    path = tmp_path / "run.pt"
    with killed_after(9, monkeypatch):
        train_character_model(killed, text(200), checkpoint=path, **SMALL)
    rest = train_character_model(resumed, text(200), checkpoint=path, **SMALL)
    assert rest == losses[8:]  # the last save was after step 8
    assert all(torch.equal(one, resumed.state_dict()[name]) for name, one in undisturbed.state_dict().items())
    assert train_character_model(new(), text(200), checkpoint=path, **SMALL) == []  # it has ended


def test_a_checkpoint_that_is_damaged_or_of_another_text_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    train_character_model(model(), text(200), checkpoint=path, **SMALL)
    before = path.read_bytes()
    for other, settings, message in (
        (text(200, seed=1), {}, "is of another run; name another file, or remove it: text was"),
        (text(200), {"steps": 20}, "steps was 13 and is 20"),
        (text(200), {"lr": 0.5}, "lr was 1.0 and is 0.5"),
        (text(200), {"batch_size": 4}, "batch_size was 3 and is 4"),
    ):
        with pytest.raises(ValueError, match=message):
            train_character_model(model(), other, checkpoint=path, **SMALL | settings)
    with pytest.raises(ValueError, match="model was CharacterModel"):
        train_character_model(model("rnn"), text(200), checkpoint=path, **SMALL)
    assert path.read_bytes() == before
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        train_character_model(model(), text(200), checkpoint=path, **SMALL)


def test_training_leaves_no_state_behind_and_the_mode_as_it_was_also_when_it_fails(monkeypatch):
    one = model().eval()
    one.scores.train()
    before = one.scores.weight.clone()
    train_character_model(one, text(200), **SMALL)
    assert not torch.equal(one.scores.weight, before)
    with killed_after(0, monkeypatch):
        train_character_model(one, text(200), **SMALL)
    assert [one.training, one.recurrent.training, one.scores.training] == [False, False, True]
    one.train()(text(10).view(2, 5))  # of another batch size than the training's


def test_masks_are_drawn_while_training_also_of_a_model_that_was_evaluating():
    models = model().eval(), model(dropout=0.5, masks=stream(0, "masks")).eval()
    without, under = (train_character_model(one, text(200), **SMALL) for one in models)
    assert without[0] != under[0]


def test_an_id_outside_the_alphabet_is_found_before_the_first_step():
    ids = text(200)
    ids[-1] = 9
    with pytest.raises(ValueError, match="ids must be from 0 to 6, the alphabet's, and there is a 9"):
        train_character_model(model(), ids, **SMALL)


def test_the_rate_falls_to_0_along_half_a_cosine(monkeypatch):
    rates, step = [], Trainer.__next__

    def watched(trainer):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        return step(trainer)

    monkeypatch.setattr(Trainer, "__next__", watched)
    train_character_model(model(), text(200), lr=0.8, **SMALL)
    assert rates[:13] == pytest.approx([0.4 * (1 + math.cos(math.pi * step / 13)) for step in range(13)])


@pytest.mark.parametrize("settings", [{"steps": 0}, {"steps": 2.0}, {"save_every": 0}])
def test_counts_of_steps_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be an int of 1 or more"):
        train_character_model(model(), text(200), **SMALL | settings)


def test_first_weights_are_as_described():
    one = CharacterModel(200, 100, embedding_size=50, generator=stream(0, "weights"))
    assert one.embedding.std().item() == pytest.approx(1, rel=0.03)
    weight = one.scores.weight
    assert weight.abs().max() <= 0.1
    assert weight.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.03)
    assert weight.mean().abs() < 0.002
    assert not one.scores.bias.any()


def test_a_step_that_fails_gives_the_carried_state_back():
    one = model()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
    calls = []

    def loss(scores, targets):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no")
        return next_character_loss(scores, targets)

    trainer = Trainer(one, loss, optimizer, Windows(text(200), 3, 5))
    one.carry_state(3)  # after the trainer was made
    next(trainer)
    before = one.carried_hidden.clone()
    with pytest.raises(RuntimeError, match="no"):
        next(trainer)
    assert torch.equal(one.carried_hidden, before)


def test_a_model_that_carries_nothing_loads_the_weights_of_one_that_does():
    one, other = model(), model()
    one.carry_state(4)
    one(text(20).view(4, 5))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.eval()(text(10).view(2, 5)), other(text(10).view(2, 5)))
    other.carry_state(5)
    with pytest.raises(RuntimeError, match="size mismatch for carried_hidden"):
        other.load_state_dict(one.state_dict())


def test_a_text_that_can_be_known_is_learned():
    """Period 5: from the second character on nothing is left to guess."""
    ids = torch.arange(5).repeat(80)
    one = CharacterModel(5, 16, generator=stream(0, "weights"))
    losses = train_character_model(one, ids, steps=150, batch_size=4, window=10)
    assert losses[0] == pytest.approx(math.log(5), rel=0.1)
    assert bits_per_character(one, ids) < 0.05


@BOTH
@pytest.mark.parametrize("window", [1, 8, 1_000])
def test_bits_are_the_mean_surprise_of_each_next_character(cell, window):
    one, ids = model(cell), text(50)
    scores = one(ids[None])[0].log_softmax(1)
    expected = -sum(scores[place, ids[place + 1]].item() for place in range(49)) / 49 / math.log(2)
    one.train()
    one.carry_state(4)
    kept = copy.deepcopy(one.state_dict())
    assert bits_per_character(one, ids, window=window) == pytest.approx(expected, abs=1e-12)
    assert one.training
    assert all(torch.equal(kept[name], now) for name, now in one.state_dict().items())


def test_bits_need_two_characters_and_a_window():
    with pytest.raises(ValueError, match=r"\[characters\], two or more, not \[1\]"):
        bits_per_character(model(), text(1))
    with pytest.raises(ValueError, match="window must be an int of 1 or more, not -1"):
        bits_per_character(model(), text(9), window=-1)


def test_scores_and_targets_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"not \[2, 3, 5\] and \[3, 2\]"):
        next_character_loss(torch.zeros(2, 3, 5), torch.zeros(3, 2, dtype=torch.int64))


def test_the_loss_is_pytorchs_over_all_places():
    scores = torch.randn(3, 4, 7, generator=stream(0, "scores"), dtype=DOUBLE)
    targets = text(12).view(3, 4)
    theirs = nn.functional.cross_entropy(scores.transpose(1, 2), targets)
    torch.testing.assert_close(next_character_loss(scores, targets), theirs, rtol=0, atol=1e-13)


def test_targets_of_minus_100_are_left_out():
    """As by PyTorch; what stands at their places has no gradient."""
    scores = torch.randn(3, 4, 7, generator=stream(0, "scores"), dtype=DOUBLE, requires_grad=True)
    targets = text(12).view(3, 4)
    targets[0, 2:] = targets[2, 3] = -100
    theirs = nn.functional.cross_entropy(scores.transpose(1, 2), targets)
    ours = next_character_loss(scores, targets)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    expected = torch.autograd.grad(theirs, scores)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, scores)[0], expected, rtol=0, atol=1e-13)
    kept = [logs for logs, target in zip(scores.flatten(0, 1), targets.flatten().tolist(), strict=True) if target >= 0]
    some = next_character_loss(torch.stack(kept)[None], targets[targets >= 0][None])
    torch.testing.assert_close(ours, some, rtol=0, atol=1e-13)


@pytest.mark.parametrize("wrong", [-1, -99, 7])
def test_other_targets_outside_the_alphabet_are_refused(wrong):
    scores, targets = torch.zeros(1, 3, 7), torch.tensor([[0, wrong, -100]])
    with pytest.raises(ValueError, match=str(wrong)):
        next_character_loss(scores, targets)
    with pytest.raises(ValueError, match="there must be a target that counts, and all of them are -100"):
        next_character_loss(scores, torch.full((1, 3), -100))


# ----------------------------------------------------------------------------------------------------------------
# Writing
# ----------------------------------------------------------------------------------------------------------------


def after(one):
    """The log-probabilities of each next character by the model itself, which reads the whole prefix each time."""
    return lambda prefix: one(torch.tensor([prefix]))[0, -1].log_softmax(0).tolist()


ALL_KINDS = pytest.mark.parametrize("settings", [{"cell": "rnn"}, {"cell": "rnn", "nonlinearity": "relu"}, {}])


def written_by(**settings):
    """A model with weights, biases too, that make it sure of something."""
    one = model(embedding_size=4, **settings)
    for number, parameter in enumerate(one.parameters()):
        parameter.data.copy_(torch.randn(parameter.shape, generator=stream(number, "weights"), dtype=DOUBLE))
    return one


@ALL_KINDS
def test_a_step_after_a_step_is_the_model_on_the_whole(settings):
    one, ids = written_by(**settings), text(36).view(3, 12)
    step, whole = one.step_function(), one(ids).log_softmax(2)
    for begun in (1, 2, 7):
        last, state = one.begin(ids[:, :begun])
        for place in range(begun - 1, 12):
            log_probs, state = step(last, state)
            torch.testing.assert_close(log_probs, whole[:, place], rtol=0, atol=1e-12)
            assert not log_probs.requires_grad
            last = ids[:, min(place + 1, 11)]


@ALL_KINDS
@pytest.mark.parametrize("end", [None, 2])
def test_a_beam_over_steps_is_a_beam_over_whole_prefixes(settings, end):
    one, prompts = written_by(**settings), text(12).view(3, 4)
    for beams, penalty in ((1, 0.0), (4, 0.0), (4, 1.0)):
        found = decoding.beam_search(
            one.step_function(),
            *one.begin(prompts),
            beams=beams,
            max_length=4,
            end=end,
            length_penalty=penalty,
        )
        for place, prompt in enumerate(prompts.tolist()):
            expected = reference.beam_search(after(one), tuple(prompt), beams, 4, end, penalty)
            assert [tuple(row) for row in found.written()[place]] == [row for _, row in expected]
            assert found.log_probs[place].tolist() == pytest.approx([log for log, _ in expected], abs=1e-12)


@BOTH
def test_each_prompt_is_begun_alone_and_the_model_is_left_as_it_was(cell):
    one, prompts = written_by(cell=cell, dropout=0.5, masks=stream(0, "masks")), text(12).view(3, 4)
    one.carry_state(3)
    kept = copy.deepcopy(one.state_dict())
    last, state = one.begin(prompts)
    assert one.training
    assert all(torch.equal(kept[name], now) for name, now in one.state_dict().items())
    assert last.tolist() == prompts[:, -1].tolist()
    for place, prompt in enumerate(prompts.split(1)):
        alone, parts = one.begin(prompt)
        assert alone.tolist() == last[place : place + 1].tolist()
        for part, whole in zip(parts, state, strict=True):
            torch.testing.assert_close(part, whole[place : place + 1], rtol=0, atol=1e-13)
    step, scores = one.step_function(), one.eval()(prompts)  # without dropout
    torch.testing.assert_close(step(last, state)[0], scores[:, -1].log_softmax(1), rtol=0, atol=1e-12)


@BOTH
def test_a_step_function_is_the_model_when_it_was_made(cell):
    """All of it: a table of the old weights beside scores of the new ones would be no model at all."""
    one, prompts = written_by(cell=cell), text(6).view(2, 3)
    old, begun = one.step_function(), one.begin(prompts)
    before, _ = old(*begun)
    for parameter in one.parameters():
        parameter.data.add_(1.0)
    assert torch.equal(old(*begun)[0], before)
    assert not torch.allclose(one.step_function()(*begun)[0], before)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_of_half_precision_writes(cell, dtype):
    one = written_by(cell=cell).to(dtype)
    found = decoding.beam_search(one.step_function(), *one.begin(text(6).view(2, 3)), beams=3, max_length=5)
    assert found.log_probs.dtype == DOUBLE
    wide = one.double()
    for prompt, rows, logs in zip(text(6).view(2, 3).tolist(), found.written(), found.log_probs.tolist(), strict=True):
        for row, log in zip(rows, logs, strict=True):
            exact = reference.log_probability(after(wide), tuple(prompt), row)
            assert log == pytest.approx(exact, abs=0.5 if dtype == torch.bfloat16 else 0.05)


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        (
            torch.zeros(1, 0, dtype=torch.int64),
            ValueError,
            r"prompts must be \[batch, time\], with one or more.*\[1, 0\]",
        ),
        (torch.tensor([1, 2]), ValueError, r"prompts must be \[batch, time\], with one or more of each, not \[2\]"),
        (torch.tensor([[1, 7]]), ValueError, "prompts must be from 0 to 6, the alphabet's, and there is a 7"),
        (torch.tensor([[7]]), ValueError, "prompts must be from 0 to 6, the alphabet's, and there is a 7"),
        (torch.tensor([[-1, 0]]), ValueError, "and there is a -1"),
        (torch.tensor([[1.0]]), TypeError, "prompts must be int64"),
        ([[1]], TypeError, "prompts must be a tensor, not list"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(prompts, error, message):
    with pytest.raises(error, match=message):
        model().begin(prompts)


def test_a_step_without_a_state_is_refused():
    with pytest.raises(ValueError, match="there is no state to go on from: start from what begin gives"):
        decoding.greedy(model().step_function(), torch.tensor([1]), max_length=2)
    with pytest.raises(IndexError, match="index 7 is out of bounds for dimension 0 with size 7"):
        decoding.greedy(model().step_function(), torch.tensor([7]), model().begin(torch.tensor([[1]]))[1], max_length=2)
