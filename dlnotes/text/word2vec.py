"""Word vectors from the company that words keep: skip-gram and CBOW with negative sampling, and their training.

Each word has two vectors: one for when it stands in the middle of a window, as its *centre*, and one for when it is a
*context*, a word beside it. Both are moved so that the dot product of a centre and a context is large where they were
seen together, and small where the context is a word drawn at random, a *negative*. A user keeps the first kind.

The two models here are written twice. `SkipGram.forward` and `CBOW.forward` say what is learned, with PyTorch's own
gradients. Their `learn` makes the same steps by hand, in a handful of operators each: words come in *tiles*, stretches
of consecutive centres that share their contexts and their negatives, so that the pairs of a tile are one product of two
small matrices.
"""

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import embedding, logsigmoid

from dlnotes.arguments import check_counts, check_tensor

__all__ = ["CBOW", "SkipGram"]


class Word2Vec(nn.Module):
    """What skip-gram and CBOW have in common: two vectors a word, and the windows of a text.

    Shape:
        weight (2 (V + 1), D): the vectors of centres and, below them, those of contexts. The last row of each half
        belongs to `outside`, the places before a text and behind it, and stays zero.
    """

    centres: int  # of a tile, where a trainer is not told otherwise
    tiles: int  # of a step
    cap: float  # how many gradients of one word a step may add up to
    sets: int | None  # of negatives in a step; None is one for each tile
    shuffled: bool  # whether tiles come in a random order

    def __init__(
        self,
        words: int,
        dim: int = 128,
        *,
        window: int = 5,
        negatives: int = 5,
        generator: Generator,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(words=words, dim=dim, window=window, negatives=negatives)
        if words < 2:
            raise ValueError("a vocabulary of one word has nothing to tell apart: words must be 2 or more")
        self.words, self.dim, self.window, self.negatives = words, dim, window, negatives
        weight = torch.empty(2 * (words + 1), dim, dtype=dtype, device=torch.get_default_device())
        self.weight = nn.Parameter(weight)
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: Generator) -> None:
        """Draw the vectors of centres anew, even from -1/2D to 1/2D; those of contexts begin with zero."""
        shape, weight = (self.words, self.dim), self.weight
        even = torch.rand(shape, generator=generator, dtype=weight.dtype, device=generator.device)
        weight.zero_()[: self.words].copy_(even.sub_(0.5).div_(self.dim))

    @property
    def outside(self) -> int:
        """The number that stands for the places before a text and behind it."""
        return self.words

    @property
    def vectors(self) -> Tensor:
        """The vector of each word, (V, D): what a user keeps."""
        return self.weight.detach()[: self.words]

    @property
    def contexts(self) -> Tensor:
        """The vector of each word as a context, (V, D)."""
        return self.weight.detach()[self.words + 1 : -1]

    def extra_repr(self) -> str:
        """The sizes."""
        return f"words={self.words}, dim={self.dim}, window={self.window}, negatives={self.negatives}"

    @abstractmethod
    def forward(self, windows: Tensor, negatives: Tensor, sizes: Tensor | None = None) -> Tensor:
        """The loss of tiles."""

    @abstractmethod
    def learn(
        self, windows: Tensor, negatives: Tensor, sizes: Tensor | None = None, *, lr: float, cap: float = math.inf
    ) -> None:
        """Make a step of gradient descent for each entry of the first dimension."""

    def _distances(self, centres: int) -> Tensor:
        """How far each place of a tile's windows is from each centre, (centres, centres + 2 window)."""
        device = self.weight.device
        places = torch.arange(centres + 2 * self.window, device=device) - self.window
        return (places - torch.arange(centres, device=device)[:, None]).abs()

    def _rows_outside(self, windows: Tensor) -> Tensor | None:
        """The two rows that have to stay zero, if any of these windows looks out of the text."""
        if not (windows == self.outside).any():
            return None
        return torch.tensor([self.words, 2 * self.words + 1], device=windows.device)

    def _check(self, windows: Tensor, negatives: Tensor) -> None:
        for name, ids in (("windows", windows), ("negatives", negatives)):
            check_tensor(name, ids)
            if ids.dtype != torch.int64:
                raise TypeError(f"{name} must be int64, the numbers of words, not {ids.dtype}")
        if windows.ndim != 2 or windows.shape[1] <= 2 * self.window or negatives.ndim != 2:
            raise ValueError(
                f"windows must be [tiles, centres + {2 * self.window}] and negatives two-dimensional, "
                f"not {list(windows.shape)} and {list(negatives.shape)}"
            )


