"""Row 4.05: sampled softmax, against the full one, and its samples against the law that they follow."""

import copy
import functools
import itertools
import math
from collections import Counter
from itertools import islice

import pytest
import torch
from scipy.stats import chi2, ks_2samp
from torch import nn
from torch.nn import functional

from dlnotes import linear, text
from dlnotes.randomness import stream, streams
from dlnotes.text import LogUniformSampler, SampledSoftmaxLoss, Samples, UnigramSampler, sampled_softmax
from dlnotes.training import Minibatches, Trainer, evaluate, load_checkpoint, save_checkpoint

DOUBLE = torch.float64
CHANCE = 1e-5  # of failing although all is right
NORMAL = 4.42  # standard errors, of that chance


# ----------------------------------------------------------------------------------------------------------------
# Samples
# ----------------------------------------------------------------------------------------------------------------

FEW, MANY = 2, 17  # so few of so many that the stream is listened to


@functools.cache
def draws_of(how, seed):
    """Ids and inclusion of many samples of two among 17, (samples, 2) each."""
    sampler = LogUniformSampler(MANY)
    sampler = sampler if how == "stream" else UnigramSampler(sampler.probabilities)
    generator, count = stream(seed, how), 4_000 if how == "stream" else 10_000
    return Samples(
        *(torch.stack(part) for part in zip(*(sampler.sample(FEW, generator) for _ in range(count)), strict=True))
    )


HOW = pytest.mark.parametrize("how", ["stream", "clocks"])


def test_the_log_uniform_law_by_hand():
    law = LogUniformSampler(3).probabilities
    assert law.tolist() == pytest.approx([math.log(2, 4), math.log(3 / 2, 4), math.log(4 / 3, 4)])
    assert LogUniformSampler(100_000).probabilities.sum().item() == pytest.approx(1)


@HOW
def test_samples_are_draws_without_replacement(how, seed):
    """The first is k with probability p; the second another one with p / (1 - p of the first)."""
    ids = draws_of(how, seed).ids
    law = LogUniformSampler(MANY).probabilities.tolist()
    pairs = list(itertools.permutations(range(MANY), FEW))
    expected = [len(ids) * law[one] * law[other] / (1 - law[one]) for one, other in pairs]
    assert sum(expected) == pytest.approx(len(ids))
    counts = Counter(map(tuple, ids.tolist()))
    found = [counts[pair] for pair in pairs]
    assert sum(found) == len(ids)  # no symbol came twice in a sample
    cells, rare = [], [0.0, 0.0]
    for cell in zip(found, expected, strict=True):
        if cell[1] >= 5:
            cells.append(cell)
        else:  # what is rare is counted together
            rare = [sum(both) for both in zip(rare, cell, strict=True)]
    cells.append(rare)
    assert len(cells) > 80
    distance = sum((one - other) ** 2 / other for one, other in cells)
    assert chi2.sf(distance, len(cells) - 1) > CHANCE


@HOW
def test_the_sum_over_a_sample_is_unbiased(how, seed):
    """The mean of the sum of f / q over thousands of samples, for several f, is the sum over all symbols."""
    ids, inclusion = draws_of(how, seed)
    values = torch.randn(MANY, 5, generator=stream(seed, "values"), dtype=DOUBLE).exp()
    values[:, 0] = 1
    estimates = (values[ids] / inclusion[:, :, None]).sum(1)
    errors = (estimates.mean(0) - values.sum(0)) / (estimates.std(0) / math.sqrt(len(ids)))
    assert errors.abs().max() < NORMAL


def test_the_stream_and_the_clocks_end_at_the_same_time_on_average(seed):
    """κ, from the probability of inclusion of the first."""
    law = LogUniformSampler(MANY).probabilities
    ends = [
        -torch.log1p(-inclusion[:, 0]) / law[ids[:, 0]]
        for ids, inclusion in (draws_of("stream", seed), draws_of("clocks", seed))
    ]
    assert ks_2samp(*ends).pvalue > CHANCE


