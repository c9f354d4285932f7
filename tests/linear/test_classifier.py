"""The logistic classifier, from its scores to a trained one."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlnotes.linear import SGD, LogisticClassifier, cross_entropy, train_classifier
from dlnotes.training import DivergedError, Minibatches, accuracy
from tests import reference


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=chance(seed), dtype=torch.float64)


def labels(count, classes, seed=0):
    return torch.randint(classes, (count,), generator=chance(seed))


def classifier(features, classes, seed=1):
    """One with random weights in float64."""
    made = LogisticClassifier(features, classes, dtype=torch.float64)
    made.load_state_dict({"weight": normal(classes, features, seed=seed), "bias": normal(classes, seed=seed + 1)})
    return made


def linear_like(model):
    layer = nn.utils.skip_init(nn.Linear, model.features, model.classes, dtype=model.weight.dtype)
    layer.load_state_dict(model.state_dict())
    return layer


def descend(model, inputs, targets, steps, lr, loss=cross_entropy, optimizer=SGD):
    """The loss before each step of full gradient descent, and after the last."""
    descent, losses = optimizer(model.parameters(), lr=lr), []
    for _ in range(steps):
        descent.zero_grad()
        losses.append(loss(model(inputs), targets))
        losses[-1].backward()
        descent.step()
    return [value.item() for value in losses] + [loss(model(inputs), targets).item()]


# The scores


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
def test_the_scores_are_a_weight_product_plus_a_bias(count, features, classes):
    model, inputs = classifier(features, classes), normal(count, features)
    expected = reference.scores(model.weight.tolist(), model.bias.tolist(), inputs.tolist())
    assert_close(model(inputs), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-13)


def test_the_scores_are_an_affine_function_of_the_input():
    model, x, z = classifier(6, 3), normal(4, 6), normal(4, 6, seed=5)
    assert_close(model(x + z) - model(z), model(x) - model(torch.zeros_like(x)), rtol=0, atol=1e-13)
    assert_close(model(torch.zeros_like(x)), model.bias.expand(4, 3), rtol=0, atol=0)


def test_the_weights_number_classes_times_features_plus_classes():
    model = LogisticClassifier(784, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 10 * 784 + 10
    assert repr(model) == "LogisticClassifier(features=784, classes=10)"


def test_it_has_the_parameters_of_torchs_linear_layer_and_gives_its_scores():
    model, inputs = classifier(6, 3), normal(4, 6)
    layer = linear_like(model)
    assert model.state_dict().keys() == layer.state_dict().keys()
    assert_close(model(inputs), layer(inputs), rtol=0, atol=1e-14)


def test_an_image_is_the_sequence_of_its_numbers():
    model, images = classifier(12, 3), normal(5, 1, 3, 4)
    assert model(images).equal(model(images.reshape(5, 12)))
    assert model(images[:0]).shape == (0, 3)


def test_an_example_does_not_depend_on_its_batch_mates():
    model, inputs = classifier(6, 3), normal(8, 6)
    assert_close(model(inputs), torch.cat([model(row[None]) for row in inputs]), rtol=0, atol=1e-14)


# The pipeline: scores, softmax, cross-entropy


def test_all_weights_start_at_zero_where_the_loss_is_the_logarithm_of_the_number_of_classes():
    model = LogisticClassifier(784, 10)
    assert not any(parameter.any() for parameter in model.parameters())
    assert cross_entropy(model(normal(50, 784).float()), labels(50, 10)).item() == pytest.approx(math.log(10))
    trained = classifier(6, 3)
    trained.reset_parameters()
    assert not any(parameter.any() for parameter in trained.parameters())


def test_the_gradient_is_that_worked_out_by_hand():
    model, inputs, targets = classifier(5, 3), normal(7, 5), labels(7, 3)
    cross_entropy(model(inputs), targets).backward()
    expected = reference.classifier_gradient(
        model.weight.tolist(), model.bias.tolist(), inputs.tolist(), targets.tolist()
    )
    for parameter, gradient in zip((model.weight, model.bias), expected, strict=True):
        assert_close(parameter.grad, torch.tensor(gradient, dtype=torch.float64), rtol=0, atol=1e-14)


def test_the_pipeline_is_torchs_linear_layer_and_cross_entropy_in_value_and_in_training():
    ours, inputs, targets = classifier(5, 3), normal(40, 5), labels(40, 3)
    theirs = linear_like(ours)
    mine = descend(ours, inputs, targets, 50, 0.5)
    reference_losses = descend(theirs, inputs, targets, 50, 0.5, F.cross_entropy, torch.optim.SGD)
    assert mine == pytest.approx(reference_losses, rel=1e-12)
    assert mine[-1] < mine[0] - 0.1
    assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-12)


def test_gradient_descent_at_one_over_the_curvature_never_raises_the_loss():
    inputs, targets = normal(40, 5) * 3, labels(40, 3)
    with_ones = torch.cat([inputs, torch.ones(40, 1, dtype=torch.float64)], 1)
    curvature = torch.linalg.eigvalsh(with_ones.T @ with_ones / (2 * 40)).max().item()
    losses = descend(LogisticClassifier(5, 3, dtype=torch.float64), inputs, targets, 100, 1 / curvature)
    assert losses[0] == pytest.approx(math.log(3))
    assert all(later < earlier for earlier, later in pairwise(losses))
    too_large = descend(LogisticClassifier(5, 3, dtype=torch.float64), inputs, targets, 100, 20 / curvature)
    assert any(later > earlier for earlier, later in pairwise(too_large))


# A trainer ready to call


def blobs(count, apart, seed=0):
    """Two clouds of standard deviation 1, whose centres are 2 · apart from each other."""
    targets = labels(count, 2, seed)
    inputs = normal(count, 2, seed=seed + 1_000)
    inputs[:, 0] += apart * (2.0 * targets - 1)
    return inputs.float(), targets


def test_training_starts_at_the_logarithm_of_two_and_learns_what_can_be_learnt():
    model, examples = LogisticClassifier(2, 2), blobs(200, apart=10.0)
    losses = train_classifier(model, examples, generator=chance(), steps=100)
    assert len(losses) == 100
    assert losses[0] == pytest.approx(math.log(2))
    assert losses[-1] < 0.01
    assert accuracy(model, examples) == 1.0


def test_training_is_sgd_with_momentum_on_the_cross_entropy_of_minibatches():
    examples, settings = blobs(100, apart=1.0), {"lr": 0.3, "momentum": 0.8, "weight_decay": 0.05}
    ours = LogisticClassifier(2, 2)
    losses = train_classifier(ours, examples, generator=chance(3), steps=40, batch_size=30, **settings)
    theirs = nn.Linear(2, 2, device="meta").to_empty(device="cpu")
    nn.init.zeros_(theirs.weight)
    nn.init.zeros_(theirs.bias)
    optimizer, batches = torch.optim.SGD(theirs.parameters(), **settings), Minibatches(examples, 30, chance(3))
    for found, (inputs, targets) in zip(losses, batches, strict=False):
        optimizer.zero_grad()
        loss = F.cross_entropy(theirs(inputs), targets)
        loss.backward()
        optimizer.step()
        assert found == pytest.approx(loss.item(), abs=1e-5)
    assert_close(ours.weight, theirs.weight, rtol=0, atol=1e-5)


def test_the_same_generator_gives_the_same_bits_and_another_one_others():
    def weights(seed):
        model = LogisticClassifier(2, 2)
        train_classifier(model, blobs(100, apart=1.0), generator=chance(seed), steps=20, batch_size=10)
        return model.weight

    assert weights(0).equal(weights(0))
    assert not weights(0).equal(weights(1))


def test_a_batch_is_all_examples_where_there_are_fewer():
    examples = blobs(10, apart=1.0)
    model = LogisticClassifier(2, 2)
    losses = train_classifier(model, examples, generator=chance(), steps=5, batch_size=128, momentum=0.0)
    assert losses == pytest.approx(descend(LogisticClassifier(2, 2), *examples, 5, 0.1)[:-1], abs=1e-6)


def test_training_puts_the_model_in_training_mode():
    model = LogisticClassifier(2, 2).eval()
    train_classifier(model, blobs(10, apart=1.0), generator=chance(), steps=1)
    assert model.training


def test_training_that_diverges_says_so():
    inputs, targets = blobs(20, apart=1.0)
    with pytest.raises(DivergedError, match="at step 2 "):
        train_classifier(LogisticClassifier(2, 2), (inputs * 1e30, targets), generator=chance(), lr=1e10)


# Contracts


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_weights_and_the_scores_have_the_dtype_asked_for(dtype):
    model = LogisticClassifier(4, 3, dtype=dtype)
    assert model.weight.dtype == model.bias.dtype == model(torch.ones(2, 4, dtype=dtype)).dtype == dtype
    assert LogisticClassifier(4, 3).weight.dtype == torch.get_default_dtype()


def test_autocast_may_choose_another_dtype():
    model = LogisticClassifier(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.ones(2, 4)).dtype == torch.bfloat16
        assert model(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_copy_is_another_classifier_with_the_same_weights():
    model, inputs = classifier(4, 3), normal(2, 4)
    before, twin = model(inputs), copy.deepcopy(model)
    model.reset_parameters()
    assert twin(inputs).equal(before)
    assert not model(inputs).any()


# Errors


@pytest.mark.parametrize(("features", "classes"), [(0, 3), (3, 0), (-1, 3)])
def test_sizes_below_one_are_refused(features, classes):
    with pytest.raises(ValueError, match=f"features and classes must be 1 or more, not {features} and {classes}"):
        LogisticClassifier(features, classes)


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 4), (4,), (), (4, 1, 1)])
def test_inputs_without_the_right_number_of_features_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(N, \*\) with 4 numbers an example, not \("):
        LogisticClassifier(4, 3)(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_inputs_of_another_dtype_than_the_weights_are_refused(dtype):
    with pytest.raises(TypeError, match=f"inputs must be torch.float32 as the weights are, not {dtype}"):
        LogisticClassifier(4, 3)(torch.zeros(2, 4, dtype=dtype))


# Statistics


def test_training_leads_from_chance_to_nearly_the_best_that_two_clouds_allow(seed):
    examples, unseen = blobs(2_000, apart=1.0, seed=seed), blobs(10_000, apart=1.0, seed=seed + 100)
    model = LogisticClassifier(2, 2)
    assert abs(accuracy(model, unseen) - 0.5) < 5 * math.sqrt(0.25 / 10_000)
    train_classifier(model, examples, generator=chance(seed), steps=200, lr=0.05)
    best = 0.5 * (1 + math.erf(1 / math.sqrt(2)))  # the part of a cloud on its own side of the middle: 0.841
    assert abs(accuracy(model, unseen) - best) < 5 * math.sqrt(best * (1 - best) / 10_000)


def test_arrays_of_numpy_are_refused():
    with pytest.raises(
        TypeError, match=r"^inputs must be a tensor, not a NumPy array: make it one by torch\.from_numpy"
    ):
        LogisticClassifier(3, 2)(np.ones((5, 3), np.float32))


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")
def test_sparse_inputs_have_the_scores_and_gradients_of_dense_ones(layout):
    sparse, dense = LogisticClassifier(4, 3), LogisticClassifier(4, 3)
    inputs, targets = torch.eye(4)[[0, 2, 2, 3]], torch.tensor([0, 1, 2, 0])
    for model, laid_out in ((sparse, inputs.to_sparse(layout=layout)), (dense, inputs)):
        cross_entropy(model(laid_out), targets).backward()
    torch.testing.assert_close(sparse.weight.grad, dense.weight.grad)


def test_the_scores_lie_in_memory_as_those_of_torch():
    assert (
        LogisticClassifier(4, 3)(torch.ones(5, 4)).stride()
        == nn.utils.skip_init(nn.Linear, 4, 3)(torch.ones(5, 4)).stride()
    )
