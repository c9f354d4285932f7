"""The linear classifier of the notes, and a trainer ready to call."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import Dataset

from dlnotes.arguments import check_tensor
from dlnotes.linear.losses import cross_entropy
from dlnotes.linear.optimizers import SGD
from dlnotes.minibatches import Minibatches, limit_batch_size
from dlnotes.training import Trainer

__all__ = ["LogisticClassifier", "train_classifier"]


class LogisticClassifier(nn.Module):
    """Scores that are an affine function of the input: a weight product plus a bias.

        y = x Wᵀ + b

    The scores become probabilities by `softmax`, and are trained by `cross_entropy`, which takes them as they are.
    Together they are multinomial logistic regression. All weights start at 0: the loss is convex, so that no
    randomness is needed, and starts at ln K. The parameters have the names and shapes of ``torch.nn.Linear``.

    Args:
        features: d, numbers an example; an image of shape (1, 28, 28) has 784.
        classes: K.
        dtype: of the parameters; PyTorch's default where not given.

    Shape:
        inputs (N, *) with d numbers an example; returns scores (N, K). ``weight`` (K, d), ``bias`` (K).

    Raises:
        ValueError: features or classes below 1; when called, examples that do not have d numbers each.
        TypeError: when called, inputs that are no tensor, or of another dtype than the weights.

    Example:
        >>> classifier = LogisticClassifier(784, 10)
        >>> classifier(torch.zeros(32, 1, 28, 28)).shape
        torch.Size([32, 10])

    Source: Christopher M. Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.
    """

    def __init__(self, features: int, classes: int, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if features < 1 or classes < 1:
            raise ValueError(f"features and classes must be 1 or more, not {features} and {classes}")
        self.features, self.classes = features, classes
        self.weight = nn.Parameter(torch.empty(classes, features, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(classes, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all weights and biases to 0."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """The scores of each class, (N, K)."""
        check_tensor("inputs", inputs)
        flat = inputs.flatten(1) if inputs.ndim > 1 else inputs
        if flat.ndim < 2 or flat.shape[1] != self.features:
            raise ValueError(
                f"inputs must have the shape (N, *) with {self.features} numbers an example, not {tuple(inputs.shape)}"
            )
        if flat.dtype != self.weight.dtype and not torch.is_autocast_enabled(flat.device.type):
            raise TypeError(f"inputs must be {self.weight.dtype} as the weights are, not {flat.dtype}")
        if flat.layout != torch.strided:
            return torch.addmm(self.bias, flat, self.weight.T)
        # Wx + b with an example a column: the same scores, and for few classes sooner, in a sweep above all.
        return torch.addmm(self.bias[:, None], self.weight, flat.T).T.contiguous()

    def extra_repr(self) -> str:
        """The sizes, for ``print(classifier)``."""
        return f"features={self.features}, classes={self.classes}"


def train_classifier(
    model: nn.Module,
    examples: Sequence[Tensor] | Dataset[Any],
    *,
    generator: Generator,
    steps: int = 2_000,
    batch_size: int = 128,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> list[float]:
    """Train a classifier by SGD with momentum on the cross-entropy of minibatches.

    A few lines over `Trainer`, for when nothing but the result is wanted. To watch, to stop early, or to use another
    optimizer, write those lines.

    Args:
        model: gives scores of shape (N, K). Trained in place.
        examples: ``(inputs, targets)``, with class numbers as targets; or a map-style ``Dataset``, as `Minibatches`
            takes it.
        generator: what the order of the examples is drawn from.
        steps: minibatches to train on.
        batch_size: examples a batch; all of them where there are fewer.
        lr: the learning rate.
        momentum: what is kept of the past steps, from 0 to below 1.
        weight_decay: the strength of the L2 penalty.

    Returns:
        The loss of each step, in nats.

    Raises:
        ValueError: examples of different lengths or none, or a batch size below 1.
        TypeError: examples that are not tensors, or a batch size that is not an ``int``.
        DivergedError: the loss is no longer finite.

    Example:
        >>> inputs = torch.tensor([[0.0], [1.0]])
        >>> model = LogisticClassifier(1, 2)
        >>> losses = train_classifier(
        ...     model, (inputs, torch.tensor([0, 1])), generator=torch.Generator().manual_seed(0), steps=100
        ... )
        >>> round(losses[0], 4), losses[-1] < 0.1
        (0.6931, True)
    """
    batches = Minibatches(examples, limit_batch_size(batch_size, examples), generator)
    optimizer = SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    model.train()
    return [step.loss for step in islice(Trainer(model, cross_entropy, optimizer, batches), steps)]