def test_a_stream_goes_on_until_all_but_one_have_come(seed):
    """16 of 17, which takes some hundred draws: more than are made at first."""
    sampler, generator = LogUniformSampler(MANY), stream(seed, "draws")
    values = torch.randn(MANY, generator=stream(seed, "values"), dtype=DOUBLE).exp()
    estimates = []
    for _ in range(600):
        ids, inclusion = sampler._by_stream(MANY - 1, generator)
        assert len(set(ids.tolist())) == MANY - 1
        estimates.append((values[ids] / inclusion).sum().item())
    estimates = torch.tensor(estimates, dtype=DOUBLE)
    assert abs(estimates.mean() - values.sum()) < NORMAL * estimates.std() / math.sqrt(len(estimates))


def test_a_large_vocabulary_is_drawn_from_as_its_law_says(seed):
    """The first of each sample of a million is one of k lowest with probability log(k + 1) / log(1,000,001)."""
    sampler, generator = LogUniformSampler(10**6), stream(seed, "draws")
    first = torch.stack([sampler.sample(20, generator).ids[0] for _ in range(1_000)])
    for lowest in (1, 10, 300, 10_000, 300_000):
        expected = math.log(lowest + 1) / math.log(10**6 + 1)
        share = (first < lowest).double().mean().item()
        assert abs(share - expected) < NORMAL * math.sqrt(expected * (1 - expected) / len(first))


@pytest.mark.parametrize("sampler", [LogUniformSampler(9), UnigramSampler(torch.arange(1.0, 10.0))])
def test_a_sample_of_all_symbols_has_each_for_certain(sampler):
    ids, inclusion = sampler.sample(9, stream(0, "draws"))
    assert sorted(ids.tolist()) == list(range(9))
    assert inclusion.tolist() == [1.0] * 9
    assert inclusion.dtype == DOUBLE


@pytest.mark.parametrize("count", [1, 8, 12, 13, 99])
def test_samples_are_different_symbols_with_probabilities_and_the_same_from_the_same_seed(count):
    law = LogUniformSampler(100).probabilities
    for sampler in (LogUniformSampler(100), UnigramSampler(law), UnigramSampler(7 * law)):
        ids, inclusion = sampler.sample(count, stream(1, "draws"))
        again = sampler.sample(count, stream(1, "draws"))
        assert torch.equal(ids, again.ids)
        assert torch.equal(inclusion, again.inclusion)
        assert ids.dtype == torch.int64
        assert len(set(ids.tolist())) == count
        assert ids.min() >= 0
        assert ids.max() < 100
        assert inclusion.min() > 0
        assert inclusion.max() <= 1
        # One threshold for all: the frequent have the larger probability.
        assert inclusion[ids.argsort()].diff().max() <= 0 if count > 1 else True


def test_counts_are_as_good_as_probabilities():
    counts = torch.tensor([500, 30, 2, 1])
    one, other = (UnigramSampler(law).sample(2, stream(0, "draws")) for law in (counts, counts / counts.sum()))
    assert torch.equal(one.ids, other.ids)
    torch.testing.assert_close(one.inclusion, other.inclusion)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: LogUniformSampler(1), ValueError, "symbols must be 2 or more, not 1"),
        (lambda: LogUniformSampler(0), ValueError, "symbols must be an int of 1 or more, not 0"),
        (
            lambda: UnigramSampler(torch.ones(1)),
            ValueError,
            r"probabilities must be \[symbols\], two or more, not \[1\]",
        ),
        (lambda: UnigramSampler(torch.ones(2, 2)), ValueError, r"two or more, not \[2, 2\]"),
        (lambda: UnigramSampler(torch.tensor([1, 0])), ValueError, "above 0, and that of symbol 1 is 0"),
        (lambda: UnigramSampler(torch.tensor([math.inf, 1])), ValueError, "that of symbol 0 is inf"),
        (lambda: UnigramSampler([0.5, 0.5]), TypeError, "probabilities must be a tensor, not list"),
        (lambda: LogUniformSampler(3).sample(4, stream(0, "x")), ValueError, "4 different symbols .* and there are 3"),
        (lambda: LogUniformSampler(3).sample(0, stream(0, "x")), ValueError, "sampled must be an int of 1 or more"),
        (lambda: UnigramSampler(torch.ones(3)).sample(4, stream(0, "x")), ValueError, "there are 3"),
    ],
)
def test_what_cannot_be_sampled_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


