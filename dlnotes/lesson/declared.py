"""What a lesson declares in plain literals, read from its text: settings, predictions and answers.

Standard library alone, and nothing is imported or run: `make check`, ``--help`` and the tables need no PyTorch.
"""

import ast
import string
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Declared", "DeclaredAnswer", "DeclaredPrediction", "Effect", "declared_in", "faults_in", "filled_in"]

TEXTS_IN_WORDS = {
    "planted": "planted words",
    "python_docs": "Python's documentation",
    "tiny_shakespeare": "Shakespeare",
    "text8": "Wikipedia",
    "wikitext2": "good articles of Wikipedia",
}
DATA_IN_WORDS = {
    "fashion_mnist": "Fashion-MNIST images",
    "mnist": "MNIST digits",
    "not_mnist": "notMNIST letters",
    **TEXTS_IN_WORDS,
}
VERDICTS = ("supported", "refuted", "inconclusive")
KINDS = ("claim", "limit")

# A sentence that begins so leans on the one before it, and is read without it in tables and answers.
_LEANING = frozenset({"and", "it", "its", "so", "nor", "but", "or", "they", "there", "then", "this", "that", "these"})


class DeclaredPrediction(NamedTuple):
    """A prediction as it stands in the text; None for a word that is not a plain literal."""

    kind: str
    row: str | None
    name: str | None
    sentence: str | None
    line: int


class DeclaredAnswer(NamedTuple):
    """An answer as it stands in the text; None for what is not a plain literal."""

    row: str | None
    sentence: str | None
    given: dict[str, str] | None
    line: int


class Declared(NamedTuple):
    """What a lesson declares.

    Attributes:
        settings: the fields of its `Config`, a line each, with default and comment.
        names: the names of fields and properties of `Config`, which sentences may be filled in from.
        predictions: its predictions.
        answers: its answers.
        complete: whether all of both could be read; what is made by a loop or a function cannot.
        shown: what its figure shows: the text of the cell that is called "What to look at".
    """

    settings: tuple[str, ...]
    names: frozenset[str]
    predictions: tuple[DeclaredPrediction, ...]
    answers: tuple[DeclaredAnswer, ...]
    complete: bool
    shown: str


def declared_in(path: Path) -> Declared:
    """What the lesson in a file declares.

    Raises:
        SyntaxError: the file is no Python.
    """
    return _read(path.read_text(encoding="utf-8"))


@cache
def _read(source: str) -> Declared:
    """What the lesson of this text declares."""
    lines, body = source.splitlines(), ast.parse(source).body
    config = [part for node in body if isinstance(node, ast.ClassDef) and node.name == "Config" for part in node.body]
    fields = [part for part in config if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
    properties = [part.name for part in config if isinstance(part, ast.FunctionDef) and _is_property(part)]
    predictions, all_predictions = _calls(body, "PREDICTIONS", KINDS)
    answers, all_answers = _calls(body, "ANSWERS", ("answer",))
    return Declared(
        tuple(lines[field.lineno - 1].strip() for field in fields),
        frozenset([*(field.target.id for field in fields if isinstance(field.target, ast.Name)), *properties]),
        tuple(
            DeclaredPrediction(
                _called(call),
                _text(_argument(call, 0, "row")),
                _text(_argument(call, 1, "name")),
                _text(_argument(call, 2, "sentence")),
                call.lineno,
            )
            for call in predictions
        ),
        tuple(
            DeclaredAnswer(
                _text(_argument(call, 0, "row")),
                _text(_argument(call, 1, "sentence")),
                _words(_argument(call, 2, "given")),
                call.lineno,
            )
            for call in answers
        ),
        all_predictions and all_answers,
        _cell(lines, "What to look at"),
    )


def _cell(lines: list[str], title: str) -> str:
    """The text of the cell of that title, as one line."""
    start = next((row for row, line in enumerate(lines) if line == f"# {title}"), len(lines))
    text = takewhile(lambda line: line.startswith("#"), lines[start + 2 :])  # behind the title and its rule
    return " ".join(" ".join(line.removeprefix("#") for line in text).split())


def _is_property(function: ast.FunctionDef) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "property" for one in function.decorator_list)


