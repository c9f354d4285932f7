"""What the lessons learn from: letters drawn on the spot, and published sets of pictures, checked byte by byte.

>>> from dlnotes import data
>>> letters = data.letters(0, train=500)
>>> inputs, targets = letters.train
>>> inputs.shape
torch.Size([500, 1, 28, 28])
"""

from dlnotes.data.catalogue import available, describe, download, fingerprint, load, names
from dlnotes.data.examples import DataError, Examples, MissingDataError, Parts
from dlnotes.data.images import fashion_mnist, mnist, not_mnist
from dlnotes.data.letters import STANDARD, Distortion, Faces, letters, split_faces
from dlnotes.places import cache, root

__all__ = [
    "STANDARD",
    "DataError",
    "Distortion",
    "Examples",
    "Faces",
    "MissingDataError",
    "Parts",
    "available",
    "cache",
    "describe",
    "download",
    "fashion_mnist",
    "fingerprint",
    "letters",
    "load",
    "mnist",
    "names",
    "not_mnist",
    "root",
    "split_faces",
]
