"""No damaged file is taken for a sound one: pictures and labels by their checksums, checkpoints by their seal."""

import gzip
import itertools
import os
import random

import pytest
from torch import nn, optim

from dlnotes import data
from dlnotes.data import DataError, idx, images
from dlnotes.data.idx import Content
from dlnotes.data.known import TEST, TRAIN
from dlnotes.randomness import stream
from dlnotes.training import CheckpointError, Minibatches, Trainer, load_checkpoint, save_checkpoint
from tests.data.test_images import FILES, SMALL
from tests.test_training import network, problem

# ----------------------------------------------------------------------------------------------------------------
# Pictures and labels
# ----------------------------------------------------------------------------------------------------------------

SHAPES = [(side, 784 // side) for side in range(1, 785) if 784 % side == 0 and side != 28]
MOMENTS = itertools.count()


def changed(content, place, value):
    return content[:place] + bytes([value]) + content[place + 1 :]


def flipped(content, place, bit):
    return changed(content, place, content[place] ^ 1 << bit)


def cut(content, chance):
    return content[: chance.randrange(16, len(content))]


def cut_inside_the_header(content, chance):
    return content[: chance.randrange(1, 8 if content[3] == 1 else 16)]


def extended(content, chance):
    return content + chance.randbytes(chance.randrange(1, 1_000))


def bit_of_the_magic_number(content, chance):
    return flipped(content, chance.randrange(4), chance.randrange(8))


def another_count(content, chance):
    return content[:4] + (int.from_bytes(content[4:8]) ^ chance.randrange(1, 2**32)).to_bytes(4) + content[8:]


def web_page(content, chance):
    page = b"\n" * chance.randrange(3) + b"<!DOCTYPE html><html>The file has moved</html>"
    return page.ljust(chance.choice([0, len(content)]))


def empty(content, chance):
    return b""


def label_above_nine(content, chance):
    return changed(content, chance.randrange(8, len(content)), chance.randrange(10, 256))


def fewer_labels_than_images(content, chance):
    return idx.pack(idx.labels(Content.of(content))[: -chance.randrange(1, 20)])


def images_of_another_shape(content, chance):
    return idx.pack(idx.images(Content.of(content)).reshape(-1, *chance.choice(SHAPES)))


def bit_of_a_pixel(content, chance):
    return flipped(content, chance.randrange(16, len(content)), chance.randrange(8))


def zeroed_tail(content, chance):
    zeros = chance.randrange(784, len(content) - 16)  # the last picture at least, which is not all zeros
    return content[:-zeros] + bytes(zeros)


IMAGES, LABELS = (TRAIN[0], TEST[0]), (TRAIN[1], TEST[1])
DAMAGE = {
    cut: TRAIN + TEST,
    cut_inside_the_header: TRAIN + TEST,
    extended: TRAIN + TEST,
    bit_of_the_magic_number: TRAIN + TEST,
    another_count: TRAIN + TEST,
    web_page: TRAIN + TEST,
    empty: TRAIN + TEST,
    label_above_nine: LABELS,
    fewer_labels_than_images: LABELS,
    images_of_another_shape: IMAGES,
    bit_of_a_pixel: IMAGES,
    zeroed_tail: IMAGES,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the four files of a small set belong, which takes the place of Fashion-MNIST."""
    monkeypatch.setenv("DLNOTES_DATA", str(tmp_path))
    monkeypatch.setattr(images, "FASHION_MNIST", SMALL)
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    return folder


def put(folder, name, content, *, packed):
    """The file with this content, plain or packed, and with a date that no other has: files are known again by it."""
    for other in (folder / name, folder / f"{name}.gz"):
        other.unlink(missing_ok=True)
    path = folder / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    os.utime(path, (0, next(MOMENTS)))
    return path


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_no_damaged_file_of_images_or_labels_is_accepted(folder, faults, damage):
    for name, content in FILES.items():
        put(folder, name, content, packed=False)
    for same in faults("damaged image and label files, twelve kinds", few=3, all=100):
        chance = random.Random(f"{damage.__name__} {same.random()}")  # not the same chance for each kind
        name, packed = chance.choice(DAMAGE[damage]), chance.random() < 0.5
        damaged = damage(FILES[name], chance)
        assert damaged != FILES[name]
        path = put(folder, name, damaged, packed=packed)
        with pytest.raises(DataError) as refusal:
            data.fashion_mnist(0, validation=5)
        assert type(refusal.value) is DataError  # and not that the set were missing
        assert str(path) in str(refusal.value)
        put(folder, name, FILES[name], packed=packed)
        assert len(data.fashion_mnist(0, validation=5).train.targets) == 45  # it was refused for its damage alone


# ----------------------------------------------------------------------------------------------------------------
# Checkpoints
# ----------------------------------------------------------------------------------------------------------------

SEAL = len("\nsha256:") + 64


@pytest.fixture
def checkpoint(tmp_path):
    """The checkpoint of a run with momentum that has a network, batches and a generator to go on with."""
    model = network(stream(0, "weights"))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = Minibatches(problem(0), 4, stream(0, "batches"))
    masks = stream(0, "masks")
    trainer = Trainer(model, nn.functional.mse_loss, optimizer, batches, generators={"masks": masks})
    for _ in range(8):
        next(trainer)
    return save_checkpoint(tmp_path / "run.pt", trainer.state_dict())


def places(length, injected):
    """A place in the file for each fault, and its chance: one of five in the seal, the others all over the file."""
    for number, chance in enumerate(injected):
        # Multiples of the golden ratio: wherever the faults end, they have left no wide gap.
        anywhere = int(length * (number * 0.6180339887 % 1))
        yield length - chance.randint(1, SEAL) if number % 5 == 4 else anywhere, chance


def test_no_checkpoint_with_a_flipped_bit_is_loaded(checkpoint, faults, tmp_path):
    sound, damaged = checkpoint.read_bytes(), tmp_path / "damaged.pt"
    assert load_checkpoint(checkpoint)["steps"] == 8
    for place, chance in places(len(sound), faults("checkpoints with one flipped bit", few=60, all=500)):
        damaged.write_bytes(flipped(sound, place, chance.randrange(8)))
        with pytest.raises(CheckpointError, match=r"damaged\.pt"):
            load_checkpoint(damaged)


def test_no_checkpoint_that_was_cut_short_is_loaded(checkpoint, faults, tmp_path):
    sound, damaged = checkpoint.read_bytes(), tmp_path / "damaged.pt"
    assert load_checkpoint(checkpoint)["steps"] == 8
    for size, _ in places(len(sound), faults("checkpoints cut short", few=60, all=500)):
        damaged.write_bytes(sound[:size])
        with pytest.raises(CheckpointError, match=r"damaged\.pt"):
            load_checkpoint(damaged)
