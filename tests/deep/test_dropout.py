"""Dropout: what is dropped, how the rest is scaled, and who draws the masks."""

import copy
import math
from itertools import islice

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from dlnotes.deep import MLP, Dropout
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, load_checkpoint, save_checkpoint

SCALED = ("training", "evaluation")


def dropout(p=0.5, seed=0, **settings):
    return Dropout(p, generator=stream(seed, "masks"), **settings)


@pytest.mark.parametrize(("scaled", "kept", "evaluated"), [("training", 4.0, 1.0), ("evaluation", 1.0, 0.25)])
def test_what_is_kept_has_the_scale_of_its_reading(scaled, kept, evaluated):
    layer, ones = dropout(0.75, scaled=scaled), torch.ones(1_000)
    assert sorted(set(layer(ones).tolist())) == [0.0, kept]
    assert torch.equal(layer.eval()(ones), ones * evaluated)


@pytest.mark.parametrize("scaled", SCALED)
def test_the_ends_keep_all_and_nothing(scaled):
    x = torch.randn(50, generator=stream(0, "x"))
    assert torch.equal(dropout(0, scaled=scaled)(x), x)
    assert torch.equal(dropout(0, scaled=scaled).eval()(x), x)
    assert torch.equal(dropout(1, scaled=scaled)(x), torch.zeros(50))
    assert dropout(1, scaled="evaluation").eval()(x).abs().sum() == 0


def test_without_dropout_or_in_evaluation_nothing_is_drawn():
    for layer in (dropout(0), dropout(0.5).eval()):
        before = layer.generator.get_state()
        layer(torch.ones(9))
        assert torch.equal(layer.generator.get_state(), before)


def test_gradients_pass_where_activations_pass():
    x = torch.ones(200, requires_grad=True)
    y = dropout(0.75)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("scaled", SCALED)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_dropped_is_zero_whatever_it_was_and_so_is_its_gradient(value, scaled, dtype):
    dropped = dropout(scaled=scaled)(torch.ones(100)) == 0
    x = torch.full((100,), value, dtype=dtype, requires_grad=True)
    y = dropout(scaled=scaled)(x)
    y.backward(torch.full((100,), value, dtype=dtype))
    for found in (y.detach(), x.grad):
        assert not found[dropped].any()
        torch.testing.assert_close(found[~dropped], x.detach()[~dropped], equal_nan=True)
    for mode in (True, False):
        assert not dropout(1, scaled="evaluation").train(mode)(x).any()


def test_the_gradient_has_a_gradient():
    x = torch.randn(20, generator=stream(0, "x"), dtype=torch.float64).requires_grad_()
    assert gradcheck(lambda x: dropout(0.3)(x) * x, x)
    ones = torch.ones(20, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda x: dropout(0.3)(x) * x, x, ones)


@pytest.mark.parametrize("p", [0.15, 1 / 3, 0.87])
def test_masks_and_scale_are_those_of_a_product_bit_for_bit(p):
    x = torch.randn(100_000, generator=stream(0, "x"))
    mask = (torch.rand(100_000, generator=stream(0, "masks")) < 1 - p).float()
    assert torch.equal(dropout(p)(x), x * (mask / (1 - p)))
    assert torch.equal(dropout(p, scaled="evaluation")(x), x * mask)


