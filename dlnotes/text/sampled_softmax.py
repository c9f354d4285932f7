"""Softmax over a large vocabulary, from the target and a few symbols drawn at random.

The cross-entropy of a symbol t among V needs the scores of all V, for the sum in its denominator:

    loss = log Σₖ exp(sₖ) - sₜ

Sampled softmax estimates that sum from a sample S of K symbols. A symbol k that comes into the sample with the
probability qₖ stands for 1 / qₖ symbols:

    loss = log (exp(sₜ) + Σ exp(sₖ - log qₖ)) - sₜ          the sum over k in S, k ≠ t

A step then costs as much as K symbols do, however many there are.
"""

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from dlnotes.arguments import check_counts, check_tensor
from dlnotes.text.embeddings import check_ids, embed

__all__ = ["LogUniformSampler", "SampledSoftmaxLoss", "Sampler", "Samples", "UnigramSampler"]

BLOCK = 2**24  # scores at a time where all symbols are looked at: 64 MiB in single precision


# ----------------------------------------------------------------------------------------------------------------
# Samples without replacement
# ----------------------------------------------------------------------------------------------------------------


class Samples(NamedTuple):
    """K different symbols, and the probability with which each was to be among them.

    With it a sum over all symbols is estimated without bias: the mean of Σ fₖ / qₖ over samples is Σₖ fₖ.

    Shape:
        ids (K,), int64. inclusion (K,), float64, from above 0 to 1.
    """

    ids: Tensor
    inclusion: Tensor


class Sampler(Protocol):
    """What `SampledSoftmaxLoss` draws symbols with."""

    symbols: int

    def sample(self, count: int, generator: Generator) -> Samples:
        """So many different symbols."""


class UnigramSampler:
    """Draws different symbols, those of a high probability rather than others: by clocks that ring once.

        tₖ ~ Exp(1) / pₖ          the K that ring first are taken
        qₖ = 1 - exp(-pₖ κ)       κ the time of the first that is not taken

    The first clock that rings is k's with probability pₖ, and the same holds among those that are left: these are draws
    without replacement. κ does not depend on k's own clock while k is in the sample, and qₖ is the probability that it
    rings before κ. Therefore Σ fₖ / qₖ over the sample is an unbiased estimate of Σ fₖ over all symbols, for any f. A
    sample of all symbols has κ = ∞ and q = 1: the sum itself.

    Args:
        probabilities: p, or numbers in proportion to it, such as counts.

    Shape:
        probabilities (V,), two or more.

    Raises:
        ValueError: fewer than two, or one that is not finite and above 0: what is never drawn could not be made up for.
        TypeError: no tensor.

    Example:
        >>> sampler = UnigramSampler(torch.tensor([60.0, 30.0, 9.0, 1.0]))
        >>> samples = sampler.sample(2, torch.Generator().manual_seed(0))
        >>> samples.ids, samples.inclusion
        (tensor([1, 0]), tensor([0.8713, 0.9834], dtype=torch.float64))

    Sources: Edith Cohen and Haim Kaplan, "Summarizing data using bottom-k sketches", 2007; Nick Duffield, Carsten Lund
    and Mikkel Thorup, "Priority sampling for estimation of arbitrary subset sums", 2007; Wouter Kool, Herke van Hoof
    and Max Welling, "Estimating gradients for discrete random variables by sampling without replacement", 2020.
    """

    def __init__(self, probabilities: Tensor) -> None:
        check_tensor("probabilities", probabilities)
        if probabilities.ndim != 1 or len(probabilities) < 2:
            raise ValueError(f"probabilities must be [symbols], two or more, not {list(probabilities.shape)}")
        wide = probabilities.detach().double()
        if not bool(((wide > 0) & wide.isfinite()).all()):
            wrong = int((~((wide > 0) & wide.isfinite())).nonzero()[0])
            raise ValueError(
                f"probabilities must be finite and above 0, and that of symbol {wrong} is {wide[wrong].item():g}: "
                "a symbol that is never drawn cannot be made up for"
            )
        self.symbols, self.probabilities = len(wide), wide / wide.sum()

    def sample(self, count: int, generator: Generator) -> Samples:
        """So many different symbols, in the order in which their clocks ring, on the generator's device.

        Raises:
            ValueError: fewer than 1, or more than there are.
        """
        _check_sampled(count, self.symbols)
        return _by_clocks(self.probabilities.to(generator.device), count, generator)

    def __repr__(self) -> str:
        return f"UnigramSampler(symbols={self.symbols})"


