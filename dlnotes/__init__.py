"""Notes that run: the statements of a deep learning course as library, experiments and verdicts.

Subpackages are imported by name and nothing is imported before it is asked for:

>>> from dlnotes import data, linear
>>> from dlnotes.training import Trainer
"""

__version__ = "0.1.0"
