"""Skip-gram and CBOW: their losses against sums over pairs, their steps by hand against gradients, caps and edges."""

import pytest
import torch
from torch.nn.functional import logsigmoid

from dlnotes.randomness import stream
from dlnotes.text import CBOW, SkipGram

DOUBLE = torch.float64
WORDS, DIM, WINDOW, CENTRES, TILES, SHARED = 20, 6, 3, 8, 3, 7


def started(kind, seed, **settings):
    """A model whose vectors are not small, so that a mistake in any of them shows."""
    model = kind(WORDS, DIM, window=WINDOW, negatives=5, generator=stream(seed, "weights"), dtype=DOUBLE, **settings)
    drawn = torch.randn(model.weight.shape, generator=stream(seed, "start"), dtype=DOUBLE)
    drawn[[model.outside, -1]] = 0
    model.weight.data.copy_(drawn / 2)
    return model


def tiles_of(kind, seed, steps):
    """Tiles of one text that begins and ends within its first and last tile, words in it many times."""
    draws = stream(seed, "text")
    text = torch.randint(WORDS, (steps * TILES * CENTRES + 2 * WINDOW,), generator=draws)
    text[: WINDOW + 1], text[-WINDOW - 3 :] = WORDS, WORDS
    windows = text.unfold(0, CENTRES + 2 * WINDOW, CENTRES).reshape(steps, TILES, -1)
    negatives = torch.randint(WORDS, (steps, kind.sets or TILES, SHARED), generator=draws)
    sizes = torch.randint(1, WINDOW + 1, (steps, TILES, CENTRES), generator=draws)
    return windows, negatives, sizes


def skip_gram_by_pairs(model, windows, negatives, sizes):
    """The sum of the losses of all centres, a pair at a time."""
    total = torch.zeros((), dtype=DOUBLE)
    for tile, drawn in zip(windows.tolist(), negatives.tolist(), strict=True):
        for place in range(WINDOW, len(tile) - WINDOW):
            if tile[place] == model.outside:
                continue
            centre = model.weight[tile[place]]
            for step in (*range(-WINDOW, 0), *range(1, WINDOW + 1)):
                if (word := tile[place + step]) != model.outside:
                    reached = (WINDOW + 1 - abs(step)) / WINDOW
                    total = total - reached * logsigmoid(centre @ model.weight[WORDS + 1 + word])
            for word in drawn:
                total = total - 5 * (WINDOW + 1) / SHARED * logsigmoid(-centre @ model.weight[WORDS + 1 + word])
    return total


def cbow_by_pairs(model, windows, negatives, sizes):
    """As above; and the change that each place of a window gets, which is not the chain rule's."""
    total, changes = torch.zeros((), dtype=DOUBLE), torch.zeros_like(model.weight)
    for tile, reaches in zip(windows.tolist(), sizes.tolist(), strict=True):
        for place, reach in zip(range(WINDOW, len(tile) - WINDOW), reaches, strict=True):
            near = [*tile[place - reach : place], *tile[place + 1 : place + reach + 1]]
            near = [word for word in near if word != model.outside]
            if tile[place] == model.outside:
                continue
            mean = sum((model.weight[word] for word in near), torch.zeros(DIM, dtype=DOUBLE)) / max(1, len(near))
            loss = -logsigmoid(mean @ model.weight[WORDS + 1 + tile[place]])
            for word in negatives[0].tolist():
                loss = loss - 5 / SHARED * logsigmoid(-mean @ model.weight[WORDS + 1 + word])
            if near:
                (whole,) = torch.autograd.grad(loss, mean, retain_graph=True)
                for word in near:
                    changes[word] += whole
            total = total + loss
    return total, changes


@pytest.mark.parametrize("kind", [SkipGram, CBOW])
def test_the_loss_is_the_mean_of_the_sum_over_all_pairs(kind, seed):
    model, (windows, negatives, sizes) = started(kind, seed), tiles_of(kind, seed, 1)
    by_pairs = skip_gram_by_pairs if kind is SkipGram else lambda *all: cbow_by_pairs(*all)[0]
    expected = by_pairs(model, windows[0], negatives[0], sizes[0])
    inside = (windows[0, :, WINDOW:-WINDOW] != model.outside).sum()
    torch.testing.assert_close(model(windows[0], negatives[0], sizes[0]) * inside, expected, rtol=1e-12, atol=0)


def test_steps_of_skip_gram_by_hand_are_steps_along_the_gradient(seed, device):
    model, twin = started(SkipGram, seed).to(device), started(SkipGram, seed).to(device)
    windows, negatives, _ = (part.to(device) for part in tiles_of(SkipGram, seed, 12))
    model.learn(windows, negatives, lr=0.05)
    for step in range(12):
        inside = (windows[step, :, WINDOW:-WINDOW] != twin.outside).sum()
        (gradient,) = torch.autograd.grad(twin(windows[step], negatives[step]) * inside, twin.weight)
        gradient[[twin.outside, -1]] = 0
        twin.weight.data.sub_(0.05 * gradient)
    torch.testing.assert_close(model.weight, twin.weight, rtol=1e-10, atol=1e-12)


