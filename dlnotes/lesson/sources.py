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

# What a lesson makes of its numbers after they were measured: a new figure or margin needs no new run, and an answer is
# no judgement.
_AFTERWARDS = frozenset({"PREDICTIONS", "ANSWERS", "figure"})
_SHOWING = frozenset({"ANSWERS", "figure"})
# What the runner takes from a lesson by its name, though nothing in it may use that.
_TAKEN = frozenset({"Config", "QUICK", "SEEDS", "TUNING", "TUNING_SEEDS", "DATA", "trial", "tune"}) | _AFTERWARDS
# The part of the library that judges and shows, for the same reason; and the one that downloads: whatever its code, it
# gives files with known checksums.
_NOT_MEASURING = ("dlnotes.lesson", "dlnotes.evidence", "dlnotes.data.web")
# By these a name of a module can be reached without its text showing it.
_NAMESPACES = frozenset({"globals", "locals", "vars", "__globals__", "__dict__", "modules", "f_globals", "f_locals"})
# Packages whose versions every result names, wherever they are installed.
_NAMED = frozenset({"torch", "torchvision", "numpy", "scipy", "matplotlib", "PIL", "tqdm"})
# With these a file can run code that its text does not show.
_BUILTINS_THAT_RUN_CODE = frozenset({"exec", "eval", "compile", "__import__"})
_MODULES_THAT_RUN_CODE = frozenset({"importlib", "imp", "pkgutil", "runpy"})


@dataclass
class Sources:
    """What a lesson imports.

    Attributes:
        files: the file of each module of the library and of the lesson's own, by its dotted name.
        packages: the installed packages that it imports itself, but for those that every result names.
        unknown: dotted names that it imports and that no file was found for; most are functions, and no modules.
        doubt: why not all of its code can be known; empty where it can.
    """

    files: dict[str, Path] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    doubt: str = ""


