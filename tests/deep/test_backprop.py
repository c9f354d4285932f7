"""Back-propagation by hand: equal to autograd, to central differences, and to numbers worked on paper."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dlnotes.deep import MLP, Layer, affine, backpropagate, backward, descend, forward, layers_of, relu, sigmoid, tanh
from dlnotes.linear import SGD
from dlnotes.randomness import stream

ACTIVATIONS = {"relu": (relu, torch.relu), "sigmoid": (sigmoid, torch.sigmoid), "tanh": (tanh, torch.tanh)}


def draw(*shape, purpose="inputs"):
    return torch.randn(shape, generator=stream(0, purpose), dtype=torch.float64)


def chain(activation, widths=(5, 4, 6, 3)):
    layers = []
    for number, (before, after) in enumerate(pairwise(widths)):
        layers += [activation()] * (number > 0)
        layers.append(affine(draw(after, before, purpose=f"weight {number}"), draw(after, purpose=f"bias {number}")))
    return layers


def network(*widths, **settings):
    model = MLP(widths, generator=stream(0, "weights"), dtype=torch.float64, **settings)
    for number, layer in enumerate(model.layers):
        layer.bias.data = draw(len(layer.bias), purpose=f"bias {number}")
    return model


def batch(classes=3):
    targets = torch.randint(classes, (8,), generator=stream(0, "targets"))
    return draw(8, 5), targets


def test_a_chain_worked_on_paper():
    layers = [affine(torch.tensor([[2.0]]), torch.tensor([1.0])), tanh(), affine(torch.tensor([[3.0]]), torch.zeros(1))]
    x = torch.tensor([[-0.5]])  # 2 · (-1/2) + 1 = 0, where tanh has the slope 1
    slope, (first, middle, last) = backward(layers, forward(layers, x), torch.ones(1, 1))
    assert slope.item() == 6.0  # 3 · 1 · 2
    assert [one.item() for one in first] == [-1.5, 3.0]
    assert middle == ()
    assert [one.item() for one in last] == [0.0, 1.0]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_all_gradients_are_autograds(name):
    ours, theirs = ACTIVATIONS[name]
    layers = chain(ours)
    x, weight = draw(7, 5).requires_grad_(), draw(7, 3, purpose="loss")
    parameters = [one.clone().requires_grad_() for layer in layers for one in layer.parameters]
    y = x
    for place in range(0, 6, 2):
        y = (theirs(y) if place else y) @ parameters[place].T + parameters[place + 1]
    expected = torch.autograd.grad((y * weight).sum(), [x, *parameters])
    slope, gradients = backward(layers, forward(layers, x.detach()), weight)
    torch.testing.assert_close([slope, *(one for layer in gradients for one in layer)], list(expected))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_all_gradients_are_central_differences(name):
    layers = chain(ACTIVATIONS[name][0], (3, 4, 2))
    x, weight, step = draw(6, 3), draw(6, 2, purpose="loss"), 1e-6
    _, gradients = backward(layers, forward(layers, x), weight)
    for layer, found in zip(layers, gradients, strict=True):
        for parameter, gradient in zip(layer.parameters, found, strict=True):
            for place in range(parameter.numel()):
                ends = []
                for change in (step, -2 * step):
                    parameter.view(-1)[place] += change
                    ends.append((forward(layers, x)[-1] * weight).sum().item())
                parameter.view(-1)[place] += step
                assert gradient.reshape(-1)[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


def test_activations_are_what_the_layers_hand_on_and_lead_to_the_same_outputs():
    layers = chain(relu)
    activations = forward(layers, draw(7, 5))
    assert [one.shape[1] for one in activations] == [5, 4, 4, 6, 6, 3]
    for number in range(len(layers)):
        assert torch.equal(forward(layers[number:], activations[number])[-1], activations[-1])


def test_activations_of_another_chain_are_refused():
    layers = chain(relu)
    with pytest.raises(ValueError, match=r"5 layers have 6 activations.*not 3"):
        backward(layers, forward(layers[:2], draw(7, 5)), draw(7, 3))


SOFT = draw(8, 3, purpose="soft").softmax(1)
WEIGHTED = SOFT * torch.arange(8)[:, None] / 4  # examples that count for more and for less, one of them for nothing


@pytest.mark.parametrize(
    "targets", [batch()[1], batch()[1].byte(), SOFT, WEIGHTED], ids=["int64", "uint8", "soft", "weighted"]
)
def test_a_networks_gradients_are_autograds_and_replace_what_was_there(targets):
    model, inputs = network(5, 4, 6, 3), batch()[0].requires_grad_()
    for _ in range(2):
        loss = backpropagate(model, inputs, targets)
    assert not loss.requires_grad
    assert inputs.grad is None
    found = [parameter.grad for parameter in model.parameters()]
    expected_loss = cross_entropy(model(inputs), targets if targets.is_floating_point() else targets.long())
    expected = torch.autograd.grad(expected_loss, list(model.parameters()))
    torch.testing.assert_close([loss, *found], [expected_loss.detach(), *expected])
    assert all(gradient.any() for gradient in found)


def test_twelve_steps_by_hand_are_twelve_steps_of_autograd_and_torchs_sgd():
    twin, model = network(5, 4, 6, 3), network(5, 4, 6, 3)
    inputs, targets = batch()
    theirs, ours = torch.optim.SGD(twin.parameters(), lr=0.3), SGD(model.parameters(), lr=0.3)
    for _ in range(12):
        theirs.zero_grad()
        loss = cross_entropy(twin(inputs), targets)
        loss.backward()
        theirs.step()
        torch.testing.assert_close(backpropagate(model, inputs, targets), loss.detach())
        ours.step()
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()))
    assert not torch.equal(model.layers[0].weight, network(5, 4, 6, 3).layers[0].weight)


def flat(layers):
    return [one for layer in layers for one in layer.parameters]


def copied(layers):
    return copy.deepcopy(layers)


def pickled(layers):
    return pickle.loads(pickle.dumps(layers))


@pytest.mark.parametrize("duplicate", [copied, pickled])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_copy_of_layers_learns_by_itself_and_as_the_original_would(name, duplicate):
    layers = chain(ACTIVATIONS[name][0])
    twin, before = duplicate(layers), [one.clone() for one in flat(layers)]
    activations = forward(twin, draw(7, 5))
    assert torch.equal(activations[-1], forward(layers, draw(7, 5))[-1])
    gradient = draw(7, 3, purpose="loss")
    _, gradients = backward(twin, activations, gradient)
    for learned, slope in zip(twin[-1].parameters, gradients[-1], strict=True):
        learned.sub_(0.1 * slope)
    assert all(torch.equal(one, was) for one, was in zip(flat(layers), before, strict=True))
    expected = [was - 0.1 * slope for was, slope in zip(layers[-1].parameters, gradients[-1], strict=True)]
    assert torch.equal(forward(twin[-1:], activations[-2])[-1], forward([affine(*expected)], activations[-2])[-1])


def test_layers_of_your_own_without_gradients_pass_them_on_and_learn_nothing():
    shift = Layer(shifted, passed, (torch.ones(3),))
    assert shift.gradients(torch.ones(2, 3), torch.ones(2, 3)) == ()
    assert torch.equal(forward([copied(shift)], torch.zeros(2, 3))[-1], torch.ones(2, 3))


def shifted(x, offset):
    return x + offset


def passed(gradient, x, y, offset):
    return gradient


def test_images_are_flattened_as_the_network_does():
    model = network(4, 3, 2)
    images, targets = draw(6, 1, 2, 2), torch.zeros(6, dtype=torch.long)
    assert torch.equal(backpropagate(model, images, targets), backpropagate(model, images.flatten(1), targets))


def test_the_layers_have_the_networks_own_weights():
    model = network(5, 4, 3)
    layers = layers_of(model)
    assert torch.equal(forward(layers, draw(7, 5))[-1], model(draw(7, 5)))
    model.layers[0].weight.data.zero_()
    assert not layers[0].parameters[0].any()


def test_dropout_is_refused_in_training_and_does_not_matter_in_evaluation():
    model = network(5, 4, 3, dropout=0.5, masks=stream(0, "masks"))
    for mode in (model.train(), model.eval()):
        mode.dropout.train()  # also where only the masks go on, to average over them
        with pytest.raises(ValueError, match=r"dropout of 0\.5"):
            backpropagate(model, *batch())
    torch.testing.assert_close(
        backpropagate(model.eval(), *batch()), backpropagate(network(5, 4, 3), *batch()), rtol=0, atol=0
    )


def test_dropout_does_not_matter_where_there_is_nothing_to_drop():
    model = network(5, 3, dropout=0.5, masks=stream(0, "masks"))
    assert torch.equal(backpropagate(model, *batch()), backpropagate(network(5, 3), *batch()))


def shared(model):
    model.layers[2] = model.layers[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.layers[0].requires_grad_(False),
        lambda model: model.layers[0].register_parameter("bias", None),
        lambda model: nn.utils.parametrizations.weight_norm(model.layers[0]),
        shared,
    ],
    ids=["frozen", "missing", "made", "shared"],
)
def test_layers_that_do_not_learn_by_themselves_are_refused(change):
    model = network(5, 5, 5, 5)
    change(model)
    before = [parameter.clone() for parameter in model.parameters()]
    for step in (backpropagate, lambda *given: descend(*given, lr=0.1)):
        with pytest.raises(ValueError, match="a weight and a bias of its own"):
            step(model, *batch(5))
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), before, strict=True))


def test_other_networks_are_refused():
    with pytest.raises(TypeError, match="layers of an MLP, not those of Sequential"):
        layers_of(nn.Sequential())
    with pytest.raises(ValueError, match=r"bias \(outputs\), not \(3, 2\) and \(1,\)"):
        affine(torch.ones(3, 2), torch.ones(1))


@pytest.mark.parametrize("targets", [torch.full((8,), 3), torch.full((8,), -1)])
def test_targets_out_of_range_are_refused(targets):
    with pytest.raises(ValueError, match="0 to 2"):
        backpropagate(network(5, 4, 3), batch()[0], targets)


def test_arrays_of_numpy_are_refused():
    inputs, targets = batch()
    for step in (backpropagate, lambda *given: descend(*given, lr=0.1)):
        with pytest.raises(TypeError, match=r"^inputs must be a tensor, not a NumPy array"):
            step(network(5, 4, 3), inputs.numpy(), targets)
        with pytest.raises(TypeError, match=r"^targets must be a tensor, not a NumPy array"):
            step(network(5, 4, 3), inputs, targets.numpy())
    with pytest.raises(TypeError, match=r"^weight must be a tensor, not a NumPy array"):
        affine(np.ones((2, 2)), torch.ones(2))
    with pytest.raises(TypeError, match=r"^bias must be a tensor, not list"):
        affine(torch.ones(1, 2), [1.0])


def test_nothing_is_left_for_autograd():
    model, (inputs, targets) = network(5, 4, 3), batch()
    assert not backpropagate(model, inputs.requires_grad_(), targets).requires_grad
    assert not descend(model, inputs, targets, lr=0.1).requires_grad
    assert all(not parameter.grad.requires_grad for parameter in model.parameters())
    assert all(isinstance(one, nn.Parameter) and one.requires_grad for one in model.parameters())
