"""Sweeps: each model ends where it would have ended alone."""

import math
from itertools import islice, repeat

import pytest
import torch
from torch import nn

from dlnotes.deep import MLP, Dropout
from dlnotes.linear import SGD, AdaGrad, LogisticClassifier, cosine_decay, cross_entropy
from dlnotes.randomness import stream
from dlnotes.sweeps import Sweep
from dlnotes.training import DivergedError, Minibatches, Trainer, load_checkpoint, save_checkpoint

RATES = (0.01, 0.1, 1.0)


def problem(examples=40):
    chance = stream(0, "problem")
    inputs = torch.randn(examples, 6, generator=chance, dtype=torch.float64)
    return inputs, torch.randint(3, (examples,), generator=chance)


def networks(count=3):
    return [MLP([6, 5, 3], generator=stream(seed, "weights"), dtype=torch.float64) for seed in range(count)]


def batches():
    return Minibatches(problem(), 7, stream(0, "batches"))


def groups(models, **settings):
    """A parameter group for each model, with the settings that it has for itself."""
    return [
        {"params": list(model.parameters()), **{name: values[place] for name, values in settings.items()}}
        for place, model in enumerate(models)
    ]


def alone(model, optimizer, steps, schedule=None):
    scheduler = schedule(optimizer) if schedule else None
    trainer = Trainer(model, cross_entropy, optimizer, batches(), scheduler=scheduler)
    return [step.loss for step in islice(trainer, steps)]


@pytest.mark.parametrize("kind", [SGD, AdaGrad, torch.optim.SGD, torch.optim.Adam])
def test_each_model_ends_where_it_would_have_ended_alone(kind):
    models, twins = networks(), networks()
    sweep = Sweep(models, cross_entropy, kind(groups(models, lr=RATES), lr=0.5), batches())
    losses = [step.losses for step in islice(sweep, 30)]
    expected = [alone(twin, kind(twin.parameters(), lr=lr), 30) for twin, lr in zip(twins, RATES, strict=True)]
    torch.testing.assert_close(torch.tensor(losses).T, torch.tensor(expected), rtol=1e-9, atol=1e-11)
    for model, twin, first in zip(models, twins, networks(), strict=True):
        for one, other, start in zip(model.parameters(), twin.parameters(), first.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
            assert not torch.equal(one, start)


def test_a_sweep_of_one_is_a_trainer_that_goes_on_from_a_loss_that_is_not_finite():
    (model,), (twin,) = networks(1), networks(1)
    sweep = Sweep([model], cross_entropy, SGD(model.parameters(), lr=0.1, momentum=0.9), batches())
    expected = alone(twin, SGD(twin.parameters(), lr=0.1, momentum=0.9), 15)
    assert [step.losses for step in islice(sweep, 15)] == [[loss] for loss in expected]
    (model,) = networks(1)
    sweep = Sweep([model], cross_entropy, SGD(model.parameters(), lr=1e200), batches())
    losses = [step.losses[0] for step in islice(sweep, 9)]
    assert math.isfinite(losses[0])
    assert all(math.isnan(loss) for loss in losses[5:])
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_whatever_a_group_holds_may_differ_and_a_scheduler_falls_for_all():
    def schedule(optimizer):
        return cosine_decay(optimizer, 20)

    momenta, penalties = (0.0, 0.5, 0.9), (0.1, 0.0, 0.01)
    models, twins = networks(), networks()
    optimizer = SGD(groups(models, momentum=momenta, weight_decay=penalties), lr=0.1)
    for _ in islice(Sweep(models, cross_entropy, optimizer, batches(), scheduler=schedule(optimizer)), 15):
        pass
    for model, twin, beta, penalty in zip(models, twins, momenta, penalties, strict=True):
        alone(twin, SGD(twin.parameters(), lr=0.1, momentum=beta, weight_decay=penalty), 15, schedule)
        torch.testing.assert_close(list(model.parameters()), list(twin.parameters()), rtol=1e-9, atol=1e-11)


def test_a_second_slice_goes_on_and_a_sweep_ends_with_its_batches():
    models = networks()
    sweep = Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), islice(batches(), 5))
    assert [step.number for step in islice(sweep, 2)] == [1, 2]
    assert [step.number for step in sweep] == [3, 4, 5]
    assert "3 × MLP" in repr(sweep)


