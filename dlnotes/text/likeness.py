"""How near vectors are to each other, which are the nearest ones, and analogies as sums and differences of vectors."""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from dlnotes.arguments import check_counts, check_tensor

__all__ = ["Measure", "Neighbours", "analogy", "analogy_neighbours", "nearest", "similarity", "unit_vectors"]

Measure: TypeAlias = Literal["cosine", "l2", "dot"]
"""How nearness is measured: by the cosine, by minus the Euclidean distance, or by the dot product."""

MEASURES = ("cosine", "l2", "dot")
BLOCK = 2**21  # scores that are held at a time: 8 MB of float32
SMALL = 0.001  # ε of 3CosMul, as its authors chose it


class Neighbours(NamedTuple):
    """The nearest vectors of each query, the nearest one first.

    Shape:
        ids (Q, count), int64: rows of the vectors. scores (Q, count): how near they are; larger is nearer.

    Example:
        >>> found = nearest(torch.tensor([[1.0, 0.1]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 2)
        >>> found.ids.tolist(), found.scores
        ([[1, 0]], tensor([[0.9950, 0.0995]]))
    """

    ids: Tensor
    scores: Tensor


def unit_vectors(vectors: Tensor) -> Tensor:
    """Each row scaled to length 1. A row of zeros stays as it is.

        u = v / ‖v‖

    For unit vectors, ‖u − w‖² = 2 − 2 cos(u, w) and u · w = cos(u, w): all measures of `similarity` rank alike.

    Args:
        vectors: rows of numbers.

    Shape:
        vectors (V, D), and the result.

    Raises:
        TypeError: no tensor of floating point.
        ValueError: another shape.

    Example:
        >>> unit_vectors(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    _check_vectors("vectors", vectors)
    return _unit(_wide(vectors)).to(vectors.dtype)


def similarity(queries: Tensor, vectors: Tensor, measure: Measure = "cosine") -> Tensor:
    """How near each query is to each vector: the larger, the nearer.

        cosine    q · v / (‖q‖ ‖v‖)        0 where one of them is all zeros
        l2        −‖q − v‖
        dot       q · v

    Args:
        queries: rows to compare.
        vectors: rows to compare them with.
        measure: ``"cosine"``, ``"l2"`` or ``"dot"``.

    Shape:
        queries (Q, D); vectors (V, D); the result (Q, V).

    Raises:
        TypeError: no tensors of floating point, or of different types.
        ValueError: other shapes, or another measure.

    Example:
        >>> queries, vectors = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5], [3.0, 1.0]])
        >>> for measure in ("cosine", "l2", "dot"):
        ...     similarity(queries, vectors, measure)
        tensor([[0.7071, 0.9487]])
        tensor([[-0.7071, -2.2361]])
        tensor([[0.5000, 3.0000]])
    """
    _check_pair(queries, vectors, measure)
    score = _MEASURES[measure]
    return score(*(_ready(each, measure) for each in (queries, vectors))).to(vectors.dtype)


def nearest(
    queries: Tensor, vectors: Tensor, count: int, *, measure: Measure = "cosine", exclude: Tensor | None = None
) -> Neighbours:
    """The vectors nearest to each query. Of equally near ones, the one that stands first in ``vectors``.

    Scores are held for a block of queries at a time: all words of a vocabulary can be asked for at once.

    Args:
        queries: rows to find the neighbours of.
        vectors: rows to look among.
        count: neighbours of each.
        measure: ``"cosine"``, ``"l2"`` or ``"dot"``, as `similarity` says.
        exclude: rows of ``vectors`` that must not be given for a query, such as the query's own.

    Shape:
        queries (Q, D); vectors (V, D); exclude (Q, E), integers.

    Raises:
        TypeError: no tensors, or of types that do not fit.
        ValueError: other shapes, another measure, numbers that are not finite, ids that there are not, or more
            neighbours than V - E.

    Example:
        >>> vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
        >>> nearest(vectors, vectors, 1, exclude=torch.arange(3)[:, None]).ids.flatten()
        tensor([1, 0, 1])
    """
    _check_pair(queries, vectors, measure)
    _check_finite("queries", queries)
    _check_finite("vectors", vectors)
    like = _wide(vectors[:0])
    queries, vectors = _ready(queries.detach(), measure), _ready(vectors.detach(), measure)

    def scores(rows: slice) -> Tensor:
        return _MEASURES[measure](queries[rows], vectors).to(like.dtype)

    return _best(scores, len(queries), len(vectors), count, exclude, like)


def analogy(
    vectors: Tensor,
    questions: Tensor,
    *,
    measure: Measure = "cosine",
    method: Literal["add", "multiply"] = "add",
    exclude: bool = True,
    normalize: bool = True,
) -> Tensor:
    """The answers to: a is to b as c is to what? A man is to a king as a woman is to whom?

        add         the d nearest to b − a + c                                              3CosAdd
        multiply    the d with the largest cos'(d, b) cos'(d, c) / (cos'(d, a) + 0.001)     3CosMul
                    with cos' = (cos + 1) / 2, from 0 to 1

    The usual programs leave a, b and c out of the answers, mostly without saying so. Much of the accuracy comes from
    this: the nearest of all is often c or b itself.

    Args:
        vectors: a row for each word.
        questions: the rows a, b and c of each question.
        measure: of nearness, as `similarity` says. For ``"multiply"`` it is the cosine.
        method: ``"add"`` or ``"multiply"``.
        exclude: whether a, b and c cannot be the answer.
        normalize: whether vectors are scaled to length 1 first, as is usual.

    Shape:
        vectors (V, D); questions (Q, 3), integers; the result (Q,), int64: the row of each answer.

    Raises:
        TypeError: no tensors, or of types that do not fit.
        ValueError: other shapes, numbers that are not finite, ids that there are not, another measure or method.

    Example:
        >>> words = ["man", "woman", "king", "queen", "child"]
        >>> vectors = torch.tensor([[1.0, 0.0, 0.1], [-1.0, 0.0, 0.1], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [0, 0, 1.0]])
        >>> questions = torch.tensor([[0, 2, 1]])  # man, king; woman
        >>> words[analogy(vectors, questions)]
        'queen'

    Source: Tomas Mikolov, Wen-tau Yih and Geoffrey Zweig, "Linguistic regularities in continuous space word
    representations", 2013; Omer Levy and Yoav Goldberg, "Linguistic regularities in sparse and explicit word
    representations", 2014. On what is left out: Tal Linzen, "Issues in evaluating semantic spaces using word
    analogies", 2016; Anna Rogers, Aleksandr Drozd and Bofang Li, "The (too many) problems of analogical reasoning with
    word vectors", 2017.
    """
    found = analogy_neighbours(
        vectors, questions, 1, measure=measure, method=method, exclude=exclude, normalize=normalize
    )
    return found.ids[:, 0]


def analogy_neighbours(
    vectors: Tensor,
    questions: Tensor,
    count: int,
    *,
    measure: Measure = "cosine",
    method: Literal["add", "multiply"] = "add",
    exclude: bool = True,
    normalize: bool = True,
) -> Neighbours:
    """The best answers to each question, the best one first, with their scores; otherwise as `analogy`.

    Example:
        >>> vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-0.6, 0.8]])
        >>> analogy_neighbours(vectors, torch.tensor([[0, 1, 2]]), 3, exclude=False).ids
        tensor([[2, 3, 1]])
    """
    _check_vectors("vectors", vectors)
    _check_ids("questions", questions, (None, 3), len(vectors))
    if method not in ("add", "multiply"):
        raise ValueError(f'method must be "add" or "multiply", not {method!r}')
    excluded = questions if exclude else None
    if method == "add":
        used = unit_vectors(vectors) if normalize else vectors
        a, b, c = used.detach()[questions].unbind(1)
        return nearest(b - a + c, used, count, measure=measure, exclude=excluded)
    if measure != "cosine":
        raise ValueError(f'method "multiply" is of cosines: measure must be "cosine", not {measure!r}')
    _check_finite("vectors", vectors)
    units = _ready(vectors.detach(), "cosine")

    def scores(rows: slice) -> Tensor:
        a, b, c = ((1 + units[ids] @ units.T) / 2 for ids in questions[rows].unbind(1))
        return b * c / (a + SMALL)

    return _best(scores, len(questions), len(vectors), count, excluded, units)


def _best(
    scores: Callable[[slice], Tensor], rows: int, columns: int, count: int, exclude: Tensor | None, like: Tensor
) -> Neighbours:
    """The largest of the scores that are computed for some rows at a time."""
    check_counts(count=count)
    excluded = 0
    if exclude is not None:
        _check_ids("exclude", exclude, (rows, None), columns)
        excluded = exclude.shape[1]
    if count > columns - excluded:
        without = f" without the {excluded} excluded" if excluded else ""
        raise ValueError(f"count must be at most the {columns - excluded} of {columns} vectors{without}, not {count}")
    found = Neighbours(
        torch.empty(rows, count, dtype=torch.int64, device=like.device),
        torch.empty(rows, count, dtype=like.dtype, device=like.device),
    )
    for begin in range(0, rows, step := max(1, BLOCK // columns)):
        block = slice(begin, begin + step)
        of_block = scores(block)
        if exclude is not None:
            of_block.scatter_(1, exclude[block].long(), -torch.inf)
        found.ids[block], found.scores[block] = _top(of_block, count)
    return found


def _top(scores: Tensor, count: int) -> Neighbours:
    """The largest of each row, the largest first; of equal ones those of the lower ids."""
    columns = scores.shape[1]
    values, ids = scores.topk(min(count + 1, columns), dim=1)
    if columns > count:
        # Where the first one left out is as large, topk has taken any of them.
        tied = values[:, count - 1] == values[:, count]
        values, ids = values[:, :count], ids[:, :count]
        if tied.any():
            order = scores[tied].sort(dim=1, descending=True, stable=True)
            values[tied], ids[tied] = order.values[:, :count], order.indices[:, :count]
    ids, order_of_ids = ids.sort(dim=1)
    values, order_of_values = values.gather(1, order_of_ids).sort(dim=1, descending=True, stable=True)
    return Neighbours(ids.gather(1, order_of_values), values)


def _dot(queries: Tensor, vectors: Tensor) -> Tensor:
    return queries @ vectors.T


def _minus_distance(queries: Tensor, vectors: Tensor) -> Tensor:
    """−‖q − v‖ from ‖q‖² + ‖v‖² − 2 q · v, by one product of matrices. What rounding alone can make of 0 is 0."""
    sums = queries.square().sum(1, keepdim=True) + vectors.square().sum(1)
    squared = sums - 2 * queries @ vectors.T
    apart = squared > 64 * torch.finfo(squared.dtype).eps * sums
    return -torch.where(apart, squared, 0).sqrt()


_MEASURES = {"cosine": _dot, "l2": _minus_distance, "dot": _dot}  # of vectors that are ready


def _ready(vectors: Tensor, measure: Measure) -> Tensor:
    """What a measure starts from: unit vectors for the cosine, double precision for distances.

    A small distance is a difference of large squares, of which single precision would leave little. On Apple's GPUs,
    which have no float64, it has to do.
    """
    if measure == "cosine":
        return _unit(_wide(vectors))
    return vectors.double() if measure == "l2" and vectors.device.type != "mps" else _wide(vectors)


def _wide(vectors: Tensor) -> Tensor:
    """In single precision at least: sums of products overflow in half precision."""
    return vectors.float() if vectors.dtype.itemsize < 4 else vectors


def _unit(vectors: Tensor) -> Tensor:
    """Divided by the largest number first: squares of large ones overflow, and those of small ones vanish."""
    largest = vectors.detach().abs().amax(1, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1)
    return scaled / torch.where(largest > 0, torch.linalg.vector_norm(scaled, dim=1, keepdim=True), 1)


def _check_vectors(name: str, vectors: Tensor) -> None:
    check_tensor(name, vectors)
    if not vectors.is_floating_point():
        raise TypeError(f"{name} must be of floating point, not {vectors.dtype}")
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ValueError(f"{name} must be rows of one number or more, (rows, D), not {tuple(vectors.shape)}")


def _check_pair(queries: Tensor, vectors: Tensor, measure: str) -> None:
    _check_vectors("queries", queries)
    _check_vectors("vectors", vectors)
    if queries.dtype != vectors.dtype:
        raise TypeError(f"queries and vectors must be of one type, not {queries.dtype} and {vectors.dtype}")
    if queries.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries must be (Q, {vectors.shape[1]}), as long as the vectors, not {tuple(queries.shape)}")
    if measure not in MEASURES:
        raise ValueError(f'measure must be "cosine", "l2" or "dot", not {measure!r}')


def _check_ids(name: str, ids: Tensor, shape: tuple[int | None, int | None], rows: int) -> None:
    """Refuse what is no table of rows of vectors; None in the shape is any number."""
    check_tensor(name, ids)
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name} must be ids, int64 or int32, not {ids.dtype}")
    if ids.ndim != 2 or any(want not in (None, has) for want, has in zip(shape, ids.shape, strict=True)):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must be ({wanted}), not {tuple(ids.shape)}")
    if ids.numel() and not (ids.min() >= 0 and ids.max() < rows):
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise ValueError(f"{name} must be rows of the vectors, from 0 to {rows - 1}, and there is a {wrong}")


def _check_finite(name: str, vectors: Tensor) -> None:
    finite = vectors.isfinite().all(1)
    if not finite.all():
        raise ValueError(f"{name} must be finite, and row {int(finite.int().argmin())} is not")