# ----------------------------------------------------------------------------------------------------------------
# The loss
# ----------------------------------------------------------------------------------------------------------------


class Fixed:
    """A sampler that always gives the same."""

    def __init__(self, symbols, ids, inclusion):
        self.symbols = symbols
        self.samples = Samples(torch.tensor(ids), torch.tensor(inclusion, dtype=DOUBLE))

    def sample(self, count, generator):
        assert count == len(self.samples.ids)
        return self.samples


def loss_of(symbols=50, dim=4, sampled=10, seed=0, **settings):
    """A loss whose weights and biases are all drawn."""
    chance = streams(seed, "weights", "samples", "bias")
    settings = {"dtype": DOUBLE, **settings}
    loss = SampledSoftmaxLoss(symbols, dim, sampled, generator=chance["weights"], draws=chance["samples"], **settings)
    for parameter in loss.parameters():
        parameter.data.normal_(generator=chance["bias"])
    return loss


def batch(symbols=50, dim=4, rows=7, seed=0, device="cpu", size=1.0):
    chance = streams(seed, "hidden", "targets")
    hidden = size * torch.randn(rows, dim, generator=chance["hidden"], dtype=DOUBLE)
    hidden = hidden.to(device).requires_grad_()
    return hidden, torch.randint(symbols, (rows,), generator=chance["targets"]).to(device)


def value_and_gradients(value, hidden, loss):
    for tensor in (hidden, *loss.parameters()):
        tensor.grad = None
    value.backward()
    grads = [tensor.grad for tensor in (hidden, *loss.parameters())]
    return [value.detach(), *(grad.to_dense() if grad.is_sparse else grad for grad in grads)]


def full(loss, hidden, targets):
    return functional.cross_entropy(functional.linear(hidden, loss.weight, loss.bias), targets)


def assert_same(some, others, **tolerances):
    for one, other in zip(some, others, strict=True):
        torch.testing.assert_close(one, other, **tolerances)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize(
    "settings", [{}, {"correct": False}, {"sampler": UnigramSampler(torch.arange(1.0, 51.0))}], ids=str
)
def test_with_all_symbols_it_is_the_full_softmax_with_its_gradient(settings, sparse, bias, device):
    loss = loss_of(sampled=50, sparse=sparse, bias=bias, **settings).to(device)
    hidden, targets = batch(device=device)
    found = value_and_gradients(loss(hidden, targets), hidden, loss)
    assert loss.weight.grad.is_sparse == sparse
    assert_same(found, value_and_gradients(full(loss, hidden, targets), hidden, loss))


def test_the_formula_by_hand():
    """The target's score is 1; symbols 1 and 2 of scores 2 and 3 came with probability a half and a fifth."""
    loss = loss_of(4, 1, 2, bias=False, sampler=Fixed(4, [1, 2], [0.5, 0.2]))
    loss.weight.data.copy_(torch.tensor([[1.0], [2.0], [3.0], [4.0]]))
    hidden = torch.ones(1, 1, dtype=DOUBLE)
    expected = math.log(math.e + math.e**2 / 0.5 + math.e**3 / 0.2) - 1
    assert loss(hidden, torch.tensor([0])).item() == pytest.approx(expected)
    hit = math.log(math.e**2 + math.e**3 / 0.2) - 2  # the target is in the sample, and is counted once
    assert loss(hidden, torch.tensor([1])).item() == pytest.approx(hit)
    both = loss(hidden.expand(2, 1), torch.tensor([0, 1]))
    assert both.item() == pytest.approx((expected + hit) / 2)


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("sampled", [1, 5, 20])
def test_it_is_the_cross_entropy_of_the_target_beside_the_sample(sampled, sparse, correct, device):
    loss = loss_of(sampled=sampled, sparse=sparse, correct=correct).to(device)
    for seed in range(3):
        hidden, targets = batch(rows=30, seed=seed, device=device)
        ids, inclusion = loss.sampler.sample(sampled, copy_of(loss.draws))
        ids, inclusion = ids.to(device), inclusion.to(device)
        found = value_and_gradients(loss(hidden, targets), hidden, loss)
        rows = []
        for row, target in zip(hidden, targets.tolist(), strict=True):
            scores = functional.linear(row, loss.weight, loss.bias)
            others = [
                scores[k] - (math.log(q) if correct else 0)
                for k, q in zip(ids.tolist(), inclusion.tolist(), strict=True)
                if k != target
            ]
            rows.append(torch.stack([scores[target], *others]).logsumexp(0) - scores[target])
        assert_same(found, value_and_gradients(torch.stack(rows).mean(), hidden, loss))