def test_a_model_that_diverges_keeps_its_last_weights_and_disturbs_no_other():
    rates = (0.1, 1e200, 0.1)
    models, twins = networks(), networks()
    sweep = Sweep(models, cross_entropy, SGD(groups(models, lr=rates), lr=0.1, momentum=0.9), batches())
    losses = [step.losses for step in islice(sweep, 20)]
    with pytest.raises(DivergedError) as diverged:
        alone(twins[1], SGD(twins[1].parameters(), lr=rates[1], momentum=0.9), 20)
    for place in (0, 2):
        expected = alone(twins[place], SGD(twins[place].parameters(), lr=0.1, momentum=0.9), 20)
        torch.testing.assert_close([row[place] for row in losses], expected, rtol=1e-9, atol=1e-11)
    assert sweep.diverged == [False, True, False]
    first_bad = diverged.value.step - 1
    assert [math.isnan(row[1]) for row in losses] == [step >= first_bad for step in range(20)]
    torch.testing.assert_close(list(models[1].parameters()), list(twins[1].parameters()), rtol=1e-9, atol=0)


def test_a_loss_that_was_infinite_once_stays_out():
    """A loss of inf at finite weights could come back by itself; it would be another run than the one that began."""
    models = [LogisticClassifier(1, 2, dtype=torch.float64) for _ in range(2)]
    added = iter([math.inf, 0.0, 0.0])  # one number a step: the loss is computed once for the whole stack
    batch = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0])

    def loss(scores, targets):
        return cross_entropy(scores, targets) + next(added)

    sweep = Sweep(models, loss, SGD(groups(models), lr=0.1), repeat(batch))
    for _ in range(3):
        assert all(math.isnan(value) for value in next(sweep).losses)
    assert all(not parameter.any() for model in models for parameter in model.parameters())


def test_models_stay_ordinary_modules_and_may_be_changed_between_steps():
    models = networks(2)
    sweep = Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), batches())
    next(sweep)
    models[0].load_state_dict(networks(1)[0].state_dict())
    twin = networks(1)[0]
    following = batches()
    next(following)
    for parameter, expected in zip(
        models[0].parameters(), step_by_hand(twin, next(following), lr=0.1, sweep=sweep), strict=True
    ):
        torch.testing.assert_close(parameter.detach(), expected)


def step_by_hand(twin, batch, *, lr, sweep):
    inputs, targets = batch
    gradients = torch.autograd.grad(cross_entropy(twin(inputs), targets), list(twin.parameters()))
    next(sweep)
    return [
        parameter.detach() - lr * gradient for parameter, gradient in zip(twin.parameters(), gradients, strict=True)
    ]


def test_a_sweep_runs_where_its_models_are(device):
    models = [LogisticClassifier(6, 3, dtype=torch.float64).to(device) for _ in range(2)]
    examples = [tensor.to(device) for tensor in problem()]
    sweep = Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), Minibatches(examples, 7, stream(0, "batches")))
    losses = [step.losses[0] for step in islice(sweep, 10)]
    assert losses[0] == pytest.approx(math.log(3))
    assert all(parameter.device.type == device for parameter in models[0].parameters())


# Convolutions, and models that draw


class Small(nn.Module):
    """Two convolutions with pooling, and dropout of the inputs, which all models share, and of what is between."""

    def __init__(self, seed):
        super().__init__()
        self.first = nn.utils.skip_init(nn.Conv2d, 1, 3, 3, padding=1)
        self.second = nn.utils.skip_init(nn.Conv2d, 3, 4, 3, stride=2)
        self.scores = nn.utils.skip_init(nn.Linear, 4, 3)
        self.inputs, self.hidden = (Dropout(p, generator=stream(seed, f"masks {p}")) for p in (0.2, 0.5))
        chance = stream(seed, "weights")
        for parameter in self.double().parameters():
            parameter.data.normal_(0, 0.5, generator=chance)

    def forward(self, images):
        maps = nn.functional.max_pool2d(self.first(self.inputs(images)).relu(), 2)
        return self.scores(self.hidden(self.second(maps).relu()).mean((2, 3)))


def dropping(seed, p=0.5):
    masks = stream(seed, "masks")
    return MLP([36, 5, 3], generator=stream(seed, "weights"), dropout=p, masks=masks, dtype=torch.float64)


def sharing(seed):
    """Two layers of dropout that draw from one generator."""
    masks = stream(seed, "masks")
    return nn.Sequential(Dropout(generator=masks), LogisticClassifier(6, 3), Dropout(generator=masks))


def apart(seed):
    first, last = Dropout(generator=stream(seed, "first")), Dropout(generator=stream(seed, "last"))
    return nn.Sequential(first, LogisticClassifier(6, 3), last)


def images():
    chance = stream(0, "images")
    pictures = torch.randn(40, 1, 6, 6, generator=chance, dtype=torch.float64)
    return pictures, torch.randint(3, (40,), generator=chance)


