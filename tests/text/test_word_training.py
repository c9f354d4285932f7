"""The training of word vectors: what a pass draws, what it learns, and that it goes on where it was."""

import io
import math
import signal
import sys

import pytest
import torch
from scipy.stats import binom, chisquare

from dlnotes import data
from dlnotes.randomness import stream
from dlnotes.text import CBOW, SkipGram, WordTrainer, nearest, train_word_vectors, word_training
from dlnotes.training import CheckpointError, DivergedError
from tests.kills import killed_after

BOTH = pytest.mark.parametrize("kind", [SkipGram, CBOW])


def text_of(count=4_000, words=12, seed=0):
    """Words by Zipf's law."""
    return torch.multinomial(data.zipf(words), count, replacement=True, generator=stream(seed, "text"))


def model_of(kind, words=12, dim=4, window=2, **settings):
    return kind(words, dim, window=window, generator=stream(0, "weights"), **settings)


def trainer_of(kind, ids=None, **settings):
    model = model_of(kind)
    return WordTrainer(model, text_of() if ids is None else ids, generator=stream(0, "draws"), **settings)


@pytest.fixture
def short_items(monkeypatch):
    """Items of 512 centres, so that a small text has several of them."""
    monkeypatch.setattr(word_training, "AT_ONCE", 512)


@pytest.fixture
def learned(monkeypatch, short_items):
    """What models were told to learn, in place of learning it."""
    calls = []

    def learn(model, windows, negatives, sizes, **settings):
        calls.append((windows, negatives, sizes, settings))

    for kind in (SkipGram, CBOW):
        monkeypatch.setattr(kind, "learn", learn)
    return calls


# ----------------------------------------------------------------------------------------------------------------
# A pass over the text
# ----------------------------------------------------------------------------------------------------------------


def test_a_pass_brings_each_word_once_as_a_centre_in_its_order_with_the_words_around_it(learned):
    ids = text_of()
    list(trainer_of(SkipGram, ids, epochs=1, sample=math.inf))
    windows = torch.cat([call[0].flatten(0, 1) for call in learned])
    centres = windows[:, 2:-2].flatten()
    assert torch.equal(centres[: len(ids)], ids)
    assert (centres[len(ids) :] == 12).all()
    assert len(centres) - len(ids) < 32
    around = torch.cat([torch.tensor([12, 12]), ids, torch.full((len(windows) * 32 + 2 - len(ids),), 12)])
    assert torch.equal(windows, around.unfold(0, 36, 32))


def test_cbow_sees_the_same_tiles_in_an_order_that_each_pass_draws_anew(learned):
    ids = text_of()
    list(trainer_of(CBOW, ids, epochs=2, sample=math.inf))
    tiles = torch.cat([call[0].flatten(0, 1) for call in learned]).unflatten(0, (2, -1))
    assert not torch.equal(tiles[0], tiles[1])
    ordered = [sorted(row.tolist() for row in one) for one in tiles]
    assert ordered[0] == ordered[1]
    assert sorted(torch.cat([*tiles[0][:, 2:-2]]).tolist())[: len(ids)] == sorted(ids.tolist())


def test_of_each_word_the_share_is_kept_that_the_formula_says(learned, seed):
    ids = text_of(60_000, seed=seed)
    list(WordTrainer(model_of(SkipGram), ids, generator=stream(seed, "draws"), epochs=1, sample=0.01))
    centres = torch.cat([call[0][:, :, 2:-2].flatten() for call in learned])
    for word, count in enumerate(ids.bincount().tolist()):
        kept = (centres == word).sum().item()
        ratio = 0.01 / (count / len(ids))
        probability = min(1, math.sqrt(ratio) + ratio)
        law = binom(count, probability)
        assert min(law.cdf(kept), law.sf(kept - 1)) > 1e-6, word


@BOTH
def test_negatives_come_by_the_count_to_the_power_of_three_quarters(learned, kind, seed):
    ids = text_of(20_000, seed=seed)
    list(WordTrainer(model_of(kind), ids, generator=stream(seed, "draws"), epochs=2))
    drawn = torch.cat([call[1].flatten() for call in learned]).bincount(minlength=12)
    expected = ids.bincount(minlength=12).double() ** 0.75
    assert chisquare(drawn, expected / expected.sum() * drawn.sum()).pvalue > 1e-5


def test_windows_of_cbow_have_all_sizes_alike(learned, seed):
    list(WordTrainer(model_of(CBOW, window=5), text_of(seed=seed), generator=stream(seed, "draws"), epochs=2))
    sizes = torch.cat([call[2].flatten() for call in learned]).bincount()
    assert sizes[0] == 0
    assert len(sizes) == 6
    assert chisquare(sizes[1:]).pvalue > 1e-5


