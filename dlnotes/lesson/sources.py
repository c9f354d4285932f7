"""Which code a lesson's numbers depend on, as a checksum that comments and docstrings do not change.

The lesson, the modules of its own that it imports, and the part of the library that it imports; directly or by way of
another. Works on the text alone, with the standard library: no module is imported.
"""

import ast
import hashlib
import io
import site
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Sources", "bare", "checksum_of_code", "checksum_of_judge", "sources_of"]

# What a lesson makes of its numbers after they were measured: a new figure or margin needs no new run.
_AFTERWARDS = frozenset({"findings", "figure"})
# The part of the library that judges and shows, for the same reason; and the one that downloads: whatever its code, it
# gives files with known checksums.
_NOT_MEASURING = ("dlnotes.lesson", "dlnotes.evidence", "dlnotes.data.web")
# Packages whose versions every result names, wherever they are installed.
_NAMED = frozenset({"torch", "numpy", "scipy", "matplotlib", "PIL", "tqdm"})
# With these a file can run code that its text does not show.
_BUILTINS_THAT_RUN_CODE = frozenset({"exec", "eval", "compile", "__import__"})
_MODULES_THAT_RUN_CODE = frozenset({"importlib", "runpy", "imp"})


@dataclass
class Sources:
    """What a lesson imports.

    Attributes:
        files: the file of each module of the library and of the lesson's own, by its dotted name.
        packages: the installed packages that it imports itself, but for those that every result names.
        unknown: what it imports and is not to be found.
        doubt: why not all of its code can be known; empty where it can.
    """

    files: dict[str, Path] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    doubt: str = ""


def checksum_of_code(script: Path, library: Path, text: str | None = None) -> str:
    """The SHA-256 of the code that the numbers of a lesson depend on, without comments, docstrings and blank lines.

    The lesson, without its ``findings`` and ``figure``, and each file of `sources_of`.

    Args:
        script: the lesson's file.
        library: the folder of the ``dlnotes`` package.
        text: what stands in the file, or runs in its place; read from it where not given.
    """
    text = script.read_text(encoding="utf-8") if text is None else text
    digest = hashlib.sha256(bare(text, without=_AFTERWARDS).encode())
    for name, path in sorted(sources_of(script, library, text).files.items()):
        digest.update(f"\n{name}\n{bare(path.read_text(encoding='utf-8'))}".encode())
    return digest.hexdigest()


def checksum_of_judge(script: Path, library: Path, text: str | None = None) -> str:
    """The SHA-256 of the code that makes a verdict of the numbers: the lesson without its figure, and the judge."""
    text = script.read_text(encoding="utf-8") if text is None else text
    judge = (library / "evidence.py").read_text(encoding="utf-8")
    return hashlib.sha256((bare(text, without=frozenset({"figure"})) + bare(judge)).encode()).hexdigest()


def sources_of(script: Path, library: Path, text: str | None = None) -> Sources:
    """The files that a script imports, directly or by way of another, and what is not known of them.

    Left out is the part of the library that judges, shows or downloads, and the library's own ``__init__``, which
    imports nothing.

    Args:
        script: the lesson's file; modules of its own are looked for beside it first, as Python does.
        library: the folder of the ``dlnotes`` package.
        text: what stands in the file, or runs in its place; read from it where not given.
    """
    text = script.read_text(encoding="utf-8") if text is None else text
    found = Sources()
    waiting = [("", False, text)]
    while waiting:
        importer, is_package, text = waiting.pop()
        ours = importer.split(".")[0] == library.name
        if not ours and (reason := _runs_code_unseen(text)):
            found.doubt = found.doubt or f"{f'{importer}.py' if importer else script.name} {reason}"
        for name in _imported(text, importer, is_package):
            if name in found.files or name == library.name or _is_left_out(name):
                continue
            path = _file_of(name, script.parent, library, found)
            if path is not None and path.suffix == ".py":
                found.files[name] = path
                waiting.append((name, path.name == "__init__.py", path.read_text(encoding="utf-8")))
            elif path is not None:
                found.doubt = found.doubt or f"{path.name} is no Python source"
    return found


def _is_left_out(name: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in _NOT_MEASURING)