def pictures(device="cpu"):
    return Minibatches([tensor.to(device) for tensor in images()], 7, stream(0, "batches"))


@pytest.mark.parametrize("kind", [Small, dropping], ids=["convolutions", "dropout"])
def test_convolutions_and_masks_are_those_of_each_model_alone(kind, device):
    models, twins = ([kind(seed).to(device) for seed in range(3)] for _ in range(2))
    sweep = Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), pictures(device))
    losses = [step.losses for step in islice(sweep, 15)]
    for place, (model, twin) in enumerate(zip(models, twins, strict=True)):
        alone = Trainer(twin, cross_entropy, SGD(twin.parameters(), lr=0.1), pictures(device))
        expected = [step.loss for step in islice(alone, 15)]
        torch.testing.assert_close([row[place] for row in losses], expected, rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(list(model.parameters()), list(twin.parameters()), rtol=1e-9, atol=1e-10)
    assert len(set(losses[0])) == 3


def test_a_generator_that_several_models_draw_from_is_refused_where_it_is_drawn_from():
    models, masks = [dropping(seed) for seed in range(2)], stream(0, "masks")
    for model in models:
        model.dropout.generator = masks
    sweep = Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), pictures())
    with pytest.raises(ValueError, match=r"a generator of its own, and several share the one at dropout\.generator"):
        next(sweep)
    for model in models:
        model.eval()
    assert next(Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), pictures())).number == 1


def test_a_generator_of_several_models_under_other_names_is_refused_too():
    chance = [stream(seed, "masks") for seed in range(3)]

    def model(first, last):
        return nn.Sequential(
            Dropout(generator=first), LogisticClassifier(6, 3, dtype=torch.float64), Dropout(generator=last)
        )

    models = [model(*chance[:2]), model(*chance[1:])]
    with pytest.raises(ValueError, match=r"a generator of its own, and several share the one at 0\.generator"):
        next(Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), batches()))


def test_one_generator_in_two_layers_is_drawn_from_in_turns_as_it_would_be_alone():
    def model(seed):
        masks = stream(seed, "masks")
        return nn.Sequential(Dropout(generator=masks), networks(seed + 1)[seed], Dropout(0.2, generator=masks))

    models, twins = ([model(seed) for seed in range(3)] for _ in range(2))
    losses = [step.losses for step in islice(Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), batches()), 9)]
    for place, twin in enumerate(twins):
        expected = alone(twin, SGD(twin.parameters(), lr=0.1), 9)
        torch.testing.assert_close([row[place] for row in losses], expected, rtol=1e-10, atol=1e-11)


def test_settings_and_generators_that_change_between_loops_are_seen():
    models = [dropping(seed) for seed in range(2)]
    sweep = Sweep(models, cross_entropy, SGD(groups(models), lr=0.0), pictures())
    masked = curves(sweep, 1)
    for model in models:
        model.dropout.p = 0.0
    whole = curves(sweep, 3)
    models[1].dropout.p = 0.5
    with pytest.raises(ValueError, match=r"dropout\.p is 0\.0 in one and 0\.5 in another"):
        curves(sweep, 1)
    for model in models:
        model.dropout.p, model.dropout.generator = 0.5, models[0].dropout.generator
    with pytest.raises(ValueError, match="a generator of its own"):
        curves(sweep, 1)
    models[1].dropout.generator = stream(8, "new masks")
    assert curves(sweep, 1).isfinite().all()
    assert not torch.equal(masked, whole[:1])


@pytest.mark.parametrize("tie", ["the module", "the weight"])
def test_what_is_shared_within_a_model_stays_shared_and_learns_as_it_would_alone(tie):
    def model(seed):
        first, again, last = networks(seed + 1)[seed].layers[0], None, LogisticClassifier(5, 3, dtype=torch.float64)
        square = LogisticClassifier(5, 5, dtype=torch.float64)
        square.weight.data.normal_(generator=stream(seed, "square"))
        again = square if tie == "the module" else LogisticClassifier(5, 5, dtype=torch.float64)
        again.weight = square.weight
        return nn.Sequential(first, nn.Tanh(), square, nn.Tanh(), again, last)

    models, twins = ([model(seed) for seed in range(3)] for _ in range(2))
    losses = [step.losses for step in islice(Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), batches()), 9)]
    for place, (model, twin) in enumerate(zip(models, twins, strict=True)):
        expected = alone(twin, SGD(twin.parameters(), lr=0.1), 9)
        torch.testing.assert_close([row[place] for row in losses], expected, rtol=1e-10, atol=1e-11)
        assert type(model[2].weight) is nn.Parameter
        assert model[4].weight is model[2].weight
        torch.testing.assert_close(list(model.parameters()), list(twin.parameters()), rtol=1e-9, atol=1e-10)


