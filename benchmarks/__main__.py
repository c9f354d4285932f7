"""``python -m benchmarks``: each ratio with its spread and what it should be; one thread on both sides."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from benchmarks.clock import interleaved
from dlnotes.deep import MLP, Dropout, backpropagate, descend
from dlnotes.linear import SGD
from dlnotes.randomness import stream

WIDTHS, BATCH, RATE = [784, 256, 128, 10], 64, 0.01


def main() -> None:
    """Take the times, and print a line for each pair."""
    torch.set_num_threads(1)
    inputs = torch.randn(BATCH, WIDTHS[0], generator=stream(0, "inputs"))
    targets = torch.randint(WIDTHS[-1], (BATCH,), generator=stream(0, "targets"))
    networks = [MLP(WIDTHS, generator=stream(0, "weights")) for _ in range(3)]
    weights = [parameter.detach() for parameter in networks[0].parameters() if parameter.ndim == 2]
    theirs = torch.optim.SGD(networks[0].parameters(), lr=RATE)
    ours = SGD(networks[1].parameters(), lr=RATE)

    def autograd() -> float:
        theirs.zero_grad()
        loss = functional.cross_entropy(networks[0](inputs), targets)
        loss.backward()
        theirs.step()
        return loss.item()

    def by_hand() -> float:
        loss = backpropagate(networks[1], inputs, targets)
        ours.step()
        return loss.item()

    def at_once() -> float:
        return descend(networks[2], inputs, targets, lr=RATE).item()

    def products() -> None:
        """The matrix products of a step, and nothing else: what no way of writing it can do without."""
        x = inputs
        for number, weight in enumerate(weights):
            y = x @ weight.T
            _ = y.T @ x
            if number:
                _ = y @ weight
            x = y

    print(f"the time of theirs over ours: median [smallest, largest] of 11 rounds in turn; torch {torch.__version__}")
    name = f"MLP {'-'.join(map(str, WIDTHS))}, batch {BATCH}, a step of autograd and torch.optim.SGD"
    print(f"{name} over\n  descend                  {interleaved(at_once, autograd, calls=200)}   (goal: 1.4)")
    print(f"  backpropagate and SGD    {interleaved(by_hand, autograd, calls=200)}")
    print(f"  its matrix products      {interleaved(products, autograd, calls=200)}   (the most there is to win)")
    for shape in ((128, 256), (64, 1024)):
        activations = torch.randn(shape, generator=stream(0, "activations"), requires_grad=True)
        own, torchs = Dropout(0.5, generator=stream(0, "masks")), nn.Dropout(0.5)

        ratio = interleaved(
            partial(forward_and_backward, own, activations),
            partial(forward_and_backward, torchs, activations),
            calls=200,
        )
        print(
            f"dropout of {shape[0]} x {shape[1]}, forward and backward: nn.Dropout over Dropout\n  {ratio}   (goal: 1)"
        )


def forward_and_backward(dropout: nn.Module, activations: torch.Tensor) -> None:
    """What a step does with a layer of dropout."""
    dropout(activations).sum().backward()


if __name__ == "__main__":
    main()
