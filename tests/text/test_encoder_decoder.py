"""From words to words: the model against PyTorch's LSTMs, its batches, and a training that can be resumed."""

import copy
import math
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dlnotes.randomness import stream
from dlnotes.text import (
    CharacterModel,
    EncoderDecoder,
    PairBatches,
    decoding,
    error_rate,
    next_character_loss,
    train_character_model,
    train_encoder_decoder,
)
from dlnotes.training import CheckpointError, Trainer
from tests import reference
from tests.kills import killed_after

DOUBLE = torch.float64
SOURCES, TARGETS = 5, 4  # symbols; the end symbol is 4


def model(hidden=6, dtype=DOUBLE, **settings):
    return EncoderDecoder(
        SOURCES, TARGETS, hidden, embedding_size=3, generator=stream(0, "weights"), dtype=dtype, **settings
    )


def started(one):
    """With weights, biases too, that make it sure of something."""
    for number, parameter in enumerate(one.parameters()):
        drawn = torch.randn(parameter.shape, generator=stream(number, "weights"), dtype=DOUBLE)
        parameter.data.copy_(drawn)
    return one


def words(count, symbols, seed=0, longest=5):
    draws = stream(seed, "words")
    lengths = torch.randint(1, longest + 1, (count,), generator=draws).tolist()
    return [torch.randint(symbols, (length,), generator=draws).tolist() for length in lengths]


def order(seed=0):
    return stream(seed, "batches")


# ----------------------------------------------------------------------------------------------------------------
# The model
# ----------------------------------------------------------------------------------------------------------------


def theirs(layer):
    """PyTorch's LSTM with the same weights."""
    with torch.device("meta"):  # where nothing is drawn
        twin = nn.LSTM(layer.input_size, layer.hidden_size, batch_first=True, dtype=DOUBLE)
    twin.to_empty(device="cpu").load_state_dict(layer.state_dict())
    return twin


def twin(one, sources, before):
    """The scores, of two LSTMs of PyTorch's and the four matrices beside them."""
    _, (hidden, cell) = theirs(one.encoder)(one.embedding[sources])
    state = (
        torch.tanh(hidden @ one.hidden.weight.T + one.hidden.bias),
        torch.tanh(cell @ one.cell.weight.T + one.cell.bias),
    )
    decoder = one.decoder
    outputs, _ = theirs(decoder.recurrent)(decoder.embedding[before], state)
    return outputs @ decoder.scores.weight.T + decoder.scores.bias


def test_scores_are_those_of_pytorchs_layers():
    one = started(model())
    sources = torch.tensor([[0, 4, 2], [3, 3, 1]])
    before = torch.tensor([[4, 1, 0, 2], [4, 3, 3, 0]])
    torch.testing.assert_close(one(sources, before), twin(one, sources, before), rtol=0, atol=1e-12)


def test_all_parameters_learn_from_the_loss_of_the_targets():
    one = started(model())
    targets = torch.tensor([[1, 0, 2, 4], [3, 3, 4, -100]])
    loss = next_character_loss(
        one(torch.tensor([[0, 4, 2], [3, 1, 1]]), torch.tensor([[4, 1, 0, 2], [4, 3, 3, 0]])), targets
    )
    loss.backward()
    for name, parameter in one.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_what_is_read_reaches_the_decoder_by_its_first_state_alone():
    one, before = started(model()), torch.tensor([[4, 1, 0], [4, 1, 0]])
    sources = torch.tensor([[0, 4, 2], [3, 4, 2]])
    hidden, cell = one.encode(sources)
    assert hidden.shape == cell.shape == (1, 2, 6)
    assert max(hidden.abs().max(), cell.abs().max()) <= 1
    torch.testing.assert_close(one(sources, before), one.decoder.read(before, (hidden, cell))[0])
    assert not torch.allclose(*one(sources, before))  # the first symbol of three is remembered
    one.hidden.weight.data.zero_()
    one.cell.weight.data.zero_()
    torch.testing.assert_close(*one(sources, before), rtol=0, atol=0)