# The state


def drawing(seed):
    """A sweep with all that has a state: models that draw, momentum, a scheduler, a model that diverges."""
    models = [dropping(seed + place) for place in range(3)]
    optimizer = SGD(groups(models, lr=(0.1, 1e200, 0.3)), lr=0.1, momentum=0.9)
    return Sweep(models, cross_entropy, optimizer, pictures(), scheduler=cosine_decay(optimizer, 20))


def curves(sweep, count):
    return torch.tensor([step.losses for step in islice(sweep, count)]).reshape(-1, len(sweep.models))


@pytest.mark.parametrize("stop", [0, 1, 6])
def test_a_sweep_that_was_stopped_goes_on_to_the_same_bits(stop, tmp_path):
    whole, stopped, other = drawing(0), drawing(0), drawing(7)
    expected, found = curves(whole, 14), curves(stopped, stop)
    save_checkpoint(tmp_path / "state.pt", stopped.state_dict())
    curves(other, 3)
    other.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert other.steps == stop
    found = torch.cat([found, curves(other, 14 - stop)])
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert other.diverged == whole.diverged == [False, True, False]
    for model, twin in zip(other.models, whole.models, strict=True):
        assert all(torch.equal(*pair) for pair in zip(model.parameters(), twin.parameters(), strict=True))


def test_a_step_that_was_stopped_after_its_masks_were_drawn_draws_them_again():
    whole, stopped = drawing(0), drawing(0)
    loss, expected, found = stopped.loss, curves(whole, 6), curves(stopped, 2)

    def interrupt(scores, targets):
        raise KeyboardInterrupt

    stopped.loss = interrupt
    with pytest.raises(KeyboardInterrupt):
        next(stopped)
    stopped.loss = loss
    found = torch.cat([found, curves(stopped, 4)])
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_a_state_of_other_models_is_refused_and_changes_nothing():
    sweep, expected, state = drawing(0), curves(drawing(0), 5), drawing(3).state_dict()
    for wrong, words in (
        ({"steps": 3}, r"it is not one that Sweep\.state_dict gave"),
        ({**state, "models": state["models"][:2]}, "the state has 2 models, and this sweep 3"),
        ({**state, "diverged": [False]}, "of 1 models whether they diverged"),
        ({**state, "generators": {}}, r"the state has the generators \[\], this Sweep \['0\.dropout\.generator'"),
    ):
        with pytest.raises(ValueError, match=words):
            sweep.load_state_dict(wrong)
    torch.testing.assert_close(curves(sweep, 5), expected, rtol=0, atol=0, equal_nan=True)


# Steps that are made whole or not at all


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_step_that_was_stopped_is_made_again_with_the_same_batch(error):
    def sweep(stop_at=None):
        models, count = networks(), 0

        def loss(scores, targets):
            nonlocal count
            count += 1
            if count == stop_at:
                raise error
            return cross_entropy(scores, targets)

        return Sweep(models, loss, SGD(groups(models, lr=(0.1, 1e200, 0.2)), lr=0.1, momentum=0.9), batches())

    expected = list(islice(sweep(), 9))
    stopped = sweep(5)
    found = list(islice(stopped, 4))
    with pytest.raises(error):
        next(stopped)
    assert stopped.steps == 4
    torch.testing.assert_close(
        [step.losses for step in (*found, *islice(stopped, 5))], [step.losses for step in expected], rtol=0, atol=0,
        equal_nan=True,
    )  # fmt: skip


def test_a_scheduler_that_was_stopped_moves_on_before_the_next_step():
    def sweep():
        models = networks()
        optimizer = SGD(groups(models), lr=0.1)
        return Sweep(models, cross_entropy, optimizer, batches(), scheduler=cosine_decay(optimizer, 20))

    expected, stopped = list(islice(sweep(), 5)), sweep()
    found, step = [next(stopped)], stopped.scheduler.get_lr
    stopped.scheduler.get_lr = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(stopped)
    stopped.scheduler.get_lr = step
    assert stopped.steps == 1
    assert found + list(islice(stopped, 4)) == expected


def test_an_update_that_was_left_in_the_middle_is_not_gone_on_from():
    models = networks()
    sweep = Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), batches())
    sweep.optimizer.step = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(sweep)
    with pytest.raises(RuntimeError, match="update of step 1 was left in the middle"):
        next(sweep)


