"""Gradient descent in place: the steps of autograd and of PyTorch's SGD."""

import pytest
import torch

from dlnotes.deep import MLP, backpropagate, descend
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import stream

SHAPES = ([5, 4, 6, 3], [5, 4, 3], [5, 3])


def network(*widths, dtype=torch.float64):
    model = MLP(widths, generator=stream(0, "weights"), dtype=dtype)
    with torch.no_grad():  # biases that are zero would hide what is done with them
        for layer in model.layers:
            layer.bias.normal_(generator=stream(1, "biases"))
    return model


def batch(outputs=3, dtype=torch.float64):
    chance = stream(2, "batch")
    inputs = torch.randn(8, 5, generator=chance, dtype=dtype)
    return inputs, torch.randint(outputs, (8,), generator=chance)


def zeros(model):
    return [torch.zeros_like(parameter) for parameter in model.parameters()]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("widths", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["class numbers", "bytes", "soft", "weighted"])
def test_fifteen_steps_are_those_of_autograd_and_torchs_sgd(widths, momentum, kind, device):
    model, twin = network(*widths).to(device), network(*widths).to(device)
    inputs, targets = (tensor.to(device) for tensor in batch())
    soft = torch.randn(8, 3, generator=stream(3, "labels"), dtype=torch.float64).to(device).softmax(1)
    targets = {
        "class numbers": targets,
        "bytes": targets.byte(),
        "soft": soft,
        "weighted": soft * torch.arange(8, device=device)[:, None],
    }[kind]
    optimizer, velocities = torch.optim.SGD(twin.parameters(), lr=0.3, momentum=momentum), zeros(model)
    for _ in range(15):
        optimizer.zero_grad()
        loss = cross_entropy(twin(inputs), targets if targets.is_floating_point() else targets.long())
        loss.backward()
        optimizer.step()
        found = descend(model, inputs, targets, lr=0.3, momentum=momentum, velocities=velocities)
        torch.testing.assert_close(found, loss.detach(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()), rtol=1e-10, atol=1e-11)
    assert not torch.equal(model.layers[0].weight.cpu(), network(*widths).layers[0].weight)
    if momentum:
        expected = [optimizer.state[parameter]["momentum_buffer"] for parameter in twin.parameters()]
        torch.testing.assert_close(velocities, expected, rtol=1e-10, atol=1e-11)


def test_rate_and_momentum_may_change_from_step_to_step():
    model, twin = network(5, 4, 3), network(5, 4, 3)
    optimizer, velocities = SGD(twin.parameters(), lr=0.0, momentum=0.5), zeros(model)
    for number in range(12):
        lr, momentum = 0.1 * number, 0.9 if number % 3 else 0.0
        optimizer.param_groups[0].update(lr=lr, momentum=momentum)
        backpropagate(twin, *batch())
        optimizer.step()
        descend(model, *batch(), lr=lr, momentum=momentum, velocities=velocities)
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()), rtol=1e-11, atol=1e-12)


def test_nothing_but_weights_and_velocities_is_written_to():
    model, (inputs, targets) = network(5, 4, 3), batch()
    before = inputs.clone(), targets.clone()
    loss = descend(model, inputs, targets, lr=0.1, momentum=0.9, velocities=zeros(model))
    assert torch.equal(inputs, before[0])
    assert torch.equal(targets, before[1])
    assert not loss.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_rectifier_passes_nothing_back_where_it_was_off_even_what_is_not_finite():
    """As autograd's: what comes from above may be nan or inf, and 0 · inf would be nan."""
    models = network(2, 2, 2), network(2, 2, 2)
    for model in models:
        with torch.no_grad():
            model.layers[0].weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
            model.layers[0].bias.zero_()
            model.layers[1].weight.copy_(torch.tensor([[1e308, 1.0], [-1e308, 1.0]]))
    inputs, targets = torch.ones(1, 2, dtype=torch.float64), torch.tensor([0])
    descend(models[0], inputs, targets, lr=10.0)
    cross_entropy(models[1](inputs), targets).backward()
    off = models[1].layers[0].weight.grad[0]
    assert not off.any()
    assert torch.equal(models[0].layers[0].weight[0], models[1].layers[0].weight[0])


def test_a_batch_without_examples_is_refused_before_anything_moves():
    model = network(5, 4, 3)
    with pytest.raises(ValueError, match=r"N and K of 1 or more, not \(0, 3\)"):
        descend(model, torch.zeros(0, 5, dtype=torch.float64), torch.zeros(0, dtype=torch.long), lr=0.1)
    torch.testing.assert_close(list(model.parameters()), list(network(5, 4, 3).parameters()), rtol=0, atol=0)


def test_the_mode_of_gradients_does_not_matter():
    losses = []
    for mode in (torch.enable_grad(), torch.no_grad()):
        model = network(5, 4, 3)
        with mode:
            losses.append([descend(model, *batch(), lr=0.1).item() for _ in range(3)])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("lr", [-0.1, float("nan"), float("inf")])
def test_a_rate_that_goes_uphill_is_refused(lr):
    with pytest.raises(ValueError, match="learning rate must be 0 or larger"):
        descend(network(5, 4, 3), *batch(), lr=lr)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_momentum_that_never_ends_is_refused(momentum):
    with pytest.raises(ValueError, match="momentum must be from 0 to below 1"):
        descend(network(5, 4, 3), *batch(), lr=0.1, momentum=momentum)


@pytest.mark.parametrize("name", ["lr", "momentum"])
@pytest.mark.parametrize("value", ["0.1", None, True])
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be a number, not {type(value).__name__}"):
        descend(network(5, 4, 3), *batch(), **{"lr": 0.1, name: value})


def mixed(model):
    return [velocity.float() if velocity.ndim == 1 else velocity for velocity in zeros(model)]


@pytest.mark.parametrize("given", [None, [], lambda model: zeros(model)[:3], lambda model: zeros(model)[::-1], mixed])
def test_momentum_without_the_velocities_it_needs_is_refused(given):
    model = network(5, 4, 3)
    velocities = given(model) if callable(given) else given
    with pytest.raises(ValueError, match=r"velocities, a list of a tensor for each parameter .* Expected .*, came"):
        descend(model, *batch(), lr=0.1, momentum=0.9, velocities=velocities)
    torch.testing.assert_close(list(model.parameters()), list(network(5, 4, 3).parameters()), rtol=0, atol=0)