class LogUniformSampler:
    """Draws different symbols of a vocabulary that is ordered by falling frequency, as `UnigramSampler` draws them.

        p(k) = log((k + 2) / (k + 1)) / log(V + 1)        nearly 1 / ((k + 1) log V), Zipf's law

    No table of probabilities is kept, and where the sample is a small part of the vocabulary (less than an eighth) its
    cost does not depend on V: the clocks are listened to as they ring. All of them together ring at random moments, one
    in a unit of time, and each time it is k's with probability pₖ: so symbols are drawn with replacement, by the
    inverse k = ⌊(V + 1)ᵘ⌋ - 1 of their distribution, until K + 1 different ones have come. A symbol rings for the first
    time at Exp(1) / pₖ, as before.

    Args:
        symbols: V, two or more; symbol 0 is the most frequent one.

    Raises:
        ValueError: fewer than two symbols.

    Example:
        >>> sampler = LogUniformSampler(1_000_000)
        >>> samples = sampler.sample(5, torch.Generator().manual_seed(0))
        >>> samples.ids
        tensor([ 31053,    111,   1694,    627, 151675])

    Source: as for `UnigramSampler`; George Kingsley Zipf, "Human behavior and the principle of least effort", 1949.
    """

    def __init__(self, symbols: int) -> None:
        _check_symbols(symbols)
        self.symbols = symbols

    @property
    def probabilities(self) -> Tensor:
        """The probability of each symbol in a single draw, (V,), float64."""
        places = torch.arange(1, self.symbols + 1, dtype=torch.float64, device="cpu")
        return places.reciprocal().log1p() / math.log(self.symbols + 1)

    def sample(self, count: int, generator: Generator) -> Samples:
        """So many different symbols, in the order in which their clocks ring, on the generator's device.

        Raises:
            ValueError: fewer than 1, or more than there are.
        """
        _check_sampled(count, self.symbols)
        if 8 * count < self.symbols:
            return self._by_stream(count, generator)
        return _by_clocks(self.probabilities.to(generator.device), count, generator)

    def _by_stream(self, count: int, generator: Generator) -> Samples:
        times, symbols, places = _nothing(generator), _nothing(generator).long(), _nothing(generator).long()
        more = 2 * count + 32
        while len(places) <= count:
            began = times[-1] if len(times) else 0.0
            times = torch.cat([times, began + _exponential(more, generator).cumsum(0)])
            drawn = torch.exp(math.log(self.symbols + 1) * _uniform(more, generator)).long() - 1
            symbols = torch.cat([symbols, drawn.clamp_(max=self.symbols - 1)])  # rounding may reach V
            places = _first_places(symbols)
            more = len(times)
        ids, end = symbols[places[:count]], times[places[count]]
        rates = (ids + 1).double().reciprocal().log1p() / math.log(self.symbols + 1)
        return Samples(ids, -torch.expm1(-rates * end))

    def __repr__(self) -> str:
        return f"LogUniformSampler({self.symbols})"


def _by_clocks(probabilities: Tensor, count: int, generator: Generator) -> Samples:
    """A clock for each symbol."""
    if count == len(probabilities):
        return Samples(torch.arange(count, device=generator.device), torch.ones_like(probabilities))
    times, ids = (_exponential(len(probabilities), generator) / probabilities).topk(count + 1, largest=False)
    return Samples(ids[:count], -torch.expm1(-probabilities[ids[:count]] * times[count]))


def _first_places(symbols: Tensor) -> Tensor:
    """Where each symbol comes for the first time, in that order."""
    ordered, places = symbols.sort(stable=True)
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return places[is_first].sort().values


def _exponential(count: int, generator: Generator) -> Tensor:
    """Draws from Exp(1). Not PyTorch's own, which depend on the libraries that it was built with."""
    return -torch.log1p(-_uniform(count, generator))


def _uniform(count: int, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device)


def _nothing(generator: Generator) -> Tensor:
    return torch.empty(0, dtype=torch.float64, device=generator.device)


def _check_symbols(symbols: int) -> None:
    check_counts(symbols=symbols)
    if symbols < 2:
        raise ValueError("symbols must be 2 or more, not 1: there is nothing to tell apart")


def _check_sampled(sampled: int, symbols: int) -> None:
    check_counts(sampled=sampled)
    if sampled > symbols:
        raise ValueError(f"{sampled} different symbols were to be sampled, and there are {symbols}")


# ----------------------------------------------------------------------------------------------------------------
# The loss
# ----------------------------------------------------------------------------------------------------------------


