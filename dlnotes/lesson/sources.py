"""Which code a lesson's numbers depend on, as a checksum that comments and docstrings do not change.

Works on the text alone, with the standard library: no module is imported.
"""

import ast
import hashlib
import io
import tokenize
from pathlib import Path

__all__ = ["checksum_of_code", "checksum_of_judge", "sources_of"]

# What a lesson makes of its numbers after they were measured: a new figure or margin needs no new run.
_AFTERWARDS = frozenset({"findings", "figure"})
# The part of the library that judges and shows, for the same reason; and the one that downloads: whatever its code, it
# gives files with known checksums.
_NOT_MEASURING = ("dlnotes.lesson", "dlnotes.evidence", "dlnotes.data.web")


def checksum_of_code(script: Path, library: Path) -> str:
    """The SHA-256 of the code that the numbers of a lesson depend on.

    The lesson, without its ``findings`` and ``figure``, and each file of the library that it imports, directly or by
    way of another; all without comments, docstrings and blank lines.

    Args:
        script: the lesson's file.
        library: the folder of the ``dlnotes`` package.
    """
    digest = hashlib.sha256(_bare(script.read_text(encoding="utf-8"), without=_AFTERWARDS).encode())
    for path in sources_of(script, library):
        digest.update(f"\n{path.relative_to(library).as_posix()}\n".encode())
        digest.update(_bare(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


def checksum_of_judge(script: Path, library: Path) -> str:
    """The SHA-256 of the code that makes a verdict of the numbers: the lesson without its figure, and the judge."""
    judge = (library / "evidence.py").read_text(encoding="utf-8")
    text = _bare(script.read_text(encoding="utf-8"), without=frozenset({"figure"})) + _bare(judge)
    return hashlib.sha256(text.encode()).hexdigest()


def sources_of(script: Path, library: Path) -> list[Path]:
    """The files of the library that a script imports, directly or by way of another, sorted.

    What judges and shows the numbers, or downloads, is left out, and so is the package's own ``__init__``, which
    imports nothing.
    """
    found: set[Path] = set()
    waiting = [script]
    while waiting:
        tree = ast.parse(waiting.pop().read_text(encoding="utf-8"))
        for name in _imported(tree):
            path = _file_of(name, library)
            if path and path not in found and not name.startswith(_NOT_MEASURING):
                found.add(path)
                waiting.append(path)
    return sorted(found - {library / "__init__.py"})


def _imported(tree: ast.AST) -> set[str]:
    """Dotted names that may be modules of the library: of ``from a import b`` both ``a`` and ``a.b``."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "dlnotes"}


def _file_of(name: str, library: Path) -> Path | None:
    base = library.joinpath(*name.split(".")[1:])
    candidates = base.with_suffix(".py"), base / "__init__.py"
    return next((path for path in candidates if path.is_file()), None)


def _bare(source: str, without: frozenset[str] = frozenset()) -> str:
    """The lines of a source without comments, docstrings, trailing space, blank lines and some top-level functions."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    tree = ast.parse(source)
    left_out: list[ast.stmt] = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in without
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                left_out.append(first)
    for node in left_out:
        for row in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())
