"""What is known of the published sets of pictures: their files, the checksums, and how to get them.

The checksums are of the unpacked bytes. Those of Fashion-MNIST and MNIST belong to the files as published (for
Fashion-MNIST computed from files whose MD5 is the one its authors state; for MNIST as a dozen projects state them
independently, and as torchvision's MD5 of the packed files lets through). notMNIST was never published in this form:
its files are made from the archive of pictures by a fixed rule (`dlnotes.data.notmnist`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dlnotes.data.idx import Checksum

__all__ = ["FASHION_MNIST", "MNIST", "NOT_MNIST", "TEST", "TRAIN", "Copy", "ImageSet", "known_copy"]

TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


class Copy(NamedTuple):
    """One known state of a set: its name, and the checksum of each of its four files."""

    name: str
    files: Mapping[str, Checksum]


@dataclass(frozen=True)
class ImageSet:
    """What is known of a set of pictures: enough to find it, to check it and to say how to get it."""

    name: str  # as `load` knows it
    title: str  # as its authors write it
    about: str  # what it shows, in a few words
    folder: str  # below the data root; torchvision's name, where torchvision has a class for it
    copies: tuple[Copy, ...]  # every state of the files that is accepted
    archives: tuple[str, ...] = ()  # names of the archive that the four files are made from, if nobody offers them
    source: str = ""  # where that archive is from
    mirrors: tuple[str, ...] = ()  # folders on the web that offer the four files, packed


def known_copy(name: str, train: int, test: int, *sums: str) -> Copy:
    """A copy from its counts and its four SHA-256: training images and labels, test images and labels."""
    sizes = (16 + 784 * train, 8 + train, 16 + 784 * test, 8 + test)
    return Copy(name, dict(zip(TRAIN + TEST, map(Checksum, sizes, sums), strict=True)))


FASHION_MNIST = ImageSet(
    "fashion_mnist",
    "Fashion-MNIST",
    "70,000 photographs of clothes, 28x28 grey pixels, in ten classes",
    "FashionMNIST",
    (
        known_copy(
            "as published",
            60_000,
            10_000,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
)

MNIST = ImageSet(
    "mnist",
    "MNIST",
    "70,000 handwritten digits, 28x28 grey pixels",
    "MNIST",
    (
        known_copy(
            "as published",
            60_000,
            10_000,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/",),
)

NOT_MNIST = ImageSet(
    "not_mnist",
    "notMNIST",
    "18,724 capital letters from A to J in fonts found on the web, 28x28 grey pixels",
    "NotMNIST",
    (
        known_copy(
            "the small set, split by file name",
            16_724,
            2_000,
            "0c08b4f609b8d6d85ae29f10beb06b1eb7e0cb51b0991f369ec4bf2c3ab2bdc1",
            "dbec867c8bd08ff10a480ba91fc39bbe9a302f3c80ee8950c1482f1336043aad",
            "9d149fa837e2ad7d40a40ac118a54d209acb909975bc6cdc196550dd19fb1b61",
            "231a98bb7d393916f78be2123261d9a18abc1522344fa59e9931697c9720f2fe",
        ),
    ),
    archives=("notMNIST_small.tar.gz", "notMNIST_small-rebuilt.tar.gz"),
    source="http://yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html",
)