def test_a_loop_over_batches_that_have_ended_says_so():
    models = networks()
    sweep = Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), islice(batches(), 5))
    assert len(list(sweep)) == 5
    with pytest.warns(RuntimeWarning, match="made no step") as warned:
        assert list(sweep) == []
    assert warned[0].filename == __file__


@pytest.mark.parametrize("count", [1, 2])
def test_autocast_around_a_sweep_lets_it_learn(count):
    models = [LogisticClassifier(6, 3) for _ in range(count)]
    inputs, _ = problem()
    examples = (inputs.float(), (inputs[:, 0] > 0).long())
    with torch.autocast("cpu", torch.bfloat16):
        sweep = Sweep(models, cross_entropy, SGD(groups(models), lr=0.5), repeat(examples))
        losses = [step.losses[0] for step in islice(sweep, 20)]
    assert losses[-1] < 0.5 * losses[0]


# Errors


@pytest.mark.parametrize(
    "random",
    [
        nn.Dropout(0.5),
        Dropout(0.5, generator=stream(0, "masks")),
        lambda inputs: inputs + torch.randn(inputs.shape, generator=stream(0, "noise"), dtype=inputs.dtype),
    ],
    ids=["PyTorch's dropout", "dropout of the loss", "a function"],
)
def test_numbers_that_are_not_each_models_own_are_refused(random):
    models = networks()
    sweep = Sweep(models, lambda scores, t: cross_entropy(random(scores), t), SGD(groups(models), lr=0.1), batches())
    with pytest.raises(ValueError, match=r"not each model's own: .*randomness\.uniform, .*; or train them one by one"):
        next(sweep)
    models = [nn.Sequential(network, nn.Dropout(0.5)) for network in models]
    with pytest.raises(ValueError, match="not each model's own"):
        next(Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), batches()))
    for model in models:
        model.eval()
    assert next(Sweep(models, cross_entropy, SGD(groups(models), lr=0.1), batches())).number == 1


def test_what_cannot_be_computed_at_once_is_refused():
    models = networks()
    sweep = Sweep(models, lambda scores, _: scores.mean() * scores.sum().item(), SGD(groups(models), lr=0.1), batches())
    with pytest.raises(ValueError, match="cannot be computed at once: train them one by one"):
        next(sweep)


def test_steps_that_cannot_learn_are_refused():
    models, others = networks(), networks()
    with pytest.raises(ValueError, match=r"none of the optimizer's 12 parameters .* not those of the model"):
        next(Sweep(models, cross_entropy, SGD(groups(others), lr=0.1), batches()))
    sweep = Sweep(models, lambda scores, _: scores.detach().mean(), SGD(groups(models), lr=0.1), batches())
    with pytest.raises(ValueError, match="no weight that learns"):
        next(sweep)
    sweep = Sweep(models, lambda scores, _: 1.0, SGD(groups(models), lr=0.1), batches())
    with pytest.raises(TypeError, match="scalar tensor, not float"):
        next(sweep)


def test_models_that_cannot_be_stacked_are_refused():
    optimizer = SGD(networks(1)[0].parameters(), lr=0.1)
    one, other = networks(1)[0], MLP([6, 4, 3], generator=stream(0, "weights"), dtype=torch.float64)
    for models, words in (
        ([], "at least one model"),
        ([one, other], r"alike .*: widths is \(6, 5, 3\) in one and \(6, 4, 3\) in another"),
        ([one, networks(2)[1].eval()], "alike .* 'in training'.* and .* 'in evaluation'"),
        (
            [LogisticClassifier(6, 3), nn.utils.skip_init(nn.Linear, 6, 3)],
            "alike .* the model is .*LogisticClassifier.* in one and .*Linear.* in another",
        ),
        ([one, one], "parameters of its own"),
        ([nn.BatchNorm1d(3), nn.BatchNorm1d(3)], "no buffers"),
        (
            [dropping(0, p=0.5), dropping(1, p=0.5000001)],
            r"alike .* dropout\.p is 0\.5 in one and 0\.5000001 in another",
        ),
        ([sharing(0), apart(1)], r"alike .* 2\.generator is .* in one and .* in another"),
    ):
        with pytest.raises(ValueError, match=words):
            Sweep(models, cross_entropy, optimizer, batches())


def test_a_loss_that_is_no_scalar_is_refused():
    models = networks()
    sweep = Sweep(models, lambda scores, _: scores.sum(1), SGD(groups(models), lr=0.1), batches())
    with pytest.raises(ValueError, match=r"scalar, not a tensor of shape \(7,\)"):
        next(sweep)
