"""What the lessons learn from: letters and sequences drawn on the spot, pictures and texts checked byte by byte.

>>> from dlnotes import data
>>> letters = data.letters(0, train=500)
>>> inputs, targets = letters.train
>>> inputs.shape
torch.Size([500, 1, 28, 28])
"""

from dlnotes.data.catalogue import available, describe, download, fingerprint, load, names, texts
from dlnotes.data.corpora import Text, load_text, load_words
from dlnotes.data.english import word_categories, word_pairs
from dlnotes.data.examples import DataError, Examples, MissingDataError, Parts
from dlnotes.data.images import fashion_mnist, mnist, not_mnist
from dlnotes.data.letters import STANDARD, Distortion, Faces, letters, split_faces
from dlnotes.data.planted import ChainedWords, CrossedWords, PlantedWords, class_chain, crossed_attributes, zipf
from dlnotes.data.pronunciations import Pronunciations, Words, load_pronunciations
from dlnotes.data.sequences import (
    GardenPath,
    adding,
    copy_memory,
    delayed_recall,
    garden_path,
    is_sentence,
    k_back,
    markov_chain,
    sentences,
    transition_matrix,
)
from dlnotes.places import cache, root

__all__ = [
    "STANDARD",
    "ChainedWords",
    "CrossedWords",
    "DataError",
    "Distortion",
    "Examples",
    "Faces",
    "GardenPath",
    "MissingDataError",
    "Parts",
    "PlantedWords",
    "Pronunciations",
    "Text",
    "Words",
    "adding",
    "available",
    "cache",
    "class_chain",
    "copy_memory",
    "crossed_attributes",
    "delayed_recall",
    "describe",
    "download",
    "fashion_mnist",
    "fingerprint",
    "garden_path",
    "is_sentence",
    "k_back",
    "letters",
    "load",
    "load_pronunciations",
    "load_text",
    "load_words",
    "markov_chain",
    "mnist",
    "names",
    "not_mnist",
    "root",
    "sentences",
    "split_faces",
    "texts",
    "transition_matrix",
    "word_categories",
    "word_pairs",
    "zipf",
]