def _calls(body: list[ast.stmt], name: str, functions: tuple[str, ...]) -> tuple[list[ast.Call], bool]:
    """The calls in the list of that name, and whether there is such a list and nothing else in it."""
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == name and isinstance(node, ast.Assign | ast.AnnAssign):
            if not isinstance(node.value, ast.List | ast.Tuple):
                return [], False
            calls = [one for one in node.value.elts if isinstance(one, ast.Call) and _called(one) in functions]
            return calls, len(calls) == len(node.value.elts)
    return [], name == "ANSWERS"


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _argument(call: ast.Call, place: int, name: str) -> ast.expr | None:
    named = (one.value for one in call.keywords if one.arg == name)
    return call.args[place] if len(call.args) > place else next(named, None)


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _words(node: ast.expr | None) -> dict[str, str] | None:
    if not isinstance(node, ast.Dict):
        return None
    pairs = [(_text(key), _text(value)) for key, value in zip(node.keys, node.values, strict=True)]
    words = {key: value for key, value in pairs if key is not None and value is not None}
    return words if len(words) == len(pairs) else None


# ----------------------------------------------------------------------------------------------------------------
# What is wrong
# ----------------------------------------------------------------------------------------------------------------


def faults_in(path: Path) -> Iterator[str]:
    """What is wrong with the predictions and answers of a lesson: a line for each, with the file and the name."""
    declared = declared_in(path)
    where = f"{path.parent.name}/{path.name}"
    if not declared.predictions and declared.complete:
        yield f"{where} has no predictions: `PREDICTIONS` is a list of claims and limits"
    if not declared.complete:
        yield (
            f"{where}: PREDICTIONS must be a list of claim(…) and limit(…), and ANSWERS one of answer(…), each written "
            "out, so that they can be read without running anything"
        )
    seen: set[str] = set()
    for one in declared.predictions:
        said = f"{where}, line {one.line}, the {one.kind} {one.name!r}"
        if None in (one.row, one.name, one.sentence):
            yield f"{said}: row, name and sentence must be plain texts, each in one pair of quotes"
            continue
        yield from (f"{said} {fault}" for fault in _faults_of(one, declared, seen))
        seen.add(str(one.name))
    rows = {one.row for one in declared.predictions}
    for answer in declared.answers:
        said = f"{where}, line {answer.line}, the answer to {answer.row}"
        if answer.row is None or answer.sentence is None or answer.given is None:
            yield f"{said}: row, sentence and the verdicts in `given` must be plain texts"
            continue
        if answer.row not in rows:
            yield f"{said}: no prediction is about that row"
        yield from (f"{said} {fault}" for fault in _faults_of_answer(answer.sentence, answer.given, declared, seen))


def _faults_of(one: DeclaredPrediction, declared: Declared, seen: set[str]) -> Iterator[str]:
    name, sentence = str(one.name), str(one.sentence)
    if not name.strip() or set(name) & set("{}[].!:/"):
        yield "needs a name of plain words, since answers say it in braces"
    if name in seen:
        yield "has the name of another: each needs one of its own"
    if name in declared.names:
        yield "has the name of a setting, so that {…} would mean both"
    yield from _faults_of_sentence(sentence)
    if unknown := sorted(set(_placeholders(sentence)) - declared.names):
        yield f"is filled in from {', '.join(unknown)}, which no field or property of Config is called"


def _faults_of_sentence(sentence: str) -> Iterator[str]:
    words = sentence.split()
    if not words:
        yield "lacks its sentence"
    elif words[0].strip(",").lower() in _LEANING:
        yield f"begins with {words[0]!r}: a sentence must stand alone, wherever it is read"
    elif not (words[0][0].isupper() or not words[0][0].isalpha()) or sentence.rstrip()[-1] not in ".!?…":
        yield "is no full sentence: it begins with a capital and ends with a full stop"
    try:
        list(string.Formatter().parse(sentence))
    except ValueError as error:
        yield f"cannot be filled in ({error})"