class SkipGram(Word2Vec):
    r"""Skip-gram with negative sampling: from the word in the middle, which words are near?

    For a centre with vector c, each context z at distance d up to the window R, and negatives n drawn from the noise:

        loss = - Σ_z (R + 1 - d) / R · log σ(c · z) - k (R + 1) / K · Σ_n log σ(-c · n)

    The weight (R + 1 - d) / R is the share of windows that reach that far when their size is drawn evenly from 1 to R:
    all windows count at once, in proportion. They have R + 1 pairs on average, each with k negatives. The K negatives
    of a tile are drawn once, for all of its centres, and each stands for k (R + 1) / K of them.

    Args:
        words: V, words of the vocabulary.
        dim: D, numbers of a vector.
        window: R, how far a context may be from its centre.
        negatives: k, random words to each pair.
        generator: where the first vectors are drawn from.
        dtype: of the vectors; PyTorch's default where not given.

    Shape:
        windows (T, M + 2R), int64: T stretches of M centres, with the R words before and behind; negatives (T, K).
        Returns the mean loss of a centre, in nats.

    Raises:
        ValueError: sizes below 1, or a vocabulary of one word; when called, tiles of another shape.
        TypeError: when called, ids that are no int64 tensor.

    Example:
        >>> model = SkipGram(6, 4, window=1, generator=torch.Generator().manual_seed(0))
        >>> windows, negatives = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[4, 5]])
        >>> round(model(windows, negatives).item(), 3)      # (2 + 10) log 2: contexts begin with zero
        8.318

    Source: Tomas Mikolov, Ilya Sutskever, Kai Chen, Greg Corrado and Jeffrey Dean, "Distributed representations of
    words and phrases and their compositionality", 2013.
    """

    centres, tiles, cap, sets, shuffled = 32, 1, 4.0, None, False

    def forward(self, windows: Tensor, negatives: Tensor, sizes: Tensor | None = None) -> Tensor:
        """The mean loss of a centre. ``sizes`` are of no account: all windows are weighted as if they were drawn."""
        self._check(windows, negatives)
        inside, reach = windows != self.outside, self.window
        rows = embedding(self._rows(windows, negatives), self.weight)
        centres, targets = rows.split([windows.shape[1] - 2 * reach, windows.shape[1] + negatives.shape[1]], 1)
        scores = centres @ targets.transpose(1, 2)
        weights, labels = self._pairs(centres.shape[1], negatives.shape[1])
        counted = inside[:, reach:-reach, None] & torch.cat([inside, torch.ones_like(negatives).bool()], 1)[:, None]
        losses = torch.where(labels, -logsigmoid(scores), -logsigmoid(-scores)) * weights * counted
        return losses.sum() / inside[:, reach:-reach].sum().clamp(min=1)

    def _rows(self, windows: Tensor, negatives: Tensor) -> Tensor:
        """The rows of `weight` that a tile needs: of its M centres, its M + 2R contexts, its K negatives."""
        below = self.words + 1
        return torch.cat([windows[..., self.window : -self.window], windows + below, negatives + below], -1)

    def _pairs(self, centres: int, shared: int) -> tuple[Tensor, Tensor]:
        """The weight of each pair of a tile, and whether it was seen, (M, M + 2R + K)."""
        distances, reach = self._distances(centres), self.window
        seen = (distances > 0) & (distances <= reach)
        near = (reach + 1 - distances.to(self.weight.dtype)) / reach * seen
        far = near.new_full((centres, shared), self.negatives * (reach + 1) / shared)
        return torch.cat([near, far], 1), torch.cat([seen, torch.zeros_like(far).bool()], 1)

    @torch.no_grad()
    def learn(
        self, windows: Tensor, negatives: Tensor, sizes: Tensor | None = None, *, lr: float, cap: float = math.inf
    ) -> None:
        """Make S steps of gradient descent on the sum of the losses of a step's centres, by hand.

        A word that occurs often in a step gets the sum of as many gradients, all from its vector before the step: such
        a step can be so long that it diverges. Where a row of `weight` occurs n times in a step, its change is
        therefore multiplied by min(1, cap / n).

        Args:
            windows: (S, T, M + 2R), T tiles for each step.
            negatives: (S, T, K).
            sizes: of no account.
            lr: the learning rate.
            cap: how many gradients of one row a step may add up to; infinity for plain gradient descent.
        """
        steps, tiles, length = windows.shape
        centres, shared = length - 2 * self.window, negatives.shape[2]
        rows = self._rows(windows, negatives)
        weights, labels = self._pairs(centres, shared)
        bias, slope = lr * weights * labels, -lr * weights  # of the change of a score: lr · weight · (label - σ)
        weight, outside = self.weight.detach(), self._rows_outside(windows)
        gathered = weight.new_empty(tiles, rows.shape[2], self.dim)
        changes = torch.empty_like(gathered)
        flat_gathered, flat_changes = gathered.view(-1, self.dim), changes.view(-1, self.dim)
        (from_, to), (from_change, to_change) = (part.tensor_split([centres], 1) for part in (gathered, changes))
        scores = weight.new_empty(tiles, centres, length + shared)
        to_t, scores_t = to.transpose(1, 2), scores.transpose(1, 2)
        for row, scale in zip(rows.view(steps, -1), _scales(rows.view(steps, -1), cap, weight.dtype), strict=True):
            torch.index_select(weight, 0, row, out=flat_gathered)
            torch.bmm(from_, to_t, out=scores).sigmoid_()
            torch.addcmul(bias, slope, scores, out=scores)
            torch.bmm(scores, to, out=from_change)
            torch.bmm(scores_t, from_, out=to_change)
            weight.index_add_(0, row, flat_changes.mul_(scale) if scale is not None else flat_changes)
            if outside is not None:
                weight[outside] = 0