class SampledSoftmaxLoss(nn.Module):
    """The output layer of a model of words together with its loss, estimated in training from a few words.

        sₖ   = wₖ · h + aₖ                                                the score of symbol k
        loss = log (exp(sₜ) + Σ exp(sₖ - log qₖ)) - sₜ                    in training: k in a sample of K, k ≠ t
        loss = log Σₖ exp(sₖ) - sₜ                                        in evaluation: all V symbols

    One sample serves the whole batch. Where it has the target of a row in it (an accidental hit), that row leaves it
    out, since the target is counted already. The correction -log qₖ makes the sum in the logarithm unbiased, whatever
    the sampler. Without it the loss takes frequent symbols, which are drawn often, for more than they are, and its
    least value lies elsewhere: at scores that are off by log qₖ.

    What is left is the bias of the logarithm. The mean of the logarithm of an estimate is below the logarithm of its
    mean (Jensen's inequality), so that the loss in training is too small on average, by about half the relative
    variance of the estimated sum, and its gradient is a little off too. Both vanish as K grows. With K = V all symbols
    are there, q = 1, and value and gradient are those of the full softmax.

    **In a model.** The weights of the output layer are here, not in the model that gives ``h``. For a `Trainer`, whose
    checkpoints hold the model, one module holds both, as in the example; the generator of the samples belongs to the
    caller, who gives it to the trainer as one of its ``generators``, so that a resumed run draws what it would have
    drawn. `dlnotes.training.evaluate` puts the whole model into evaluation mode: it measures the full softmax.

    Args:
        symbols: V, two or more.
        dim: D, numbers of ``h``.
        sampled: K, different symbols drawn in a step, from 1 to V.
        generator: where the first weights are drawn from, even from -1/√D to 1/√D; biases start at 0.
        draws: where the samples are drawn from. Drawn on the CPU, a seed gives the same samples on every device.
        sampler: how they are drawn; a `LogUniformSampler` where not given, for symbols by falling frequency.
        correct: whether -log qₖ is added. Leave it out only to see what then goes wrong.
        bias: whether there is aₖ.
        sparse: whether gradients hold only the rows of the batch, so that a step costs nothing for the others: see
            `embed` for the optimizers that take it.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        hidden (N, D); targets (N,), int64 or int32; returns a scalar, the mean over the batch in nats, in single
        precision where the weights are in half. ``weight`` (V, D), ``bias`` (V,).

    Raises:
        ValueError: sizes below 1, a single symbol, a sample larger than the vocabulary, or a sampler of another one;
            when called, shapes that do not fit, no example, or targets outside 0 to V - 1.
        TypeError: when called, hidden that is no tensor of the weights' dtype, or targets that are no whole numbers.

    Example:
        The next word from the word before, of 10,000, which a step compares with 100:

        >>> from itertools import islice, repeat
        >>> from dlnotes.linear import GradientDescent
        >>> from dlnotes.randomness import streams
        >>> from dlnotes.text import Embedding
        >>> from dlnotes.training import Trainer, evaluate
        >>> class NextWord(nn.Module):
        ...     def __init__(self, generator, draws):
        ...         super().__init__()
        ...         self.words = Embedding(10_000, 16, generator=generator, sparse=True)
        ...         self.loss = SampledSoftmaxLoss(10_000, 16, 100, generator=generator, draws=draws, sparse=True)
        ...     def forward(self, ids):
        ...         return self.words(ids)
        >>> chance = streams(0, "weights", "draws")
        >>> model, ids = NextWord(chance["weights"], chance["draws"]), torch.arange(32)
        >>> optimizer = GradientDescent(model.parameters(), lr=20.0)
        >>> generators = {"draws": chance["draws"]}
        >>> trainer = Trainer(model, model.loss, optimizer, repeat((ids, ids + 1)), generators=generators)
        >>> before = evaluate(model, (ids, ids + 1), model.loss)
        >>> _ = list(islice(trainer, 100))
        >>> before > 9.2, evaluate(model, (ids, ids + 1), model.loss) < 0.1
        (True, True)

    Sources: Yoshua Bengio and Jean-Sébastien Senécal, "Quick training of probabilistic neural nets by importance
    sampling", 2003, and "Adaptive importance sampling to accelerate training of a neural probabilistic language model",
    2008; Sébastien Jean, Kyunghyun Cho, Roland Memisevic and Yoshua Bengio, "On using very large target vocabulary for
    neural machine translation", 2015; Ankit Singh Rawat et al., "Sampled softmax with random Fourier features", 2019.
    """

    def __init__(
        self,
        symbols: int,
        dim: int,
        sampled: int,
        *,
        generator: Generator,
        draws: Generator,
        sampler: Sampler | None = None,
        correct: bool = True,
        bias: bool = True,
        sparse: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        _check_symbols(symbols)
        check_counts(dim=dim)
        _check_sampled(sampled, symbols)
        if not isinstance(draws, Generator):
            raise TypeError(f"draws must be a torch.Generator to draw samples from, not {type(draws).__name__}")
        self.sampler = LogUniformSampler(symbols) if sampler is None else sampler
        if self.sampler.symbols != symbols:
            raise ValueError(f"the sampler must be one of {symbols} symbols, and it is one of {self.sampler.symbols}")
        self.symbols, self.dim, self.sampled, self.draws = symbols, dim, sampled, draws
        self.correct, self.sparse = correct, sparse
        options: dict[str, Any] = {"dtype": dtype, "device": torch.get_default_device()}
        self.weight = nn.Parameter(torch.empty(symbols, dim, **options))
        self.bias = nn.Parameter(torch.empty(symbols, **options)) if bias else None
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew, and set the biases to 0."""
        weight = self.weight
        even = torch.rand(weight.shape, generator=generator, dtype=weight.dtype, device=generator.device)
        weight.copy_(even.mul_(2).sub_(1).div_(math.sqrt(self.dim)))
        if self.bias is not None:
            self.bias.zero_()

    def scores(self, hidden: Tensor) -> Tensor:
        """The scores of all symbols, (*, V), from (*, D): what to decode with."""
        return functional.linear(hidden, self.weight, self.bias)

    def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch."""
        self._check(hidden, targets)
        if not self.training:
            return self._over_all(hidden, targets.long())
        targets = targets.long()
        samples = self.sampler.sample(self.sampled, self.draws)
        ids, sizes = samples.ids.to(targets.device), [len(targets), self.sampled]
        rows = torch.cat([targets, ids])  # looked up together, so that a sparse gradient is made once
        of_target, of_sample = embed(rows, self.weight, sparse=self.sparse).split(sizes)
        target_scores, offsets = (hidden * of_target).sum(1), of_sample.new_zeros(self.sampled)
        if self.bias is not None:
            target_bias, offsets = torch.gather(self.bias, 0, rows, sparse_grad=self.sparse).split(sizes)
            target_scores = target_scores + target_bias
        if self.correct:
            offsets = offsets - samples.inclusion.log().to(offsets)
        sample_scores = torch.addmm(offsets, hidden, of_sample.t())
        with torch.no_grad():  # the gradient of what is left out is 0 by itself
            sample_scores[_accidental_hits(targets, ids)] = -math.inf
        loss: Tensor = _LossOfTarget.apply(_wide(target_scores), _wide(sample_scores))
        return loss

    def _over_all(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The full softmax, in blocks of rows: without gradients, one block is in memory at a time."""
        rows = max(1, BLOCK // self.symbols)
        sums = [
            functional.cross_entropy(_wide(self.scores(some)), wanted, reduction="sum")
            for some, wanted in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        return torch.stack(sums).sum() / len(targets)

    def _check(self, hidden: Tensor, targets: Tensor) -> None:
        check_tensor("hidden", hidden)
        if hidden.ndim != 2 or not len(hidden) or hidden.shape[1] != self.dim:
            raise ValueError(f"hidden must be [examples, {self.dim}], one example or more, not {list(hidden.shape)}")
        if hidden.dtype != self.weight.dtype and not torch.is_autocast_enabled(hidden.device.type):
            raise TypeError(f"hidden must be {self.weight.dtype} as the weights are, not {hidden.dtype}")
        check_ids("targets", targets, self.symbols)
        if targets.shape != hidden.shape[:1]:
            raise ValueError(f"targets must be [{len(hidden)}], one for each example, not {list(targets.shape)}")

    def extra_repr(self) -> str:
        """The settings, for ``print(loss)``, and so that a checkpoint knows its model."""
        settings = f"{self.symbols}, {self.dim}, {self.sampled}, sampler={self.sampler!r}, correct={self.correct}"
        return f"{settings}, bias={self.bias is not None}, sparse={self.sparse}"


def _wide(scores: Tensor) -> Tensor:
    """In single precision at least: half precision is too coarse for sums of many."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _accidental_hits(targets: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The rows whose target is in the sample, and its place there."""
    ordered, places = ids.sort()
    found = torch.searchsorted(ordered, targets).clamp_(max=len(ids) - 1)
    rows = (ordered[found] == targets).nonzero()[:, 0]
    return rows, places[found[rows]]


class _LossOfTarget(torch.autograd.Function):
    """The mean of log (exp(sₜ) + Σₖ exp(sₖ)) - sₜ, from target scores (N,) and the scores of others (N, K).

    The same as PyTorch's cross-entropy of both side by side, in fewer passes over (N, K): a third of a step less.
    """

    @staticmethod
    def forward(ctx: Any, target_scores: Tensor, other_scores: Tensor) -> Tensor:
        largest = torch.maximum(target_scores, other_scores.amax(1))
        others = (other_scores - largest[:, None]).exp_()
        target = (target_scores - largest).exp()
        total = others.sum(1) + target
        ctx.save_for_backward(others, total, target / total)
        return (total.log() + largest - target_scores).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor]:
        others, total, share = ctx.saved_tensors
        slope = slope / len(total)
        return (share - 1) * slope, others * (slope / total)[:, None]
