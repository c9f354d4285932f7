"""What a Python started afresh imports, and what it draws where it hashes texts in another order.

PyTorch alone takes such a process seconds: one serves all tests.
"""

import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch

from dlnotes.data import letters
from dlnotes.randomness import stream

PROGRAM = """
import json, sys
found = {}
import dlnotes.data
found["data"] = list(sys.modules)
import dlnotes.conv
found["conv"] = list(sys.modules)
import torch, numpy, dlnotes.linear, dlnotes.training, dlnotes.evidence
found["evidence"] = list(sys.modules)
from tests.test_afresh import draws
torch.set_num_threads(1)
found["draws"] = draws()
print(json.dumps(found))
"""


def draws():
    """What a stream draws, and a checksum of letters."""
    parts = letters(11, train=600, validation=30, test=600)
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for part in parts for tensor in part)).hexdigest()
    return {"a stream": torch.rand(5, generator=stream(7, "µ")).tolist(), "letters": digest}


@pytest.fixture(scope="module")
def afresh():
    """What the process found out. It hashes texts by another seed than this one, where this one was given any."""
    hashed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": hashed}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_importing_data_brings_no_plots_statistics_or_pictures(afresh):
    """Each of them takes seconds, and most who import a part of the library need none."""
    assert "dlnotes.data.catalogue" in afresh["data"]
    assert not {"matplotlib", "PIL", "scipy", "torchvision"} & set(afresh["data"])


def test_importing_a_chapter_brings_no_torchvision_plots_or_statistics(afresh):
    assert "dlnotes.conv.augmentation" in afresh["conv"]
    assert not {"torchvision", "matplotlib", "scipy", "PIL", "dlnotes.lesson"} & set(afresh["conv"])


def test_importing_training_and_evidence_brings_no_plots_or_statistics(afresh):
    assert "dlnotes.evidence" in afresh["evidence"]
    assert not {"matplotlib", "scipy", "dlnotes.lesson"} & set(afresh["evidence"])


@pytest.mark.parametrize("what", ["a stream", "letters"])
def test_a_process_that_hashes_texts_differently_draws_the_same_bits(afresh, what):
    assert afresh["draws"][what] == draws()[what]
