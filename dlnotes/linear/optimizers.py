"""Update rules as chains of gradient transforms.

A link takes the gradients (or what the link before made of them) and returns the directions to step against:

    clip_by_global_norm   g ← g · c / max(‖g‖, c)      ‖g‖ over all parameters together
    l2                    g ← g + λ w
    momentum              M ← β M + g;            g ← M           a discounted sum of the past gradients
    average_momentum      M ← β M + (1 - β) g;    g ← M           their running average
    adagrad_scaling       G ← G + g²;             g ← g / (√G + ε)

and the end of each chain is w ← w - α g. `SGD` and `AdaGrad` are the familiar names of two such chains.

Each link is its settings and one small function over lists of tensors. The settings live in the optimizer's
``param_groups`` under PyTorch's names, and what a link remembers in the optimizer's ``state``. So parameter groups,
``state_dict`` and all schedulers of ``torch.optim.lr_scheduler`` work as with any optimizer of PyTorch.
"""

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import profiler
from torch.optim.optimizer import _global_optimizer_post_hooks as _post_hooks_of_all
from torch.optim.optimizer import _global_optimizer_pre_hooks as _pre_hooks_of_all

from dlnotes.arguments import check_number

__all__ = [
    "SGD",
    "AdaGrad",
    "GradientDescent",
    "Link",
    "Slot",
    "adagrad_scaling",
    "average_momentum",
    "clip_by_global_norm",
    "l2",
    "momentum",
]


class Slot(NamedTuple):
    """A parameter as a link sees it: the tensor, what is remembered of it, and the settings of its group."""

    parameter: Tensor
    memory: dict[str, Any]
    settings: dict[str, Any]


class Link(NamedTuple):
    """One gradient transform of a chain. To write your own, give its settings and a function.

    Attributes:
        settings: the hyper-parameters with their values, by the name that they have in ``param_groups``.
        update: takes the list of gradients and the list of slots, and returns the list of transformed gradients.
            It must not write to a gradient that it was given, since that may be the parameter's own ``.grad``.
            It is a function at the top level of a file, not a lambda, so that the optimizer can be copied and pickled.
    """

    settings: Mapping[str, float]
    update: Callable[[list[Tensor], list[Slot]], list[Tensor]]