def copy_of(generator):
    return torch.Generator().set_state(generator.get_state())


def test_where_nothing_but_the_target_was_sampled_there_is_no_loss_and_no_gradient():
    loss = loss_of(4, 1, 1, sampler=Fixed(4, [2], [0.3]))
    hidden, _ = batch(4, 1, 3)
    found = value_and_gradients(loss(hidden, torch.tensor([2, 2, 2])), hidden, loss)
    for part in found:
        assert not part.any()


FREQUENT = 30  # of 300 symbols


def mean_error(sampled, correct, seed, count=300):
    """How far the loss, the gradient of frequent biases and that of the hidden state are off on average."""
    sampler = UnigramSampler(1 / torch.arange(1.0, 301.0))
    loss = loss_of(300, 3, sampled, seed=seed, correct=correct, sampler=sampler)
    loss.bias.data.zero_()
    hidden, targets = batch(300, 3, 4, seed, size=0.3)

    def of(value):
        of_hidden, of_bias = torch.autograd.grad(value, (hidden, loss.bias))
        return torch.cat([value.detach()[None], of_bias[:FREQUENT].sum()[None], of_hidden.flatten()])

    mean = torch.stack([of(loss(hidden, targets)) for _ in range(count)]).mean(0)
    error = mean - of(full(loss, hidden, targets))
    return error[0].item(), error[1].item(), error[2:].norm().item()


def test_the_bias_of_loss_and_gradient_vanishes_with_the_size_of_the_sample(seed):
    (few, _, one), (_, _, two), (many, _, three) = (mean_error(sampled, True, seed) for sampled in (4, 16, 64))
    assert two < one / 1.5
    assert three < two / 1.5
    assert few < 0  # Jensen: the loss is too small on average
    assert abs(many) < abs(few) / 4


def test_without_the_correction_the_bias_stays(seed):
    """Frequent symbols are drawn often, each time as if they stood for themselves: their biases are pushed down."""
    (right, less, _), (wrong, more, _) = (mean_error(64, correct, seed) for correct in (True, False))
    assert abs(wrong) > 5 * abs(right)
    assert more > 5 * abs(less)
    assert more > 0.1  # of gradients that add up to 1


def test_a_sparse_step_is_a_dense_step():
    optimizers = (
        lambda weights: torch.optim.SGD(weights, lr=0.5),
        lambda weights: linear.GradientDescent(weights, lr=0.5),
    )
    for optimizer_of in optimizers:
        weights = []
        for sparse in (True, False):
            loss = loss_of(sparse=sparse)
            optimizer = optimizer_of(loss.parameters())
            for seed in range(3):
                optimizer.zero_grad()
                loss(*batch(seed=seed)).backward()
                assert loss.weight.grad.is_sparse == loss.bias.grad.is_sparse == sparse
                optimizer.step()
            weights.append([parameter.detach() for parameter in loss.parameters()])
        assert_same(*weights)
    loss = loss_of(sparse=True)
    before = loss.weight.detach().clone()
    optimizer = torch.optim.SparseAdam(list(loss.parameters()), lr=0.1)
    hidden, targets = batch(rows=3)
    touched = {*targets.tolist(), *loss.sampler.sample(10, copy_of(loss.draws)).ids.tolist()}
    loss(hidden, targets).backward()
    optimizer.step()
    assert set((loss.weight != before).any(1).nonzero()[:, 0].tolist()) == touched