def test_steps_of_cbow_give_each_word_near_by_the_whole_gradient_of_the_mean(seed, device):
    model, twin = started(CBOW, seed).to(device), started(CBOW, seed)
    windows, negatives, sizes = tiles_of(CBOW, seed, 12)
    model.learn(*(part.to(device) for part in (windows, negatives, sizes)), lr=0.05)
    for step in range(12):
        loss, near = cbow_by_pairs(twin, windows[step], negatives[step], sizes[step])
        (gradient,) = torch.autograd.grad(loss, twin.weight)
        gradient[: WORDS + 1] = near[: WORDS + 1]
        twin.weight.data.sub_(0.05 * gradient)
    torch.testing.assert_close(model.weight.cpu(), twin.weight, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [SkipGram, CBOW])
def test_a_cap_shortens_the_change_of_a_row_by_how_often_it_is_in_the_step(kind, seed):
    windows, negatives, sizes = tiles_of(kind, seed, 1)
    capped, free = started(kind, seed), started(kind, seed)
    before = free.weight.detach().clone()
    capped.learn(windows, negatives, sizes, lr=0.05, cap=3.0)
    free.learn(windows, negatives, sizes, lr=0.05)
    middle = windows[0, :, WINDOW:-WINDOW].flatten()
    upper, lower = (middle, windows) if kind is SkipGram else (windows, middle)
    below = torch.cat([lower.flatten(), negatives.flatten()]) + WORDS + 1
    times = torch.cat([upper.flatten(), below]).bincount(minlength=len(before))
    assert times.max() > 3 >= times[times > 0].min()
    shortened = (free.weight.detach() - before) * (3 / times.double().clamp(min=1)).clamp(max=1)[:, None]
    torch.testing.assert_close(capped.weight.detach() - before, shortened, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", [SkipGram, CBOW])
def test_what_is_outside_of_the_text_neither_learns_nor_teaches(kind, seed):
    model, (windows, negatives, sizes) = started(kind, seed), tiles_of(kind, seed, 1)
    before = model.weight.detach().clone()
    model.learn(torch.full_like(windows, model.outside), negatives, sizes, lr=1.0)
    assert torch.equal(model.weight, before)
    model.learn(windows, negatives, sizes, lr=1.0)
    assert not model.weight[[model.outside, -1]].any()


@pytest.mark.parametrize("kind", [SkipGram, CBOW])
def test_vectors_of_centres_begin_even_and_small_those_of_contexts_with_zero(kind):
    model = kind(5_000, 8, generator=stream(0, "weights"))
    assert -1 / 16 <= model.vectors.min() < -0.062 < 0.062 < model.vectors.max() <= 1 / 16
    assert model.vectors.shape == model.contexts.shape == (5_000, 8)
    assert not model.contexts.any()
    assert not model.weight[[model.outside, -1]].any()
    model.vectors.zero_()
    model.reset_parameters(stream(0, "weights"))
    assert torch.equal(model.weight, kind(5_000, 8, generator=stream(0, "weights")).weight)


def test_windows_of_all_sizes_have_on_average_the_weight_that_skip_gram_gives_a_distance():
    weights, seen = SkipGram(9, 2, window=5, generator=stream(0, "weights"), dtype=DOUBLE)._pairs(1, 2)
    by_size = [[float(distance <= size) for distance in range(1, 6)] for size in range(1, 6)]
    shares = torch.tensor(by_size, dtype=DOUBLE).mean(0)
    torch.testing.assert_close(weights[0, :11], torch.cat([shares.flip(0), torch.zeros(1, dtype=DOUBLE), shares]))
    assert seen[0].tolist() == [*[True] * 5, False, *[True] * 5, False, False]
    assert weights[0, 11:].sum() == 5 * weights[0, :11].sum()  # five negatives to each pair


def test_what_no_model_can_be_made_of_is_refused():
    draws = stream(0, "weights")
    with pytest.raises(ValueError, match="a vocabulary of one word has nothing to tell apart"):
        SkipGram(1, 4, generator=draws)
    for wrong in ({"words": 0}, {"dim": 0}, {"window": 0}, {"negatives": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be an int of 1 or more, not 0"):
            CBOW(**{"words": 5, "dim": 4, "generator": draws} | wrong)


@pytest.mark.parametrize("kind", [SkipGram, CBOW])
def test_tiles_of_another_shape_are_refused(kind):
    model = kind(5, 4, window=2, generator=stream(0, "weights"))
    drawn = torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"windows must be \[tiles, centres \+ 4\]"):
        model(torch.zeros(1, 4, dtype=torch.int64), drawn)
    with pytest.raises(TypeError, match=r"windows must be int64, the numbers of words, not torch\.float32"):
        model(torch.zeros(1, 9), drawn)
    with pytest.raises(TypeError, match="negatives must be a tensor, not list"):
        model(torch.zeros(1, 9, dtype=torch.int64), [[1]])