class GradientDescent(torch.optim.Optimizer):
    """Descend along gradients that a chain of links has transformed: w ← w - α · links(g).

    A parameter without a gradient is skipped; ``.grad`` is never written to. Each link sees the parameters of all
    groups at once, so that a norm spans them all.

    Args:
        parameters: tensors, or dictionaries for groups with settings of their own, as for any PyTorch optimizer.
        links: the chain, in the order in which it is applied.
        lr: the learning rate α, 0 or larger.

    Raises:
        ValueError: a setting out of its range, or two links with a setting of the same name.
        TypeError: a setting that is no number; something else than a link in the chain, such as ``momentum`` where
            ``momentum(0.9)`` was meant.
        RuntimeError: when stepping, a sparse gradient in a chain that has links (they need every entry).

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = GradientDescent([w], clip_by_global_norm(1.0), l2(0.1), momentum(0.9), lr=0.5)
        >>> w.grad = torch.tensor([3.0, 4.0])          # the norm is 5: clipped to [0.6, 0.8]
        >>> optimizer.step()                           # [0.6, 0.8] + 0.1 · [1, -2] = [0.7, 0.6]
        >>> w.detach()
        tensor([ 0.6500, -2.3000])

    Source: Matteo Hessel et al., "Optax: composable gradient transformation and optimisation, in JAX", 2020.
    """

    def __init__(self, parameters: Iterable[Tensor] | Iterable[dict[str, Any]], *links: Link, lr: float) -> None:
        settings: dict[str, Any] = {"lr": lr}
        for link in links:
            if not isinstance(link, Link):
                name = getattr(link, "__name__", type(link).__name__)
                raise TypeError(f"each link must be one that was made, such as momentum(0.9), not {name}")
            twice = settings.keys() & link.settings.keys()
            if twice:
                raise ValueError(f"two links of the chain have a setting named {', '.join(sorted(twice))}")
            settings.update(link.settings)
        self.links = links
        super().__init__(parameters, settings)

    def __getstate__(self) -> dict[str, Any]:
        # PyTorch's own keeps three attributes by name; without the links a copy could not step.
        return {**super().__getstate__(), "links": self.links}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A state that another chain saved, or PyTorch's own optimizer, may lack a setting of this one.
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters; the settings that it does not give are the optimizer's."""
        for name, value in {**self.defaults, **param_group}.items():
            if name in _RANGES:
                _check(name, value)
        if param_group.get("max_norm", self.defaults.get("max_norm")) != self.defaults.get("max_norm"):
            raise ValueError("max_norm is one number for all groups, since the norm spans them: give it to the chain")
        super().add_param_group(param_group)

    @staticmethod
    def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
        """PyTorch wraps `step` in this, to call hooks and to mark the step for the profiler.

        We take what it wraps where there is no hook, no profiler and no compiler: the mark takes longer than the update
        of a small model.
        """
        shown = torch.optim.Optimizer.profile_hook_step(func)

        @functools.wraps(func)
        def step(self: GradientDescent, *args: Any, **settings: Any) -> Any:
            return (shown if self._is_watched() else func)(self, *args, **settings)

        return step

    def _is_watched(self) -> bool:
        hooks = self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks or _pre_hooks_of_all
        watched = torch.compiler.is_compiling() or hooks or _post_hooks_of_all or profiler._is_profiler_enabled
        return bool(watched)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to 0."""
        if not set_to_none or self._is_watched():
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update. A closure, where given, computes the loss and the gradients; its loss is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients, slots = self._gradients_and_slots()
        for link in self.links:
            gradients = link.update(gradients, slots)
        for gradient, (parameter, _, settings) in zip(gradients, slots, strict=True):
            parameter.add_(gradient, alpha=-settings["lr"])
        return loss

    def _gradients_and_slots(self) -> tuple[list[Tensor], list[Slot]]:
        gradients, slots = [], []
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                if self.links and gradient.is_sparse:
                    raise RuntimeError(
                        f"the gradient of a parameter of shape {tuple(parameter.shape)} is sparse, and the links of "
                        "this chain need every entry: use dense gradients, or GradientDescent without links"
                    )
                gradients.append(gradient)
                slots.append(Slot(parameter, self.state[parameter], group))
        return gradients, slots


# ----------------------------------------------------------------------------------------------------------------
# Links
# ----------------------------------------------------------------------------------------------------------------


def clip_by_global_norm(max_norm: float) -> Link:
    """Shrink the gradients where their norm is too large: g ← g · c / max(‖g‖, c).

    The norm is over all parameters together, so that the direction does not change. It is right for gradients of any
    size, also where their squares overflow or vanish. Gradients with inf or nan have no direction: as with PyTorch's
    ``clip_grad_norm_``, nan turns all of them to nan, and inf turns to nan and the rest to 0.

    Args:
        max_norm: c, the largest norm to let through, larger than 0; in the units of the gradient. ``inf`` clips
            nothing. One number for all groups, since the norm spans them.

    Example:
        >>> w = torch.nn.Parameter(torch.zeros(2))
        >>> w.grad = torch.tensor([3.0, 4.0])
        >>> GradientDescent([w], clip_by_global_norm(2.5), lr=1.0).step()
        >>> w.detach()
        tensor([-1.5000, -2.0000])

    Source: Razvan Pascanu, Tomas Mikolov and Yoshua Bengio, "On the difficulty of training recurrent neural
    networks", 2013.
    """
    return Link({"max_norm": max_norm}, _clip)


def _clip(gradients: list[Tensor], slots: list[Slot]) -> list[Tensor]:
    if not slots or slots[0].settings["max_norm"] == float("inf"):
        return gradients
    limit = slots[0].settings["max_norm"]
    home = gradients[0].device
    norms = [gradient.norm(dtype=_at_least_single(gradient)) for gradient in gradients]
    norm = torch.stack([norm.to(home) for norm in norms]).norm()
    size = norm.item()
    if not (size > _TINY and limit / size > _TINY):
        return _clip_extreme(gradients, limit)
    factor = limit / norm.clamp(min=limit)
    return [_times(gradient, factor) for gradient in gradients]


def _times(gradient: Tensor, factor: Tensor) -> Tensor:
    if gradient.dtype.itemsize >= 4:
        return gradient * factor.to(gradient)
    # In half precision the factor by itself could be rounded to nearly, or entirely, 0.
    return gradient.float().mul_(factor.to(gradient.device, torch.float32)).to(gradient.dtype)


_TINY = 1e-15  # its square is far from the smallest numbers of single precision


def _clip_extreme(gradients: list[Tensor], limit: float) -> list[Tensor]:
    """Clip where squares overflow or vanish: in double precision, and in units of the largest entry."""
    home = gradients[0].device
    sizes = [gradient.abs().amax().to(home, torch.float64) for gradient in gradients if gradient.numel()]
    largest = torch.stack(sizes).max().item() if sizes else 0.0
    if largest == 0:
        return gradients
    if not math.isfinite(largest):
        return [gradient * (0.0 if largest > 0 else math.nan) for gradient in gradients]
    norms = [gradient.double().div(largest).norm().to(home) for gradient in gradients]
    norm = torch.stack(norms).norm().item()
    if limit / largest >= norm:
        return gradients
    return [gradient.double().div(largest).mul(limit / norm).to(gradient.dtype) for gradient in gradients]


def _at_least_single(tensor: Tensor) -> torch.dtype:
    """The dtype in which sums of half precision do not overflow (at 65,504)."""
    return torch.promote_types(tensor.dtype, torch.float32)


def l2(weight_decay: float) -> Link:
    """Add the gradient of the penalty λ‖w‖²/2 to that of the loss: g ← g + λ w.

    For plain descent this shrinks the weights by the factor 1 - αλ each step. In a chain with `adagrad_scaling`
    behind it the two are not the same. Biases are left out by giving them a group with ``weight_decay`` 0.

    Args:
        weight_decay: λ, 0 or larger.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([2.0]))
        >>> w.grad = torch.tensor([0.0])
        >>> GradientDescent([w], l2(0.5), lr=0.25).step()     # 2 · (1 - 0.25 · 0.5)
        >>> w.detach()
        tensor([1.7500])

    Source: Anders Krogh and John A. Hertz, "A simple weight decay can improve generalization", 1992.
    """
    return Link({"weight_decay": weight_decay}, _add_penalty)


def _add_penalty(gradients: list[Tensor], slots: list[Slot]) -> list[Tensor]:
    return [
        gradient.add(slot.parameter, alpha=slot.settings["weight_decay"]) if slot.settings["weight_decay"] else gradient
        for gradient, slot in zip(gradients, slots, strict=True)
    ]


def momentum(momentum: float = 0.9) -> Link:
    """Replace the gradient by a discounted sum of all gradients so far: M ← β M + g, from M = 0.

    On a constant gradient M grows to g / (1 - β): with 0.9 the steps become ten times as long.

    Args:
        momentum: β, from 0 to below 1; 0 is plain descent, and remembers nothing.

    Example:
        >>> w = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = GradientDescent([w], momentum(0.5), lr=1.0)
        >>> for gradient in (4.0, 0.0, 0.0):                  # steps of 4, 2 and 1
        ...     w.grad = torch.tensor([gradient])
        ...     optimizer.step()
        >>> w.detach()
        tensor([-7.])

    Source: Boris T. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """
    return Link({"momentum": momentum}, _sum_up)


def average_momentum(momentum: float = 0.9) -> Link:
    """Replace the gradient by a running average of all gradients so far: M ← β M + (1 - β) g, from M = 0.

    With the learning rate α / (1 - β) it makes the same steps as `momentum` with α. Not PyTorch's ``dampening``, which
    takes the first gradient whole.

    Args:
        momentum: β, from 0 to below 1; 0 is plain descent, and remembers nothing.

    Example:
        >>> w = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = GradientDescent([w], average_momentum(0.5), lr=1.0)
        >>> for gradient in (4.0, 0.0, 0.0):                  # steps of 2, 1 and 0.5
        ...     w.grad = torch.tensor([gradient])
        ...     optimizer.step()
        >>> w.detach()
        tensor([-3.5000])
    """
    return Link({"momentum": momentum}, _average)


def _sum_up(gradients: list[Tensor], slots: list[Slot]) -> list[Tensor]:
    summed = []
    for gradient, (parameter, memory, settings) in zip(gradients, slots, strict=True):
        if beta := settings["momentum"]:
            velocity = _velocity(parameter, memory)
            gradient = torch.add(gradient, velocity, alpha=beta, out=velocity)  # one pass over memory
        summed.append(gradient)
    return summed


def _average(gradients: list[Tensor], slots: list[Slot]) -> list[Tensor]:
    averages = []
    for gradient, (parameter, memory, settings) in zip(gradients, slots, strict=True):
        if beta := settings["momentum"]:
            gradient = _velocity(parameter, memory).lerp_(gradient, 1 - beta)
        averages.append(gradient)
    return averages


def _velocity(parameter: Tensor, memory: dict[str, Any]) -> Tensor:
    velocity: Tensor | None = memory.get("momentum_buffer")
    if velocity is None:  # which is also what old states of PyTorch's SGD have
        velocity = memory["momentum_buffer"] = torch.zeros_like(parameter)
    return velocity


def adagrad_scaling(initial_accumulator_value: float = 0.0, eps: float = 1e-10) -> Link:
    """Divide each gradient by the root of the sum of its squares so far: G ← G + g², g ← g / (√G + ε).

    Each coordinate gets a learning rate of its own, which never grows: α / (√G + ε). Where all gradients so far were 0
    nothing moves, also without ε, or where the dtype rounds ε to 0 (PyTorch's Adagrad gives nan, 0 / 0).

    Args:
        initial_accumulator_value: what G starts at, 0 or larger.
        eps: ε, 0 or larger: keeps the first division finite.

    Example:
        >>> w = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = GradientDescent([w], adagrad_scaling(), lr=1.0)
        >>> for gradient in (3.0, 4.0):                       # steps of 3 / 3 and 4 / 5
        ...     w.grad = torch.tensor([gradient])
        ...     optimizer.step()
        >>> w.detach()
        tensor([-1.8000])

    Source: John Duchi, Elad Hazan and Yoram Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011.
    """
    settings = {"initial_accumulator_value": initial_accumulator_value, "eps": eps}
    return Link(settings, _divide_by_root_of_sum)


def _divide_by_root_of_sum(gradients: list[Tensor], slots: list[Slot]) -> list[Tensor]:
    scaled = []
    for gradient, slot in zip(gradients, slots, strict=True):
        root = _sum_of_squares(slot).addcmul_(gradient, gradient).sqrt().add_(slot.settings["eps"])
        if slot.settings["eps"] < (smallest := _smallest_root(root.dtype)):
            root.clamp_(min=smallest)
        scaled.append(torch.div(gradient, root, out=root))
    return scaled


@functools.cache
def _smallest_root(dtype: torch.dtype) -> float:
    """√G of the smallest G above 0. A gradient whose square vanished is smaller: it goes no further than the rate."""
    limits = torch.finfo(dtype)
    return math.sqrt(limits.tiny * limits.eps)


def _sum_of_squares(slot: Slot) -> Tensor:
    if "sum" not in slot.memory:
        slot.memory["sum"] = torch.full_like(slot.parameter, slot.settings["initial_accumulator_value"])
    return slot.memory["sum"]


# ----------------------------------------------------------------------------------------------------------------
# The familiar names
# ----------------------------------------------------------------------------------------------------------------


def SGD(
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    max_norm: float = float("inf"),
) -> GradientDescent:
    """Stochastic gradient descent: clip, add L2, sum up with momentum, go against it.

    Step for step equal to ``torch.nn.utils.clip_grad_norm_`` followed by ``torch.optim.SGD``, but for the 1e-6 that
    PyTorch adds to the norm when it clips, and for gradients whose squares overflow, which PyTorch clips to 0, or
    vanish, which it does not clip.

    Args:
        parameters: tensors, or dictionaries for groups with settings of their own.
        lr: the learning rate, 0 or larger and finite.
        momentum: what is kept of the past gradients' sum, from 0 to below 1.
        weight_decay: the strength of the L2 penalty, 0 or larger.
        max_norm: the largest norm of all gradients together; ``inf`` does not clip.

    Raises:
        ValueError: a setting out of its range.
        TypeError: a setting that is no number.
        RuntimeError: when stepping, a sparse gradient (`GradientDescent` without links takes it).

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = SGD([w], lr=0.1, momentum=0.9)
        >>> for _ in range(2):
        ...     w.grad = torch.tensor([1.0])
        ...     optimizer.step()                  # first by 0.1, then by 0.1 · 1.9
        >>> w.detach()
        tensor([0.7100])

    Source: Herbert Robbins and Sutton Monro, "A stochastic approximation method", 1951.
    """
    # The parameter hides the link of the same name.
    sum_up = Link({"momentum": momentum}, _sum_up)
    return GradientDescent(parameters, clip_by_global_norm(max_norm), l2(weight_decay), sum_up, lr=lr)


def AdaGrad(
    parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
    *,
    lr: float,
    weight_decay: float = 0.0,
    max_norm: float = float("inf"),
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> GradientDescent:
    """Gradient descent in which each coordinate's rate is divided by the root of its squared gradients so far.

    Step for step equal to ``torch.nn.utils.clip_grad_norm_`` followed by ``torch.optim.Adagrad``, but for the 1e-6
    that PyTorch adds to the norm when it clips. It decays its rates by itself, and cannot stop: on a long run the steps
    may become too short to arrive. It keeps no past direction: where the gradient is zero, nothing moves (with an
    ``eps`` of 0, or one that the dtype rounds to 0, PyTorch's gives nan there).

    Args:
        parameters: tensors, or dictionaries for groups with settings of their own.
        lr: the learning rate, 0 or larger; the size of each coordinate's first step.
        weight_decay: the strength of the L2 penalty, 0 or larger; it is divided too.
        max_norm: the largest norm of all gradients together; ``inf`` does not clip.
        initial_accumulator_value: what the sum of squares starts at, 0 or larger.
        eps: added to the root, 0 or larger.

    Raises:
        ValueError: a setting out of its range.
        TypeError: a setting that is no number.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([0.0, 0.0]))
        >>> optimizer = AdaGrad([w], lr=1.0)
        >>> w.grad = torch.tensor([0.001, 1000.0])     # the scale of a coordinate does not matter
        >>> optimizer.step()
        >>> w.detach()
        tensor([-1.0000, -1.0000])

    Source: John Duchi, Elad Hazan and Yoram Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011.
    """
    scaling = adagrad_scaling(initial_accumulator_value, eps)
    return GradientDescent(parameters, clip_by_global_norm(max_norm), l2(weight_decay), scaling, lr=lr)


# ----------------------------------------------------------------------------------------------------------------
# Ranges
# ----------------------------------------------------------------------------------------------------------------

_NOT_NEGATIVE = ("0 or larger and finite", lambda value: 0 <= value < float("inf"))
_RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "lr": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "initial_accumulator_value": _NOT_NEGATIVE,
    "eps": _NOT_NEGATIVE,
    "momentum": ("from 0 to below 1", lambda value: 0 <= value < 1),
    "max_norm": ("larger than 0", lambda value: value > 0),
}


def _check(name: str, value: float) -> None:
    check_number(name, value)
    expected, holds = _RANGES[name]
    if not holds(value):
        raise ValueError(f"{name} must be {expected}, not {value}")