@pytest.mark.parametrize("bias", [True, False])
def test_in_evaluation_it_is_the_full_softmax_in_blocks_and_nothing_is_drawn(bias, monkeypatch, device):
    loss = loss_of(bias=bias).to(device).eval()
    hidden, targets = batch(device=device)
    before = loss.draws.get_state()
    expected = value_and_gradients(full(loss, hidden, targets), hidden, loss)
    for block in (1, 50, 100, 149, 10**6):  # one row at a time, two, all
        monkeypatch.setattr(sampled_softmax, "BLOCK", block)
        assert_same(value_and_gradients(loss(hidden, targets), hidden, loss), expected)
    assert torch.equal(loss.draws.get_state(), before)
    assert torch.equal(loss.scores(hidden), functional.linear(hidden, loss.weight, loss.bias))


def test_large_scores_neither_overflow_nor_vanish():
    loss = loss_of(dtype=torch.float32, sampled=20)
    hidden, targets = batch()
    for size in (1e3, 1e4):
        far = (size * hidden.detach()).float().requires_grad_()
        found = value_and_gradients(loss(far, targets), far, loss)
        assert all(part.isfinite().all() for part in found)
        assert found[0] > size / 10


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_of_half_precision_are_summed_in_single_precision(dtype, training):
    loss = loss_of(4_000, 4, 400, dtype=dtype).train(training)
    hidden, targets = batch(4_000, rows=300)
    wide = copy.deepcopy(loss).float()
    found, expected = loss(hidden.to(dtype), targets), wide(hidden.float(), targets)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=2e-3)
    found.backward()
    assert loss.weight.grad.dtype == dtype
    assert loss.weight.grad.isfinite().all()


