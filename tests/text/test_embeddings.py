"""Row 4.01, the identity: an embedding is a one-hot vector times a matrix."""

import copy

import pytest
import torch
from torch import nn

from dlnotes import linear, text
from dlnotes.randomness import stream

DOUBLE = torch.float64
IDS = {
    "a row": [2, 0, 2, 2, 1],
    "a batch": [[[1, 1], [0, 4]]],
    "a single one": 3,
    "none": [],
}


def table(device="cpu", dtype=DOUBLE):
    return torch.randn(5, 3, generator=stream(0, "table"), dtype=DOUBLE).to(device, dtype).requires_grad_()


def learned(function, ids, slopes, weight):
    """The embeddings, and the gradient of the table."""
    weight.grad = None
    rows = function(ids, weight)
    (rows * slopes).sum().backward()
    return rows.detach(), weight.grad


def dense(gradient):
    return gradient.to_dense() if gradient.is_sparse else gradient


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("shape", IDS)
def test_an_embedding_is_a_one_hot_vector_times_a_matrix_with_its_gradient(shape, dtype, sparse, device):
    ids = torch.tensor(IDS[shape], dtype=dtype, device=device)
    slopes = torch.randn(*ids.shape, 3, generator=stream(0, "slopes"), dtype=DOUBLE).to(device)
    rows, gradient = learned(lambda ids, weight: text.embed(ids, weight, sparse=sparse), ids, slopes, table(device))
    assert gradient.is_sparse == sparse
    products = learned(lambda ids, weight: linear.one_hot(ids, 5, dtype=DOUBLE) @ weight, ids, slopes, table(device))
    for one, other in zip((rows, dense(gradient)), products, strict=True):
        torch.testing.assert_close(one, other)
        assert one.device.type == device


@pytest.mark.parametrize("sparse", [False, True])
def test_the_module_is_pytorchs_with_its_gradient(sparse, device):
    ours = text.Embedding(5, 3, generator=stream(0, "weights"), sparse=sparse, dtype=DOUBLE).to(device)
    theirs = nn.Embedding.from_pretrained(table(device).detach(), freeze=False, sparse=sparse)
    ours.load_state_dict(theirs.state_dict())
    ids, slopes = torch.tensor([[1, 4, 1]], device=device), torch.arange(9.0, device=device).view(1, 3, 3)
    for module in (ours, theirs):
        (module(ids) * slopes).sum().backward()
    assert torch.equal(ours(ids), theirs(ids))
    assert ours.weight.grad.is_sparse == sparse
    torch.testing.assert_close(dense(ours.weight.grad), dense(theirs.weight.grad))


def test_a_sparse_gradient_holds_the_rows_that_were_looked_up_and_optimizers_take_it():
    steps = (
        lambda weights: torch.optim.SGD(weights, lr=0.1),
        lambda weights: torch.optim.SparseAdam(list(weights), lr=0.1),
        lambda weights: linear.GradientDescent(weights, lr=0.1),
    )
    for optimizer_of in steps:
        module = text.Embedding(5, 3, generator=stream(0, "weights"), sparse=True)
        before = module.weight.detach().clone()
        optimizer = optimizer_of(module.parameters())
        module(torch.tensor([1, 4, 1])).sum().backward()
        assert module.weight.grad.coalesce().indices().tolist() == [[1, 4]]
        optimizer.step()
        assert (module.weight != before).any(1).tolist() == [False, True, False, False, True]


def test_the_first_weights_are_standard_normal_and_come_from_the_generator():
    first, again, other = (text.Embedding(400, 50, generator=stream(seed, "weights")) for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    assert abs(first.weight.mean().item()) < 0.035  # five standard errors
    assert first.weight.std().item() == pytest.approx(1, abs=0.025)
    other.reset_parameters(stream(0, "weights"))
    assert torch.equal(first.weight, other.weight)
    assert text.Embedding(2, 3, generator=stream(0, "weights"), dtype=torch.float16).weight.dtype == torch.float16


def test_the_module_can_be_copied_shown_and_built_without_memory():
    module = text.Embedding(5, 3, generator=stream(0, "weights"), sparse=True)
    assert torch.equal(copy.deepcopy(module)(torch.tensor([1])), module(torch.tensor([1])))
    assert repr(module) == "Embedding(5, 3, sparse=True)"
    with torch.device("meta"):
        assert text.Embedding(5, 3, generator=stream(0, "weights")).weight.is_meta


@pytest.mark.parametrize(
    ("ids", "weight", "error", "message"),
    [
        (torch.tensor([0, 5]), table(), ValueError, "ids must be from 0 to 4, of 5 symbols, and there is a 5"),
        (torch.tensor([4, -1]), table(), ValueError, "ids must be from 0 to 4, of 5 symbols, and there is a -1"),
        (torch.tensor([0.0]), table(), TypeError, "ids must be int64, the numbers of symbols, not torch.float32"),
        (torch.tensor([True]), table(), TypeError, "ids must be int64, the numbers of symbols, not torch.bool"),
        ([0], table(), TypeError, "ids must be a tensor, not list"),
        (torch.tensor([0]), table()[0], ValueError, r"table must be \[symbols, numbers\].*, not \[3\]"),
        (torch.tensor([0]), table().detach().long(), TypeError, "table must be floating point, not torch.int64"),
        (torch.tensor([0]), [[1.0]], TypeError, "table must be a tensor, not list"),
    ],
)
def test_what_cannot_be_looked_up_is_refused(ids, weight, error, message):
    with pytest.raises(error, match=message):
        text.embed(ids, weight)


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (2.0, 3)])
def test_a_table_without_rows_or_numbers_is_refused(sizes):
    with pytest.raises(ValueError, match="must be an int of 1 or more"):
        text.Embedding(*sizes, generator=stream(0, "weights"))