class CBOW(Word2Vec):
    r"""Continuous bag of words with negative sampling: from the words near by, which word is in the middle?

    For the mean h of the vectors of n words in a window, the word w in the middle, and negatives from the noise:

        loss = - log σ(w · h) - k / K · Σ_n log σ(-n · h)

    The size of each window is drawn evenly from 1 to R. The K negatives of a step are drawn once, for all of its
    centres, and each stands for k / K of them. Here the vectors that a user keeps are those of the words near by.

    `learn` gives each of the n words the whole gradient with respect to h, where the chain rule says an n-th part of
    it. So does the word2vec program, and so do those that follow it: it is as if words in wide windows had a larger
    learning rate.

    Args:
        words: V, words of the vocabulary.
        dim: D, numbers of a vector.
        window: R, how many words on each side at most.
        negatives: k, random words to each centre.
        generator: where the first vectors are drawn from.
        dtype: of the vectors; PyTorch's default where not given.

    Shape:
        windows (T, M + 2R), int64: T stretches of M centres, with the R words before and behind; negatives (1, K);
        sizes (T, M), int64: how far each window reaches, R where not given. Returns the mean loss of a centre, in nats.

    Raises:
        ValueError: sizes below 1, or a vocabulary of one word; when called, tiles of another shape.
        TypeError: when called, ids that are no int64 tensor.

    Example:
        >>> model = CBOW(6, 4, window=1, generator=torch.Generator().manual_seed(0))
        >>> windows, negatives = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[4, 5]])
        >>> round(model(windows, negatives).item(), 3)      # (1 + 5) log 2: the words in the middle begin with zero
        4.159

    Source: Tomas Mikolov, Kai Chen, Greg Corrado and Jeffrey Dean, "Efficient estimation of word representations in
    vector space", 2013; on the gradient: Ozan İrsoy, Adrian Benton and Karl Stratos, "Corrected CBOW performs as well
    as Skip-gram", 2021.
    """

    centres, tiles, cap, sets, shuffled = 16, 8, 8.0, 1, True

    def forward(self, windows: Tensor, negatives: Tensor, sizes: Tensor | None = None) -> Tensor:
        """The mean loss of a centre."""
        self._check(windows, negatives)
        centres = windows[:, self.window : -self.window]
        inside = centres != self.outside
        means = _means(self._bands(windows, sizes, windows != self.outside)) @ embedding(windows, self.weight)
        below = self.words + 1
        right = (embedding(centres + below, self.weight) * means).sum(2)
        wrong = means @ embedding(negatives + below, self.weight).transpose(1, 2)
        losses = logsigmoid(right) + logsigmoid(-wrong).sum(2) * (self.negatives / negatives.shape[1])
        return -(losses * inside).sum() / inside.sum().clamp(min=1)

    def _bands(self, windows: Tensor, sizes: Tensor | None, inside: Tensor | None) -> Tensor:
        """Which places of a tile each of its centres sees, (…, M, M + 2R), 1 or 0; none that is outside of the text."""
        centres = torch.arange(windows.shape[-1] - 2 * self.window, device=windows.device)
        distances = self._distances(len(centres))
        reach = torch.arange(1, self.window + 1, device=windows.device)[:, None, None]
        # A table by size, looked up: the windows of all steps are several million numbers.
        by_size = ((distances > 0) & (distances <= reach)).to(self.weight.dtype)
        bands = by_size[self.window - 1 if sizes is None else sizes - 1, centres]
        if inside is None:
            return bands
        return bands * inside[..., None, :] * inside[..., self.window : -self.window, None]

    @torch.no_grad()
    def learn(
        self, windows: Tensor, negatives: Tensor, sizes: Tensor | None = None, *, lr: float, cap: float = math.inf
    ) -> None:
        """As `SkipGram.learn`, but for ``negatives``, (S, 1, K), which all tiles share, and ``sizes``, (S, T, M)."""
        steps, tiles, length = windows.shape
        centres, shared, below = length - 2 * self.window, negatives.shape[2], self.words + 1
        middle = windows[:, :, self.window : -self.window] + below
        rows = torch.cat([part.reshape(steps, -1) for part in (windows, middle, negatives + below)], 1)
        weight, outside = self.weight.detach(), self._rows_outside(windows)
        all_bands = self._bands(windows, sizes, None if outside is None else windows != self.outside)
        all_bands = all_bands.expand(steps, tiles, centres, length)
        all_means, all_bands = _means(all_bands), all_bands.transpose(2, 3) * lr
        parts = [tiles * length, tiles * centres, shared]
        gathered = weight.new_empty(sum(parts), self.dim)
        changes = torch.empty_like(gathered)
        near, right, wrong = gathered.split(parts)
        near_change, right_change, wrong_change = changes.split(parts)
        near, near_change = near.view(tiles, length, -1), near_change.view(tiles, length, -1)
        mean, mean_change = (weight.new_empty(tiles, centres, self.dim) for _ in range(2))
        flat_mean, flat_change = mean.view(-1, self.dim), mean_change.view(-1, self.dim)
        products, scores = torch.empty_like(right), weight.new_empty(tiles * centres, shared)
        wrong_t, scores_t = wrong.t(), scores.t()
        stands_for = self.negatives / shared  # so many negatives of a centre are one that is shared
        rate, wrong_rate = weight.new_tensor(lr), weight.new_tensor(-lr * stands_for)
        for row, scale, band, share in zip(rows, _scales(rows, cap, weight.dtype), all_bands, all_means, strict=True):
            torch.index_select(weight, 0, row, out=gathered)
            torch.bmm(share, near, out=mean)
            seen = torch.mul(flat_mean, right, out=products).sum(1, keepdim=True).neg_().sigmoid_()
            torch.mm(flat_mean, wrong_t, out=scores).sigmoid_()
            torch.mul(seen, right, out=flat_change).addmm_(scores, wrong, alpha=-stands_for)
            torch.mul(seen.mul_(rate), flat_mean, out=right_change)
            torch.mm(scores_t, flat_mean, out=wrong_change).mul_(wrong_rate)
            torch.bmm(band, mean_change, out=near_change)
            weight.index_add_(0, row, changes.mul_(scale) if scale is not None else changes)
            if outside is not None:
                weight[outside] = 0


def _means(bands: Tensor) -> Tensor:
    """What makes a mean of those that a band sees, in place of their sum; where it sees none, 0."""
    return bands / bands.sum(-1, keepdim=True).clamp_(min=1)


def _scales(rows: Tensor, cap: float, dtype: torch.dtype) -> Iterator[Tensor | None]:
    """What to multiply the change of each row with, (rows of a step, 1): min(1, cap / how often it is in the step)."""
    if math.isinf(cap):
        return itertools.repeat(None, len(rows))
    # NumPy sorts whole numbers several times as fast. Each is sorted together with its place, to find the way back.
    numbers = rows.cpu().numpy()
    keys = np.sort(numbers << 20 | np.arange(numbers.shape[1]), 1)
    ids = (keys >> 20) + np.arange(len(keys))[:, None] * (int(numbers.max()) + 1)
    begins = np.flatnonzero(np.diff(ids.ravel(), prepend=-1))
    counts = np.diff(begins, append=ids.size)
    scales = np.empty(numbers.shape, np.float64)
    np.put_along_axis(scales, keys & (2**20 - 1), np.minimum(1, cap / counts).repeat(counts).reshape(keys.shape), 1)
    return iter(torch.from_numpy(scales)[:, :, None].to(rows.device, dtype))