def checksum_of_code(script: Path, library: Path, text: str | None = None) -> str:
    """The SHA-256 of the code that the numbers of a lesson depend on, without comments, docstrings and blank lines.

    The lesson, without its predictions, its answers, its figure and what only they use, and each file of `sources_of`.

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
    """The SHA-256 of the code that makes verdicts of numbers: the judge, and the lesson without answers and figure."""
    text = script.read_text(encoding="utf-8") if text is None else text
    judge = (library / "evidence.py").read_text(encoding="utf-8")
    return hashlib.sha256((bare(text, without=_SHOWING) + bare(judge)).encode()).hexdigest()


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
    looked_for: set[str] = set()
    plain: set[str] = set()  # modules that are one file: what else begins with their name is none
    waiting = [("", False, text)]
    while waiting:
        importer, is_package, text = waiting.pop()
        ours = importer.split(".")[0] == library.name
        if not ours and (reason := _runs_code_unseen(text, library.name, is_script=not importer)):
            found.doubt = found.doubt or f"{f'{importer}.py' if importer else script.name} {reason}"
        for name in _imported(text, importer, is_package):
            if name in looked_for or name == library.name or _is_left_out(name):
                continue
            looked_for.add(name)
            if name.rpartition(".")[0] in plain:
                continue
            bases = [library] if name.split(".")[0] == library.name else _own(name.split(".")[0], script.parent, found)
            path = _file_of(name, bases)
            if path is None:
                found.unknown |= {name} if bases and bases != [library] else set()
            elif path.suffix == ".py":
                found.files[name] = path
                plain |= {name} if path.name != "__init__.py" else set()
                waiting.append((name, path.name == "__init__.py", path.read_text(encoding="utf-8")))
            else:
                found.doubt = found.doubt or f"{path.name} is no Python source"
    return found


def _is_left_out(name: str) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in _NOT_MEASURING)


@cache
def _runs_code_unseen(text: str, library: str, is_script: bool) -> str:
    for node in _nodes(_tree(text)):
        if isinstance(node, ast.Name) and node.id in _BUILTINS_THAT_RUN_CODE:
            return f"uses {node.id}, which can run code that its text does not show"
        if isinstance(node, ast.Import) and any(alias.name == library for alias in node.names):
            return f"imports {library} as a whole, and does not show which part of it: import the parts"
        if isinstance(node, ast.ImportFrom) and node.level and is_script:
            return "imports relatively, which depends on how it is run"
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
    for node in _statements(_tree(text)):
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


def _file_of(name: str, bases: list[Path]) -> Path | None:
    """The file of a module, below the file or the folders of its top-level package; None where there is none."""
    inner = name.split(".")[1:]
    for base in bases:
        if base.is_file():
            if not inner:
                return base
            continue
        place = base.joinpath(*inner)
        candidates = place / "__init__.py", place.with_name(f"{place.name}.py")  # in Python's order
        if found := next((path for path in candidates if path.is_file()), None):
            return found
    return None


def _own(top: str, folder: Path, found: Sources) -> list[Path]:
    """Where a module of the lesson's own is, beside the lesson or elsewhere: a file or folders; none if it is others'.

    What is found nowhere is noted as unknown, and an installed package by its name.
    """
    if top in _NAMED:
        return []
    beside = PathFinder.find_spec(top, [str(folder)])
    if beside is None and top in sys.stdlib_module_names:
        return []
    try:
        elsewhere = None if beside and beside.origin else find_spec(top)
    except (ImportError, ValueError):  # something that is loaded and came from no file
        elsewhere = None
    spec = elsewhere if elsewhere and (elsewhere.origin or beside is None) else beside
    if spec is None:
        found.unknown.add(top)
        return []
    if spec.origin is None:  # folders without __init__.py
        return [Path(place) for place in spec.submodule_search_locations or ()]
    origin = Path(spec.origin)
    if beside is None and any(origin.is_relative_to(one) for one in _installed()):
        found.packages.add(top)
        return []
    return [origin.parent if origin.name == "__init__.py" else origin]


@cache
def _installed() -> tuple[str, ...]:
    """The folders in which packages are installed."""
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages()}
    return tuple(places | set(site.getsitepackages()))


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _nodes(node: ast.AST) -> tuple[ast.AST, ...]:
    """All that a part of a `_tree` is made of. Each part is looked through several times, and that is slow."""
    return tuple(ast.walk(node))


@cache
def _statements(node: ast.AST) -> tuple[ast.AST, ...]:
    """The statements among them. No expression has one inside, so that most of the tree need not be looked at."""
    waiting = [node]
    for one in waiting:
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(one, part, ())
            waiting += inner if isinstance(inner, list) else ()
    return tuple(waiting)


@cache
def _without_comments(text: str) -> tuple[tuple[str, ...], frozenset[int]]:
    """The lines of a source without its comments, and the rows that end within a text of several lines."""
    lines = text.split("\n")
    inside: set[int] = set()
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind, (row, column), (last, _) = tokenize.tok_name[token.type], token.start, token.end
        if kind == "COMMENT":
            lines[row - 1] = lines[row - 1][:column]
        elif kind in ("FSTRING_START", "TSTRING_START"):  # from Python 3.12 on; before, it is one STRING
            opened.append(row)
        elif kind in ("STRING", "FSTRING_END", "TSTRING_END"):
            inside |= set(range((row if kind == "STRING" else opened.pop()) - 1, last - 1))
    return tuple(lines), frozenset(inside)


@cache
def bare(text: str, without: frozenset[str] = frozenset()) -> str:
    """A source without comments, docstrings, trailing space, blank lines and some of its top-level definitions.

    With them goes what only they use. What stands in other texts of several lines is kept to the letter.
    """
    uncommented, within = _without_comments(text)
    lines, inside = list(uncommented), set(within)
    changed = _without(_tree(text), without)
    changed += [(node, "") for node in _docstrings(_tree(text), [node for node, _ in changed])]
    # The last one first, so that what stands before it stays where it is.
    for node, new in sorted(changed, key=lambda one: (one[0].lineno, one[0].col_offset), reverse=True):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before = lines[first].encode()[: node.col_offset]  # the columns of a syntax tree count bytes
        after = lines[last].encode()[node.end_col_offset :]
        lines[first : last + 1] = [(before + new.encode() + after).decode(), *[""] * (last - first)]
        inside -= set(range(first, last))
    kept = (line if row in inside else line.rstrip() for row, line in enumerate(lines))
    return "\n".join(line for row, line in enumerate(kept) if line or row in inside)


def _without(tree: ast.Module, names: frozenset[str]) -> list[tuple[ast.stmt, str]]:
    """The top-level definitions of some names, and those that only they use, each with what is to stand in its place.

    None that what remains uses: of an import of several names, those that it needs stay.
    """
    if not names or _reaches_names_unseen(tree):
        return []
    defined = {id(node): _defined_by(node) for node in tree.body}
    used = {id(node): _used_by(node) for node in tree.body}
    gone = [node for node in tree.body if defined[id(node)] and defined[id(node)] <= names]
    # A definition that what remains uses is part of what that does, whatever its name.
    while True:
        remaining = set().union(*(used[id(node)] for node in tree.body if node not in gone))
        needed = [node for node in gone if defined[id(node)] & remaining]
        gone = [node for node in gone if node not in needed]
        freed = set().union(*(used[id(node)] for node in gone)) - remaining - (_TAKEN - names)
        more = [node for node in tree.body if node not in gone and defined[id(node)] and defined[id(node)] <= freed]
        if not needed and not more:
            imports = [node for node in tree.body if node not in gone and isinstance(node, ast.Import | ast.ImportFrom)]
            return [*((node, "") for node in gone), *_trimmed(imports, freed)]
        gone += more


def _trimmed(imports: list[ast.Import | ast.ImportFrom], freed: set[str]) -> Iterator[tuple[ast.stmt, str]]:
    """Imports without the names that nothing needs any more, as text."""
    for node in imports:
        kept = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] not in freed]
        if len(kept) < len(node.names):
            names = ", ".join(f"{one.name} as {one.asname}" if one.asname else one.name for one in kept)
            source = f"from {'.' * node.level}{node.module or ''} " if isinstance(node, ast.ImportFrom) else ""
            yield node, f"{source}import {names}"


@cache
def _reaches_names_unseen(tree: ast.Module) -> bool:
    """Whether code may read or bind a name of the module that does not stand where that happens."""
    for statement in tree.body:
        for one in _nodes(statement):
            if isinstance(one, ast.Name) and (
                one.id in _NAMESPACES or (one.id == "__name__" and not isinstance(statement, ast.If))
            ):
                return True
            if isinstance(one, ast.Global) or (isinstance(one, ast.Attribute) and one.attr in _NAMESPACES):
                return True
    return False


def _does_more(node: ast.expr) -> bool:
    """Whether finding a value may change something else: it binds a name, or calls a method."""
    inside: list[ast.AST] = [node]
    while inside:
        one = inside.pop()
        if isinstance(one, ast.Lambda):  # runs later, where it is used
            continue
        if isinstance(one, ast.NamedExpr) or (isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)):
            return True
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id in ("setattr", "delattr"):
            return True
        inside += ast.iter_child_nodes(one)
    return False


def _defined_by(node: ast.stmt) -> set[str]:
    """The names that a function, an assignment or an import binds; none for any other statement, and for a class.

    A class may be found by what it derives from, and what stands in it runs. So it is with an assignment whose value
    does more than to be one.
    """
    if isinstance(node, ast.FunctionDef):
        return {node.name} if not node.decorator_list else set()
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets: list[ast.expr] = [*node.targets] if isinstance(node, ast.Assign) else [node.target]
        names = {one.id for one in targets if isinstance(one, ast.Name)}
        plain = all(isinstance(one, ast.Name) for one in targets) and not (node.value and _does_more(node.value))
        return names if plain else set()
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return set()


@cache
def _used_by(node: ast.stmt) -> set[str]:
    """The names that a statement reads, at once or when it is called; a function that calls itself is not its user."""
    read = {one.id for one in _nodes(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
    return read - ({node.name} if isinstance(node, ast.FunctionDef) else set())


def _docstrings(tree: ast.Module, gone: list[ast.stmt]) -> Iterator[ast.stmt]:
    within = {id(inner) for node in gone for inner in _statements(node)}
    for node in _statements(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and id(node) not in within
        ):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first
