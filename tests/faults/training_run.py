"""A training run that may be killed at any moment and started again: what `test_training_runs` kills."""

from itertools import islice
from pathlib import Path

import torch
import torch._dynamo  # the first optimizer imports it, for seconds in which nothing is trained that could be killed

from dlnotes.deep import MLP, EarlyStopping
from dlnotes.files import remove_stale_parts
from dlnotes.linear import SGD, cross_entropy
from dlnotes.randomness import streams
from dlnotes.training import Minibatches, Trainer, evaluate, load_checkpoint, save_checkpoint

MAX_STEPS = 400


def run(folder: Path, began, *, forgetful: bool = False) -> None:
    """Train in ``folder`` from where the checkpoint there ends, and write the result.

    Args:
        folder: where checkpoint and result lie.
        began: a connection that is told when all is imported.
        forgetful: leave the generator of the masks out of the state.
    """
    began.send(None)
    torch.set_num_threads(1)
    remove_stale_parts(folder)
    chance = streams(0, "inputs", "targets", "weights", "masks", "batches")
    inputs = torch.randn(400, 10, generator=chance["inputs"])
    noise = 2 * torch.randn(400, generator=chance["targets"])
    targets = (inputs[:, 0] * inputs[:, 1] + noise > 0).long()  # enough noise to be over-fitted

    model = MLP([10, 20, 2], generator=chance["weights"], dropout=0.5, masks=chance["masks"])
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=MAX_STEPS)
    batches = Minibatches((inputs[:200], targets[:200]), 30, chance["batches"])
    generators = {} if forgetful else {"masks": chance["masks"]}
    trainer = Trainer(model, cross_entropy, optimizer, batches, scheduler=scheduler, generators=generators)
    stopper = EarlyStopping(model, patience=30)
    losses, values = [], []

    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        trainer.load_state_dict(state["trainer"])
        stopper.load_state_dict(state["stopper"])
        losses, values = state["losses"], state["values"]
    for step in islice(trainer, MAX_STEPS - trainer.steps):
        losses.append(step.loss)
        if step.number % 5 == 0:
            values.append(evaluate(model, (inputs[200:], targets[200:]), cross_entropy))
            if stopper.should_stop(values[-1]):
                break
        if step.number % 8 == 0:
            state = {
                "trainer": trainer.state_dict(),
                "stopper": stopper.state_dict(),
                "losses": losses,
                "values": values,
            }
            save_checkpoint(checkpoint, state)
    stopper.restore()
    # As bytes, which are compared to the bit.
    weights = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    save_checkpoint(
        folder / "result.pt", {"weights": weights, "losses": losses, "values": values, "steps": trainer.steps}
    )
