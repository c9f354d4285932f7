"""Where things lie: the package, the checkout, the data root, which is only read, and the cache, which may be deleted.

========  ==================  =======================  ====================
place     first               then, in a checkout      otherwise
========  ==================  =======================  ====================
root      ``$DLNOTES_DATA``   ``data/``                the user's cache folder
cache     ``$DLNOTES_CACHE``  ``data/cache/``          the user's cache folder
========  ==================  =======================  ====================
"""

import os
from pathlib import Path

__all__ = ["PACKAGE", "cache", "checkout", "root"]

PACKAGE = Path(__file__).resolve().parent
"""The folder of this package."""


def root(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder in which data sets are looked for: ``folder`` if given, else the first that the table names.

    Example:
        >>> root("elsewhere").name
        'elsewhere'
    """
    given = folder or os.environ.get("DLNOTES_DATA")
    if given:
        return Path(given).expanduser()
    here = checkout()
    return here / "data" if here else _user_cache() / "data"


def cache() -> Path:
    """The folder for what is made from data and can be made again."""
    given = os.environ.get("DLNOTES_CACHE")
    if given:
        return Path(given).expanduser()
    here = checkout()
    return here / "data" / "cache" if here else _user_cache() / "cache"


def checkout() -> Path | None:
    """The working copy that this package is part of; None where it was installed."""
    folder = PACKAGE.parent
    return folder if (folder / "pyproject.toml").is_file() else None


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dlnotes"