def _faults_of_answer(sentence: str, given: dict[str, str], declared: Declared, known: set[str]) -> Iterator[str]:
    yield from _faults_of_sentence(sentence)
    names = {key.rpartition("/")[2] for key in given}
    if not given:
        yield "rests on nothing: `given` says which findings must have which verdicts"
    if missing := sorted(names - known):
        yield f"rests on {', '.join(missing)}, which no prediction is called"
    if wrong := sorted(set(given.values()) - set(VERDICTS)):
        yield f"waits for {', '.join(wrong)}: a finding is {', '.join(VERDICTS)}"
    yield from _faults_of_formats(sentence, known)
    found = {one.rpartition("/")[2] for one in _placeholders(sentence)}
    if unknown := sorted(found - known - declared.names):
        yield f"is filled in from {', '.join(unknown)}: neither a prediction nor a setting is called so"
    if loose := sorted((found & known) - names):
        yield f"gives the size of {', '.join(loose)} and does not rest on it: name it in `given`"


def _faults_of_formats(sentence: str, effects: set[str]) -> Iterator[str]:
    try:
        parts = list(string.Formatter().parse(sentence))
    except ValueError:
        return
    for _, name, how, _ in parts:
        if name is not None and name.rpartition("/")[2] in effects:
            try:
                format(Effect(1.5), how or "")
            except ValueError:
                yield f"writes {name} as {how!r}: expected fewer, more, points, or a format of numbers"


def _placeholders(sentence: str) -> list[str]:
    """What stands in braces; nothing where the braces do not pair, which is a fault of its own."""
    try:
        return [name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None]
    except ValueError:
        return []


# ----------------------------------------------------------------------------------------------------------------
# Filling in
# ----------------------------------------------------------------------------------------------------------------


def filled_in(sentence: str, config: Any) -> str:
    """A sentence with the settings that it names: fields or properties of a config.

    Example:
        >>> from types import SimpleNamespace
        >>> filled_in("On {many:,} {data} it helps.", SimpleNamespace(many=2_000, data="not_mnist"))
        'On 2,000 notMNIST letters it helps.'

    Raises:
        AttributeError: the config has no such field or property.
    """
    return sentence.format_map(_Settings(config))


class _Settings(dict[str, Any]):
    def __init__(self, config: Any) -> None:
        self.config = config

    def __missing__(self, name: str) -> Any:
        return in_words(getattr(self.config, name)) if name == "data" else getattr(self.config, name)


def in_words(data: str) -> str:
    """A data set as a sentence calls it."""
    return DATA_IN_WORDS.get(data, data)


class Effect(float):
    """The effect of a finding, to be written in an answer.

    As it is, with two digits; by any format of a number, ``{gap:.3f}``; or in words that a ratio and a share need:
    ``{steps:fewer}`` is the part that is saved, of a ratio of 2.5 therefore 60 %; ``{steps:more}`` what comes on top,
    150 %; ``{gain:points}`` a hundred times a difference of shares.

    Example:
        >>> f"{Effect(2.5)} {Effect(2.5):fewer} {Effect(2.5):more} {Effect(0.0123):points} {Effect(0.5):.0%}"
        '2.5 60 % 150 % 1.2 50 %'
    """

    def __format__(self, how: str) -> str:
        words = {"fewer": 100 - 100 / self if self else 0.0, "more": 100 * self - 100}
        if how in words:
            return f"{words[how]:.0f} %"
        if how == "points":
            return f"{100 * self:.1f}"
        return super().__format__(how).replace("%", " %") if how else two_digits(self)


def two_digits(value: float) -> str:
    """A number to two digits, and all digits of a whole part that has more.

    Example:
        >>> two_digits(6.512), two_digits(1234.5), two_digits(0.0531)
        ('6.5', '1,234', '0.053')
    """
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def answer_filled_in(sentence: str, effects: Mapping[str, float], config: Mapping[str, Any]) -> str:
    """An answer with effects and settings, by their names."""
    words: dict[str, Any] = {**config, **{name: Effect(effect) for name, effect in effects.items()}}
    if "data" in config:
        words["data"] = in_words(config["data"])
    return sentence.format_map(words)
