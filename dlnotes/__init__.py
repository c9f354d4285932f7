"""Notes that run: the statements of a deep learning course as library, experiments and verdicts.

Subpackages are imported by name and nothing is imported before it is asked for:

>>> from dlnotes import data, linear
>>> from dlnotes.training import Trainer
"""

import time

__version__ = "0.1.0"

# When Python began to load the library: of a file that was changed since, nobody knows which state of it runs.
_loaded_at = time.time()