def test_masks_come_from_their_own_generator_and_go_on():
    state, x = torch.get_rng_state(), torch.ones(100)
    layer = dropout()
    first, second = layer(x), layer(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(dropout()(x), first)
    assert not torch.equal(first, second)
    assert not torch.equal(dropout(seed=1)(x), first)


def test_masks_do_not_depend_on_the_default_dtype():
    x = torch.ones(100)
    expected = dropout()(x)
    try:
        torch.set_default_dtype(torch.float64)
        assert torch.equal(dropout()(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_training_that_keeps_the_generator_goes_on_with_the_same_masks(tmp_path):
    inputs, targets = torch.randn(20, 4, generator=stream(0, "x")), torch.arange(20) % 3

    def training():
        masks = stream(0, "masks")
        model = MLP([4, 8, 3], generator=stream(0, "weights"), dropout=0.5, masks=masks)
        batches = Minibatches((inputs, targets), 5, stream(0, "batches"))
        optimizer = SGD(model.parameters(), lr=0.1)
        return Trainer(model, cross_entropy, optimizer, batches, generators={"masks": masks})

    whole = [step.loss for step in islice(training(), 7)]
    begun = training()
    first = [step.loss for step in islice(begun, 3)]
    save_checkpoint(tmp_path / "run.pt", begun.state_dict())
    resumed = training()
    resumed.load_state_dict(load_checkpoint(tmp_path / "run.pt"))
    assert first + [step.loss for step in islice(resumed, 4)] == whole


def test_a_copy_goes_on_with_the_same_masks():
    layer = dropout()
    layer(torch.ones(9))
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(torch.ones(99)), layer(torch.ones(99)))


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_each_entry_of_each_example_and_call_is_dropped_with_probability_p(p, seed):
    layer, calls, examples, units = dropout(p, seed), 40, 50, 20
    dropped = torch.stack([layer(torch.ones(examples, units)) == 0 for _ in range(calls)]).double()
    deviation = math.sqrt(p * (1 - p))
    assert abs(dropped.mean().item() - p) < 5 * deviation / math.sqrt(dropped.numel())
    for means in (dropped.mean(0), dropped.mean(1), dropped.mean(2)):  # no favourites among them
        count = dropped.numel() / means.numel()
        assert (means - p).abs().max().item() < 6.5 * deviation / math.sqrt(count) + 1 / count
    centred = (dropped - p) / deviation
    for products in (  # neighbours in call, example and unit have nothing to do with each other
        centred[1:] * centred[:-1],
        centred[:, 1:] * centred[:, :-1],
        centred[..., 1:] * centred[..., :-1],
    ):
        assert abs(products.mean().item()) < 5 / math.sqrt(products.numel())


@pytest.mark.parametrize("scaled", SCALED)
def test_the_mean_over_masks_is_the_output_in_evaluation(scaled, seed):
    layer, x = dropout(0.3, seed, scaled=scaled), torch.full((100_000,), 2.0)
    trained = layer(x)
    expected = layer.eval()(x).mean().item()
    assert abs(trained.mean().item() - expected) < 5 * trained.std().item() / math.sqrt(len(x))


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_a_probability_outside_0_to_1_is_refused(p):
    with pytest.raises(ValueError, match=f"must be from 0 to 1, not {p}"):
        dropout(p)
    for masks in (stream(0, "masks"), None):
        with pytest.raises(ValueError, match=f"must be from 0 to 1, not {p}"):
            MLP([3, 3, 2], generator=stream(0, "weights"), dropout=p, masks=masks)


def test_arrays_of_numpy_are_refused():
    for layer in (dropout(), dropout(0), dropout().eval()):
        with pytest.raises(
            TypeError, match=r"^inputs must be a tensor, not a NumPy array: make it one by torch\.from_nump"
        ):
            layer(np.ones(3))


def test_other_settings_that_make_no_sense_are_refused():
    with pytest.raises(TypeError, match="must be a number from 0 to 1, not str"):
        dropout("0.5")
    with pytest.raises(TypeError, match="must be a number from 0 to 1, not bool"):
        dropout(True)
    with pytest.raises(TypeError, match=r"must be a torch\.Generator"):
        Dropout(0.5, generator=0)
    with pytest.raises(ValueError, match="not 'never'"):
        dropout(scaled="never")
    with pytest.raises(ValueError, match="needs masks"):
        MLP([3, 3, 2], generator=stream(0, "weights"), dropout=0.5)
    with pytest.raises(TypeError, match="must be a number from 0 to 1, not str"):
        MLP([3, 3, 2], generator=stream(0, "weights"), dropout="0.5")


def test_a_network_drops_hidden_activations_alone():
    layers = {"generator": stream(0, "weights"), "dropout": 1.0, "masks": stream(0, "masks")}
    model, x = MLP([3, 5, 4, 2], **layers), torch.ones(6, 3)
    model.layers[-1].bias.data = torch.tensor([1.0, -1.0])
    assert torch.equal(model(x), torch.tensor([[1.0, -1.0]]).expand(6, 2))  # nothing arrives but the last bias
    assert not torch.equal(model.eval()(x), model.train()(x))
    flat = MLP([3, 2], generator=stream(0, "weights"), dropout=1.0, masks=stream(0, "masks"))
    assert torch.equal(flat(x), flat.eval()(x))  # without a hidden layer there is nothing to drop


def test_a_network_with_dropout_in_evaluation_is_the_one_without():
    x = torch.ones(6, 3)
    without = MLP([3, 5, 2], generator=stream(0, "weights"))
    with_it = MLP([3, 5, 2], generator=stream(0, "weights"), dropout=0.5, masks=stream(0, "masks"))
    assert torch.equal(with_it.eval()(x), without(x))
    assert not torch.equal(with_it.train()(x), without(x))
    assert with_it.state_dict().keys() == without.state_dict().keys()