def _runs_code_unseen(text: str) -> str:
    for node in ast.walk(_tree(text)):
        if isinstance(node, ast.Name) and node.id in _BUILTINS_THAT_RUN_CODE:
            return f"uses {node.id}, which can run code that its text does not show"
    for name in _imported(text, "", False):
        if name.split(".")[0] in _MODULES_THAT_RUN_CODE:
            return f"imports {name.split('.')[0]}, which can run code that its text does not show"
    return ""


@cache
def _imported(text: str, importer: str, is_package: bool) -> tuple[str, ...]:
    """Dotted names that may be modules, each after the packages that it lies in: Python runs all of them.

    Of ``from a import b`` both ``a`` and ``a.b``.
    """
    names: dict[str, None] = {}
    for node in ast.walk(_tree(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name: None for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parts = importer.split(".")
                above = parts[: len(parts) - node.level + is_package]
                module = ".".join([*above, *filter(None, [module])])
            names |= {".".join(filter(None, [module, alias.name])): None for alias in node.names}
    split = [name.split(".") for name in names]
    return tuple(dict.fromkeys(".".join(parts[: length + 1]) for parts in split for length in range(len(parts))))


def _file_of(name: str, folder: Path, library: Path, found: Sources) -> Path | None:
    """The file of a module of the library or of the lesson's own; None for what is neither, or no module at all."""
    top, *inner = name.split(".")
    base = library if top == library.name else _own(top, folder, found)
    if base is None:
        return None
    if not inner and base.is_file():
        return base
    base = base.with_suffix("") if base.is_file() else base
    place = base.joinpath(*inner)
    candidates = place / "__init__.py", place.with_name(f"{place.name}.py")  # in Python's order
    return next((path for path in candidates if path.is_file()), None)


def _own(top: str, folder: Path, found: Sources) -> Path | None:
    """The file or folder of a module of the lesson's own: beside the lesson, or found elsewhere and not installed."""
    if top in sys.stdlib_module_names or top in _NAMED:
        return None
    beside = PathFinder.find_spec(top, [str(folder)])
    try:
        spec = beside or find_spec(top)
    except ValueError:  # something that is loaded and came from no file
        spec = None
    if spec is None:
        found.unknown.add(top)
        return None
    if spec.origin is None:  # a folder without __init__.py
        return Path(str(next(iter(spec.submodule_search_locations or [str(folder)]))))
    origin = Path(spec.origin)
    if beside is None and any(origin.is_relative_to(one) for one in _installed()):
        found.packages.add(top)
        return None
    return origin.parent if origin.name == "__init__.py" else origin


@cache
def _installed() -> tuple[str, ...]:
    """The folders in which packages are installed."""
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages()}
    return tuple(places | set(site.getsitepackages()))


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def bare(text: str, without: frozenset[str] = frozenset()) -> str:
    """A source without comments, docstrings, trailing space, blank lines and some of its top-level functions.

    What stands in other texts of several lines is kept to the letter.
    """
    lines = text.split("\n")
    inside: set[int] = set()  # the rows that end within a text
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind, (row, column), (last, _) = tokenize.tok_name[token.type], token.start, token.end
        if kind == "COMMENT":
            lines[row - 1] = lines[row - 1][:column]
        elif kind == "FSTRING_START":  # from Python 3.12 on; before, it is one STRING
            opened.append(row)
        elif kind in ("STRING", "FSTRING_END"):
            inside |= set(range((opened.pop() if kind == "FSTRING_END" else row) - 1, last - 1))
    for node in _left_out(_tree(text), without):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before = lines[first].encode()[: node.col_offset]  # the columns of a syntax tree count bytes
        after = lines[last].encode()[node.end_col_offset :]
        lines[first : last + 1] = [(before + after).decode(), *[""] * (last - first)]
        inside -= set(range(first, last))
    kept = (line if row in inside else line.rstrip() for row, line in enumerate(lines))
    return "\n".join(line for row, line in enumerate(kept) if line or row in inside)


def _left_out(tree: ast.Module, without: frozenset[str]) -> Iterator[ast.stmt]:
    """The docstrings, and the top-level functions of some names."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in without]
    yield from functions
    gone = {id(inner) for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and id(node) not in gone
        ):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first