def test_the_rate_falls_in_a_straight_line_over_all_passes(learned):
    steps = list(trainer_of(SkipGram, epochs=3, sample=math.inf, lr=0.03, last_lr=0.01))
    rates = [call[3]["lr"] for call in learned]
    assert rates == [step.lr for step in steps]
    assert len(rates) == 24
    # 4,000 words are 125 tiles: 7 items of 16 of them, and one of 13.
    expected = [0.03 - 0.02 * (number + min(item * 16, 125) / 125) / 3 for number in range(3) for item in range(8)]
    assert rates == pytest.approx(expected)
    assert [step.number for step in steps] == list(range(1, 25))
    assert steps[-1].words == 3 * 4_000
    assert steps[7].words == 4_000
    assert steps[0].words == round(4_000 * 16 / 125)


def test_a_model_has_its_own_numbers_which_a_user_may_change(learned):
    list(trainer_of(CBOW, epochs=1))
    assert learned[-1][0].shape[1:] == (8, 16 + 4)
    assert learned[-1][1].shape[1:] == (1, 32)
    assert learned[-1][3]["cap"] == 8
    list(trainer_of(SkipGram, epochs=1, centres=10, tiles=3, shared=7, cap=2.5))
    assert learned[-1][0].shape[1:] == (3, 10 + 4)
    assert learned[-1][1].shape[1:] == (3, 7)
    assert learned[-1][3]["cap"] == 2.5


# ----------------------------------------------------------------------------------------------------------------
# What is learned
# ----------------------------------------------------------------------------------------------------------------


@BOTH
def test_words_of_a_class_come_to_lie_together_unless_the_text_is_shuffled(kind, device):
    text = data.class_chain(20_000, classes=4, words=8, generator=stream(0, "text"))
    classes = text.attributes[:, 0]

    def purity(ids):
        model = model_of(kind, text.words, 16).to(device)
        train_word_vectors(model, ids.to(device), generator=stream(0, "draws"), epochs=10, sample=0.1, progress=False)
        words = torch.arange(text.words)
        vectors = model.vectors.cpu()
        found = nearest(vectors, vectors, 3, exclude=words[:, None]).ids
        return (classes[found] == classes[:, None]).double().mean().item()

    shuffled = text.ids[torch.randperm(len(text.ids), generator=stream(0, "shuffle"))]
    assert purity(text.ids) > 0.75
    assert purity(shuffled) < 0.45


def test_the_loss_that_is_told_is_that_of_the_newest_tiles(short_items):
    trainer = trainer_of(SkipGram, epochs=1, sample=math.inf)
    step = next(trainer)
    draws = stream(trainer._seed, "step 0 of pass 0")
    negatives = torch.multinomial(trainer._noise, 16 * 32, replacement=True, generator=draws).view(16, 1, 32)
    assert step.loss == trainer.model(trainer._windows[15:16], negatives[15]).item()


# ----------------------------------------------------------------------------------------------------------------
# Going on, and breaking off
# ----------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("done", [0, 3, 8, 11])
def test_a_run_goes_on_from_its_checkpoint_to_the_same_bits(kind, done, tmp_path, monkeypatch, short_items):
    whole, again = model_of(kind), model_of(kind)
    settings = {"epochs": 2, "sample": math.inf, "progress": False, "save_every": 1}
    losses = train_word_vectors(whole, text_of(), generator=stream(0, "draws"), **settings)
    settings["checkpoint"] = tmp_path / "run.pt"
    with killed_after(done, monkeypatch, WordTrainer):
        train_word_vectors(again, text_of(), generator=stream(0, "draws"), **settings)
    model = model_of(kind)
    rest = train_word_vectors(model, text_of(), generator=stream(0, "draws"), **settings)
    assert torch.equal(model.weight, whole.weight)
    assert rest == losses[done:]
    assert train_word_vectors(model_of(kind), text_of(), generator=stream(0, "draws"), **settings) == []


