"""Two processes that share the work through DistributedDataParallel train the model that one process trains."""

import os
import sys
from itertools import islice

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import skip_init

from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer
from tests.forks import FORKS

RANKS, STEPS = 2, 20


def layer(inputs, outputs, generator):
    linear = skip_init(nn.Linear, inputs, outputs)
    for parameter in linear.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    return linear


def train(seed, rank=None):
    """The weights before and after, and the losses: of all batches, or of a rank's half of each."""
    chance = stream(seed, "problem")
    examples = torch.randn(40, 6, generator=chance), torch.randn(40, 3, generator=chance)
    batches = Minibatches(examples, 8, stream(seed, "batches"))
    model = nn.Sequential(layer(6, 5, chance), nn.Tanh(), layer(5, 3, chance))
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    if rank is not None:
        model = DistributedDataParallel(model)
        batches = ([tensor[rank::RANKS] for tensor in batch] for batch in batches)
    trainer = Trainer(model, F.mse_loss, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), batches)
    losses = torch.tensor([step.loss for step in islice(trainer, STEPS)])
    after = nn.utils.parameters_to_vector(model.parameters()).detach()
    return {"before": before, "after": after, "losses": losses}


def run_rank(rank, folder, seed):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    torch.save(train(seed, rank), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this build of PyTorch has no gloo, which joins CPUs"
)
def test_two_processes_on_half_batches_train_as_one_process_on_whole_batches(tmp_path, faults):
    for chance in faults("trainings on two ranks, against one process", few=1, all=10):
        seed = chance.randrange(1_000)
        folder = tmp_path / str(seed)
        folder.mkdir()
        ranks = [FORKS.Process(target=run_rank, args=(rank, folder, seed)) for rank in range(RANKS)]
        for rank in ranks:
            rank.start()
        try:
            for rank in ranks:
                rank.join(60)
            assert [rank.exitcode for rank in ranks] == [0, 0]
        finally:
            for rank in ranks:
                rank.kill()
                rank.join()

        alone = train(seed)
        one, other = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS))
        assert one["after"].equal(other["after"])
        assert (one["after"] - alone["after"]).abs().max() < 1e-6
        assert ((one["losses"] + other["losses"]) / 2 - alone["losses"]).abs().max() < 1e-6
        # The control: the halves differ from each other, and the weights moved by far more than what is tolerated.
        assert (one["losses"] - other["losses"]).abs().max() > 1e-2
        assert (alone["after"] - alone["before"]).abs().max() > 0.1