def test_a_target_is_scored_from_those_before_it_alone():
    one, sources = started(model()), torch.tensor([[0, 4, 2]])
    left, right = torch.tensor([[4, 1, 0, 2]]), torch.tensor([[4, 1, 0, 3]])
    difference = (one(sources, left) - one(sources, right)).abs().amax(2)[0]
    assert not difference[:3].any()
    assert difference[3] > 1e-3


def test_sources_of_mixed_lengths_are_begun_as_each_alone():
    one, sources = started(model()), words(12, SOURCES)
    assert len({len(source) for source in sources}) > 2
    last, state = one.begin(sources)
    assert last.tolist() == [one.end] * 12 == [4] * 12
    for place, source in enumerate(sources):
        alone = one.encode(torch.tensor([source]))
        for part, whole in zip(alone, state, strict=True):
            torch.testing.assert_close(whole[place : place + 1], part[0], rtol=0, atol=1e-13)
    for part, whole in zip(one.begin(tuple(map(tuple, sources)))[1], state, strict=True):
        assert torch.equal(part, whole)
        assert not part.requires_grad


@pytest.mark.parametrize("settings", [{"beams": 1}, {"beams": 3}, {"beams": 3, "length_penalty": 1.0}])
def test_a_beam_over_steps_is_a_beam_over_whole_targets(settings):
    one, sources = started(model()), words(6, SOURCES)
    found = decoding.beam_search(one.step_function(), *one.begin(sources), max_length=4, end=one.end, **settings)
    for place, source in enumerate(sources):

        def after(prefix, source=source):
            return one(torch.tensor([source]), torch.tensor([prefix]))[0, -1].log_softmax(0).tolist()

        expected = reference.beam_search(
            after, (one.end,), settings["beams"], 4, one.end, settings.get("length_penalty", 0.0)
        )
        assert [tuple(row) for row in found.written()[place]] == [row for _, row in expected]
        assert found.log_probs[place].tolist() == pytest.approx([log for log, _ in expected], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_of_half_precision_writes(dtype):
    one, sources = started(model()), words(4, SOURCES)
    exact = one.begin(sources)[1]
    one = one.to(dtype)
    last, state = one.begin(sources)
    for part, whole in zip(state, exact, strict=True):
        assert part.dtype == dtype
        torch.testing.assert_close(part.double(), whole, rtol=0, atol=0.1)
    draws = stream(0, "draws")
    for found in (
        decoding.beam_search(one.step_function(), last, state, beams=2, max_length=4, end=one.end),
        decoding.sample(one.step_function(), last, state, samples=2, max_length=4, end=one.end, generator=draws),
    ):
        assert found.log_probs.dtype == DOUBLE
        assert found.log_probs.isfinite().all()


def test_it_can_be_saved_copied_and_built_without_memory():
    one, other = started(model()), model()
    sources, before = torch.tensor([[0, 4, 2]]), torch.tensor([[4, 1]])
    other.load_state_dict(one.state_dict())
    for each in (other, copy.deepcopy(one)):
        assert torch.equal(each(sources, before), one(sources, before))
    with torch.device("meta"):
        assert all(parameter.is_meta for parameter in model().parameters())
    left, right = model(), model()
    left.reset_parameters(stream(3, "weights"))
    right.reset_parameters(stream(3, "weights"))
    assert all(torch.equal(*pair) for pair in zip(left.parameters(), right.parameters(), strict=True))
    assert not torch.equal(left.cell.weight, model().cell.weight)


def test_first_weights_are_as_described():
    one = EncoderDecoder(200, 150, 100, embedding_size=50, generator=stream(0, "weights"))
    assert one.embedding.shape == (200, 50)
    assert one.decoder.embedding.shape == (151, 50)
    for embedding in (one.embedding, one.decoder.embedding):
        assert embedding.std().item() == pytest.approx(1, rel=0.03)
    for weight in (one.hidden.weight, one.cell.weight, one.encoder.weight_ih_l0, one.decoder.scores.weight):
        assert weight.abs().max() <= 0.1
        assert weight.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.03)
    assert not one.hidden.bias.any()
    assert not one.cell.bias.any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: EncoderDecoder(0, 4, generator=order()),
            ValueError,
            "source_symbols must be an int of 1 or more, not 0",
        ),
        (lambda: EncoderDecoder(5, 0, generator=order()), ValueError, "target_symbols must be an int of 1 or more"),
        (lambda: EncoderDecoder(5, 4, 0, generator=order()), ValueError, "hidden_size must be an int of 1 or more"),
        (
            lambda: EncoderDecoder(5, 4, embedding_size=0, generator=order()),
            ValueError,
            "embedding_size must be an int of 1 or more, not 0",
        ),
        (
            lambda: model()(torch.tensor([[5]]), torch.tensor([[4]])),
            ValueError,
            "sources must be from 0 to 4, the alphabet's, and there is a 5",
        ),
        (lambda: model()(torch.tensor([5]), torch.tensor([[4]])), ValueError, r"sources must be \[batch, time\]"),
        (lambda: model()(torch.tensor([[1]]), torch.tensor([[5]])), ValueError, "from 0 to 4, .* and there is a 5"),
        (lambda: model()(torch.tensor([[1], [2]]), torch.tensor([[4]])), ValueError, r"not \[1, 2, 6\]"),
        (lambda: model().begin([]), ValueError, "sources must be one or more, each of one symbol or more"),
        (lambda: model().begin([[1], []]), ValueError, "sources must be one or more, each of one symbol or more"),
        (lambda: model().begin([[1], [0, 5]]), ValueError, "sources must be from 0 to 4, .* and there is a 5"),
        (lambda: model().begin([[-1]]), ValueError, "sources must be from 0 to 4, .* and there is a -1"),
        (lambda: model().begin([[1.5]]), TypeError, "sources must be int64"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_writing_without_a_source_is_refused():
    with pytest.raises(ValueError, match="there is no state to go on from: start from what begin gives"):
        decoding.greedy(model().step_function(), torch.tensor([4]), max_length=2)


# ----------------------------------------------------------------------------------------------------------------
# Batches
# ----------------------------------------------------------------------------------------------------------------


def pairs_of(batch):
    """A batch as a list of pairs again; what stands before a target is the target, one later."""
    pairs = []
    for source, before, target in zip(*(part.tolist() for part in batch), strict=True):
        count = target.index(9) + 1  # the end symbol
        assert before == [9, *target[: count - 1], *[9] * (len(target) - count)]
        assert target[count:] == [-100] * (len(target) - count)
        pairs.append((tuple(source), tuple(target[: count - 1])))
    return pairs


@given(count=st.integers(1, 30), batch_size=st.integers(1, 7), seed=st.integers(0, 1_000))
def test_a_pass_gives_every_pair_once_in_batches_of_one_source_length(count, batch_size, seed):
    sources, targets = words(count, SOURCES, seed), words(count, TARGETS, seed + 1)
    batches = PairBatches(sources, targets, batch_size, end=9, generator=order(seed))
    lengths = [len(source) for source in sources]
    a_pass = sum(math.ceil(lengths.count(length) / batch_size) for length in set(lengths))
    expected = sorted(zip(map(tuple, sources), map(tuple, targets), strict=True))
    for _ in range(3):
        found = []
        for batch in islice(batches, a_pass):
            pairs = pairs_of(batch)
            assert 1 <= len(pairs) <= batch_size
            assert max(len(target) + 1 for _, target in pairs) == batch[2].shape[1]  # as long as needed
            found += pairs
        assert sorted(found) == expected


def seen(batches, count):
    return [[part.tolist() for part in batch] for batch in islice(batches, count)]


def new_batches(seed=0, sources=40, batch_size=3):
    pairs = words(sources, SOURCES), words(sources, TARGETS, 1)
    return PairBatches(*pairs, batch_size, end=9, generator=order(seed))


def test_the_order_is_a_function_of_the_seed_and_another_in_each_pass():
    assert seen(new_batches(), 50) == seen(new_batches(), 50)
    assert seen(new_batches(), 50) != seen(new_batches(1), 50)
    state = new_batches().state_dict()
    a_pass = len(new_batches()._rows)
    one, other = (seen(batches, a_pass) for batches in (new_batches(), shifted(a_pass)))
    assert one != other
    assert sorted(map(str, one)) != sorted(map(str, other))  # not the order of batches alone
    lengths = [len(batch[0][0]) for batch in one]
    assert lengths != sorted(lengths)  # long and short ones by turns
    assert state["position"] == 0


def shifted(count):
    batches = new_batches()
    list(islice(batches, count))
    return batches


@pytest.mark.parametrize("count", [0, 1, 7, 40, 100])
def test_batches_go_back_to_a_state(count):
    batches = shifted(count)
    state = copy.deepcopy(batches.state_dict())
    ahead = seen(batches, 50)
    again = new_batches(seed=5)
    again.load_state_dict(state)
    assert seen(again, 50) == ahead
    batches.load_state_dict(state)
    assert seen(batches, 50) == ahead


def test_states_of_other_batches_are_refused():
    state = new_batches().state_dict()
    with pytest.raises(ValueError, match="this state is of other batches: batch_size 3 and not 4"):
        new_batches(batch_size=4).load_state_dict(state)
    with pytest.raises(ValueError, match="this state is of other batches: pairs 40 and not 39"):
        new_batches(sources=39).load_state_dict(state)
    with pytest.raises(ValueError, match="this state is of other batches"):
        new_batches().load_state_dict({})
    with pytest.raises(ValueError, match="it has no position"):
        new_batches().load_state_dict({name: one for name, one in state.items() if name != "position"})


@pytest.mark.parametrize(
    ("sources", "targets", "batch_size", "message"),
    [
        ([], [], 2, "there must be as many sources as targets, not 0 and 0"),
        ([[1]], [[1], [2]], 2, "there must be as many sources as targets, not 1 and 2"),
        ([[1], []], [[1], [2]], 2, "sources and targets must have one symbol or more each"),
        ([[1], [2]], [[1], []], 2, "sources and targets must have one symbol or more each"),
        ([[1]], [[1]], 0, "batch_size must be an int of 1 or more, not 0"),
    ],
)
def test_pairs_that_are_none_are_refused(sources, targets, batch_size, message):
    with pytest.raises(ValueError, match=message):
        PairBatches(sources, targets, batch_size, end=9, generator=order())


# ----------------------------------------------------------------------------------------------------------------
# Training
# ----------------------------------------------------------------------------------------------------------------

SMALL = {"batch_size": 3, "steps": 13, "save_every": 4}
PAIRS = words(20, SOURCES), words(20, TARGETS, 1)


def train(one, pairs=PAIRS, **settings):
    return train_encoder_decoder(one, *pairs, **{"generator": order(), **SMALL, **settings})


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    undisturbed, killed, resumed = model(), model(), model()
    losses = train(undisturbed)
    path = tmp_path / "run.pt"
    with killed_after(9, monkeypatch):
        train(killed, checkpoint=path)
    assert train(resumed, checkpoint=path) == losses[8:]  # the last save was after step 8
    assert all(torch.equal(one, resumed.state_dict()[name]) for name, one in undisturbed.state_dict().items())
    assert train(model(), checkpoint=path) == []  # it has ended


def test_losses_are_those_of_the_loop_that_anybody_would_write():
    """SGD with momentum on the mean over symbols, its gradient clipped, its rate along half a cosine wave."""
    ours, plain = started(model()), started(model())
    losses = train(ours, lr=0.3, momentum=0.8, max_norm=0.7)
    batches = PairBatches(*PAIRS, 3, end=4, generator=order())
    velocities = [torch.zeros_like(parameter) for parameter in plain.parameters()]
    expected = []
    for number, (sources, before, targets) in enumerate(islice(batches, 13)):
        scores = plain(sources, before)
        loss = nn.functional.cross_entropy(scores.transpose(1, 2), targets)
        gradients = torch.autograd.grad(loss, list(plain.parameters()))
        norm = math.sqrt(sum(gradient.pow(2).sum().item() for gradient in gradients))
        rate = 0.3 * (1 + math.cos(math.pi * number / 13)) / 2
        for parameter, velocity, gradient in zip(plain.parameters(), velocities, gradients, strict=True):
            velocity.mul_(0.8).add_(gradient * min(1.0, 0.7 / norm))
            parameter.data.sub_(rate * velocity)
        expected.append(loss.item())
    assert losses == pytest.approx(expected, rel=1e-9)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_a_checkpoint_that_is_damaged_or_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    train(model(), checkpoint=path)
    before = path.read_bytes()
    other_targets = [*PAIRS[1][:-1], [1, *PAIRS[1][-1]]]
    for one, pairs, settings, message in (
        (model(), (PAIRS[0], other_targets), {}, "is of another run; name another file, or remove it: pairs was"),
        (model(), (PAIRS[0][::-1], PAIRS[1]), {}, "pairs was"),
        (model(), PAIRS, {"steps": 20}, "steps was 13 and is 20"),
        (model(), PAIRS, {"lr": 0.5}, "lr was 1.0 and is 0.5"),
        (model(), PAIRS, {"batch_size": 4}, "batch_size was 3 and is 4"),
        (model(), PAIRS, {"momentum": 0.5}, "momentum was 0.9 and is 0.5"),
        (model(), PAIRS, {"max_norm": 2.0}, "max_norm was 1.0 and is 2.0"),
        (model(7), PAIRS, {}, "model was EncoderDecoder"),
        (EncoderDecoder(6, TARGETS, 6, embedding_size=3, generator=order(), dtype=DOUBLE), PAIRS, {}, "model was"),
    ):
        kept = copy.deepcopy(one.state_dict())
        with pytest.raises(ValueError, match=message):
            train(one, pairs, checkpoint=path, **settings)
        assert all(torch.equal(kept[name], now) for name, now in one.state_dict().items())
    with pytest.raises(ValueError, match="model was EncoderDecoder"):
        train_character_model(
            CharacterModel(7, 6, generator=order()), torch.arange(7).repeat(30), window=5, checkpoint=path, **SMALL
        )
    assert path.read_bytes() == before
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        train(model(), checkpoint=path)


def test_the_mode_is_as_it_was_also_when_it_fails(monkeypatch):
    one = model().eval()
    one.decoder.train()
    modes = []
    step = Trainer.__next__

    def watched(trainer):
        modes.append(trainer.model.training)
        return step(trainer)

    monkeypatch.setattr(Trainer, "__next__", watched)
    train(one)
    with killed_after(2, monkeypatch):
        train(one)
    assert modes == [True] * 15
    assert [one.training, one.encoder.training, one.decoder.training] == [False, False, True]


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        ([[1], [5]], [[1], [2]], "sources must be from 0 to 4, the alphabet's, and there is a 5"),
        ([[1], [2]], [[1], [4]], "targets must be from 0 to 3, the alphabet's, and there is a 4"),  # the end symbol
        ([[1], [2]], [[1], [-100]], "targets must be from 0 to 3, the alphabet's, and there is a -100"),
        ([[1], [2]], [[1]], "as many sources as targets, not 2 and 1"),
    ],
)
def test_symbols_that_the_model_does_not_have_are_found_before_the_first_step(sources, targets, message):
    one = model()
    kept = copy.deepcopy(one.state_dict())
    with pytest.raises(ValueError, match=message):
        train(one, (sources, targets))
    assert all(torch.equal(kept[name], now) for name, now in one.state_dict().items())


@pytest.mark.parametrize("settings", [{"steps": 0}, {"steps": 2.0}, {"save_every": 0}, {"batch_size": 0}])
def test_counts_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be an int of 1 or more"):
        train(model(), **settings)


def test_words_are_learned_to_be_written_backwards():
    """Before training it knows nothing, and afterwards words of lengths 1 to 3, which end by themselves."""
    draws = stream(0, "words")
    sources = [torch.randint(4, (1 + place % 3,), generator=draws).tolist() for place in range(90)]
    targets = [source[::-1] for source in sources]
    one = EncoderDecoder(4, 4, 32, embedding_size=8, generator=stream(0, "weights"))

    def errors():
        found = decoding.greedy(one.step_function(), *one.begin(sources), max_length=6, end=one.end)
        return error_rate([rows[0] for rows in found.written()], [[*target, one.end] for target in targets])

    assert errors() > 0.5
    losses = train_encoder_decoder(one, sources, targets, generator=order(), steps=250, batch_size=30, lr=0.5)
    assert losses[0] == pytest.approx(math.log(5), rel=0.2)
    assert errors() < 0.02