def test_a_checkpoint_of_another_run_is_refused_and_a_damaged_one_too(tmp_path, short_items):
    path = tmp_path / "run.pt"
    settings = {"checkpoint": path, "generator": stream(0, "draws"), "progress": False}
    train_word_vectors(model_of(SkipGram), text_of(), epochs=1, **settings)
    with pytest.raises(ValueError, match="epochs was 1 and is 2"):
        train_word_vectors(model_of(SkipGram), text_of(), epochs=2, **settings)
    with pytest.raises(ValueError, match=r"model was SkipGram\(.*\) and is CBOW\("):
        train_word_vectors(model_of(CBOW), text_of(), epochs=1, **settings)
    with pytest.raises(ValueError, match="is of another run; name another file, or remove it: text was"):
        train_word_vectors(model_of(SkipGram), text_of(seed=1), epochs=1, **settings)
    with pytest.raises(ValueError, match="no state of a WordTrainer: it lacks loss, model"):
        trainer_of(SkipGram).load_state_dict({})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        train_word_vectors(model_of(SkipGram), text_of(), epochs=1, **settings)


def test_ctrl_c_waits_for_the_end_of_an_item(monkeypatch, short_items):
    trainer, undisturbed = (trainer_of(SkipGram, epochs=1) for _ in range(2))
    learn = SkipGram.learn

    def pressed(*inputs, **settings):
        signal.raise_signal(signal.SIGINT)
        learn(*inputs, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(SkipGram, "learn", pressed)
        with pytest.raises(KeyboardInterrupt):
            next(trainer)
    next(undisturbed)
    assert trainer.steps == 1
    assert torch.equal(trainer.model.weight, undisturbed.model.weight)
    assert [step.loss for step in trainer] == [step.loss for step in undisturbed]


def test_vectors_that_run_away_are_said_to():
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) at step"):
        list(trainer_of(SkipGram, epochs=20, lr=1e30, last_lr=1e30, cap=math.inf))


@BOTH
def test_where_no_cap_holds_repeated_words_run_away_and_a_cap_holds_them(kind):
    ids = torch.tensor([0, 1, 2, 3]).repeat(2_000)

    def longest(cap):
        trainer = WordTrainer(
            model_of(kind), ids, generator=stream(0, "draws"), epochs=3, lr=0.05, tiles=16, sample=math.inf, cap=cap
        )
        list(trainer)
        return trainer.model.vectors.norm(dim=1).max().item()

    assert longest(4.0) < 5
    with pytest.raises(DivergedError):
        longest(math.inf)


# ----------------------------------------------------------------------------------------------------------------
# What is refused, and what is shown
# ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (torch.empty(0, dtype=torch.int64), ValueError, r"the text must be \[words\], two or more of them, not \[0\]"),
        (torch.zeros(3, 2, dtype=torch.int64), ValueError, r"two or more of them, not \[3, 2\]"),
        (torch.tensor([0, 12, 1]), ValueError, "ids must be from 0 to 11, the model's words, and there is a 12"),
        (torch.tensor([0, -1, 1]), ValueError, "and there is a -1"),
        (torch.tensor([0.0, 1.0]), TypeError, r"ids must be int64, the numbers of words, not torch\.float32"),
        (["the", "cat"], TypeError, "ids must be a tensor, not list"),
    ],
)
def test_a_text_that_cannot_be_learned_from_is_refused(ids, error, message):
    with pytest.raises(error, match=message):
        trainer_of(SkipGram, ids)


@pytest.mark.parametrize("name", ["lr", "last_lr", "sample", "cap"])
def test_numbers_that_have_to_be_positive_are(name):
    with pytest.raises(ValueError, match=f"{name} must be positive, not 0"):
        trainer_of(SkipGram, **{name: 0})
    with pytest.raises(ValueError, match="epochs must be an int of 1 or more, not 0"):
        trainer_of(SkipGram, epochs=0)


def test_a_text_of_which_nothing_is_kept_is_refused():
    with pytest.raises(ValueError, match=r"no word of the text was kept: a sample of 1e-20 is too small"):
        trainer_of(SkipGram, torch.tensor([0, 1, 0, 1]), sample=1e-20)


def test_a_bar_tells_words_a_second_on_a_terminal_and_nothing_elsewhere(monkeypatch, short_items):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    class Bar(word_training.tqdm):
        def __init__(self, *inputs, **settings):
            super().__init__(*inputs, **settings | {"delay": 0, "mininterval": 0})

    monkeypatch.setattr(word_training, "tqdm", Bar)
    shown = {}
    for place, progress in ((Terminal(), True), (Terminal(), False), (io.StringIO(), True)):
        monkeypatch.setattr(sys, "stderr", place)
        train_word_vectors(model_of(SkipGram), text_of(), generator=stream(0, "draws"), epochs=2, progress=progress)
        shown[place.isatty(), progress] = place.getvalue()
    assert "8.00k/8.00k" in shown[True, True]
    assert "words/s" in shown[True, True]
    assert shown[True, False] == shown[False, True] == ""
