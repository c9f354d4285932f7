"""Where data lies: the root, which is only read, and the cache, which may be deleted at any time.

========  ==================  =======================  ====================
place     first               then, in a checkout      otherwise
========  ==================  =======================  ====================
root      ``$DLNOTES_DATA``   ``data/``                the user's cache folder
cache     ``$DLNOTES_CACHE``  ``data/cache/``          the user's cache folder
========  ==================  =======================  ====================
"""

import os
from pathlib import Path

__all__ = ["cache", "root"]


def root(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder in which data sets are looked for: ``folder`` if given, else the first that the table names.

    Example:
        >>> root("elsewhere").name
        'elsewhere'
    """
    given = folder or os.environ.get("DLNOTES_DATA")
    if given:
        return Path(given).expanduser()
    checkout = _checkout()
    return checkout / "data" if checkout else _user_cache() / "data"


def cache() -> Path:
    """The folder for what is made from data and can be made again."""
    given = os.environ.get("DLNOTES_CACHE")
    if given:
        return Path(given).expanduser()
    checkout = _checkout()
    return checkout / "data" / "cache" if checkout else _user_cache() / "cache"


def _checkout() -> Path | None:
    """The working copy that this file is part of; None where the package was installed."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "pyproject.toml").is_file() else None


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dlnotes"