def test_autocast_is_taken():
    loss = loss_of(dtype=torch.float32)
    hidden, targets = batch()
    expected = copy.deepcopy(loss)(hidden.float(), targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(hidden.bfloat16(), targets)
    assert found.item() == pytest.approx(expected.item(), rel=0.02)


# ----------------------------------------------------------------------------------------------------------------
# In a model
# ----------------------------------------------------------------------------------------------------------------


class NextWord(nn.Module):
    """Embedding and output layer, as the loss's docstring has it."""

    def __init__(self, symbols, sampled, generator, draws):
        super().__init__()
        self.words = text.Embedding(symbols, 8, generator=generator, sparse=True, dtype=DOUBLE)
        self.loss = SampledSoftmaxLoss(symbols, 8, sampled, generator=generator, draws=draws, sparse=True, dtype=DOUBLE)

    def forward(self, ids):
        return self.words(ids)


def pairs(symbols=60):
    """Each word and the one that follows it: always the same."""
    ids = torch.arange(symbols)
    return ids, ids.roll(7)


def trainer_of(seed=0, sampled=12, device="cpu"):
    chance = streams(seed, "weights", "samples", "batches")
    model = NextWord(60, sampled, chance["weights"], chance["samples"]).to(device)
    batches = Minibatches(tuple(part.to(device) for part in pairs()), 16, chance["batches"])
    optimizer = linear.GradientDescent(model.parameters(), lr=4.0)
    return Trainer(model, model.loss, optimizer, batches, generators={"samples": chance["samples"]})


def test_a_model_learns_by_it_and_is_judged_by_the_full_softmax():
    trainer = trainer_of()
    before = evaluate(trainer.model, pairs(), trainer.loss)
    assert before == pytest.approx(full(trainer.loss, trainer.model(pairs()[0]), pairs()[1]).item())
    assert before > 3
    list(islice(trainer, 300))
    assert evaluate(trainer.model, pairs(), trainer.loss) < 0.1
    assert trainer.loss.training


def test_a_run_that_is_resumed_is_the_run_to_the_bit(tmp_path):
    whole = trainer_of()
    expected = list(islice(whole, 20))
    begun = trainer_of()
    list(islice(begun, 8))
    save_checkpoint(tmp_path / "run.pt", begun.state_dict())
    resumed = trainer_of(seed=1)
    resumed.load_state_dict(load_checkpoint(tmp_path / "run.pt"))
    assert list(islice(resumed, 12)) == expected[8:]
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert set(whole.model.state_dict()) == {"words.weight", "loss.weight", "loss.bias"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here, and the CPU is what it is compared with")
def test_training_on_a_gpu_is_training_on_the_cpu():
    """Drawn on the CPU, the samples are the same; drawn on the GPU they follow the same law."""
    losses = [[step.loss for step in islice(trainer_of(device=device), 30)] for device in ("cuda", "cpu")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    for sampler in (LogUniformSampler(1_000), UnigramSampler(torch.arange(1.0, 1_001.0))):
        ids, inclusion = sampler.sample(20, torch.Generator("cuda").manual_seed(0))
        assert ids.device.type == inclusion.device.type == "cuda"
        assert len(set(ids.tolist())) == 20


def test_the_first_weights_are_even_and_biases_start_at_0():
    chance = stream(0, "samples")
    first, again = (SampledSoftmaxLoss(400, 25, 5, generator=stream(0, "weights"), draws=chance) for _ in range(2))
    assert torch.equal(first.weight, again.weight)
    assert first.weight.abs().max() <= 0.2
    assert first.weight.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.05)
    assert not first.bias.any()
    used = loss_of(400, 25, 5, dtype=torch.float32)
    used.reset_parameters(stream(0, "weights"))
    assert all(torch.equal(one, other) for one, other in zip(used.parameters(), first.parameters(), strict=True))


def test_it_can_be_copied_shown_and_built_without_memory():
    loss = loss_of()
    hidden, targets = batch()
    assert torch.equal(copy.deepcopy(loss)(hidden, targets), loss(hidden, targets))  # the generator is copied too
    expected = "50, 4, 10, sampler=LogUniformSampler(50), correct=True, bias=True, sparse=False"
    assert repr(loss) == f"SampledSoftmaxLoss({expected})"
    with torch.device("meta"):
        assert all(parameter.is_meta for parameter in loss_of().parameters())


@pytest.mark.parametrize(
    ("sizes", "settings", "error", "message"),
    [
        ((1, 4, 1), {}, ValueError, "symbols must be 2 or more, not 1"),
        ((5, 4, 6), {}, ValueError, "6 different symbols were to be sampled, and there are 5"),
        ((5, 4, 0), {}, ValueError, "sampled must be an int of 1 or more, not 0"),
        ((5, 0, 2), {}, ValueError, "dim must be an int of 1 or more, not 0"),
        ((5, 4, 2), {"sampler": LogUniformSampler(6)}, ValueError, "one of 5 symbols, and it is one of 6"),
        ((5, 4, 2), {"draws": 0}, TypeError, "draws must be a torch.Generator to draw samples from, not int"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(sizes, settings, error, message):
    with pytest.raises(error, match=message):
        SampledSoftmaxLoss(*sizes, **{"generator": stream(0, "weights"), "draws": stream(0, "x"), **settings})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("hidden", "targets", "error", "message"),
    [
        (torch.ones(3, 5), torch.zeros(3).long(), ValueError, r"hidden must be \[examples, 4\].*, not \[3, 5\]"),
        (torch.ones(4), torch.zeros(4).long(), ValueError, r"hidden must be \[examples, 4\].*, not \[4\]"),
        (torch.ones(0, 4), torch.zeros(0).long(), ValueError, r"one example or more, not \[0, 4\]"),
        (
            torch.ones(3, 4),
            torch.zeros(2).long(),
            ValueError,
            r"targets must be \[3\], one for each example, not \[2\]",
        ),
        (torch.ones(3, 4), torch.zeros(3, 1).long(), ValueError, r"targets must be \[3\], .*, not \[3, 1\]"),
        (torch.ones(2, 4), torch.tensor([0, 50]), ValueError, "targets must be from 0 to 49, .* there is a 50"),
        (torch.ones(2, 4), torch.tensor([0, -100]), ValueError, "targets must be from 0 to 49, .* there is a -100"),
        (
            torch.ones(2, 4),
            torch.zeros(2),
            TypeError,
            "targets must be int64, the numbers of symbols, not torch.float32",
        ),
        (
            torch.ones(2, 4).double(),
            torch.zeros(2).long(),
            TypeError,
            "hidden must be torch.float32 as the weights are",
        ),
        ([[1.0]], torch.zeros(1).long(), TypeError, "hidden must be a tensor, not list"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(hidden, targets, error, message, training):
    with pytest.raises(error, match=message):
        loss_of(dtype=torch.float32).train(training)(hidden, targets)
