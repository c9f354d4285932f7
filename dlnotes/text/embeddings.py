"""Embeddings: a vector for each symbol of a vocabulary, looked up in a table."""

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dlnotes.arguments import check_counts, check_tensor

__all__ = ["Embedding", "embed"]


def embed(ids: Tensor, table: Tensor, *, sparse: bool = False) -> Tensor:
    """The rows of a table that belong to symbols.

        embed(ids, E) = one_hot(ids, V) E

    A one-hot vector picks a row of the matrix that it is multiplied with: looking the row up is the same function,
    without the V · D multiplications by 0. The gradient is the same as well: that of a row is the sum over the places
    where its symbol stands, and all other rows get 0.

    Args:
        ids: the symbols, from 0 to V - 1.
        table: a row for each symbol.
        sparse: whether the gradient of the table holds only the rows that were looked up, so that a step costs nothing
            for the others. Only some optimizers take it: ``torch.optim.SGD``, ``torch.optim.SparseAdam``, and
            `dlnotes.linear.GradientDescent` without links.

    Shape:
        ids (*), int64 or int32; table (V, D); returns (*, D).

    Raises:
        ValueError: a symbol that the table has no row for, or a table that is not [symbols, numbers].
        TypeError: ids that are no whole numbers, or a table that is not floating point.

    Example:
        >>> table = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
        >>> embed(torch.tensor([2, 0, 2]), table)
        tensor([[4., 5.],
                [0., 1.],
                [4., 5.]])

    Source: Yoshua Bengio, Réjean Ducharme, Pascal Vincent and Christian Jauvin, "A neural probabilistic language
    model", 2003.
    """
    check_tensor("table", table)
    if table.ndim != 2:
        raise ValueError(f"table must be [symbols, numbers], a row for each symbol, not {list(table.shape)}")
    if not table.is_floating_point():
        raise TypeError(f"table must be floating point, not {table.dtype}")
    check_ids("ids", ids, len(table))
    return functional.embedding(ids, table, sparse=sparse)


class Embedding(nn.Module):
    """A table of embeddings that learns: a vector for each symbol, as `embed` looks it up.

    The weights start standard normal, and have the name and the shape that they have in ``torch.nn.Embedding``.

    Args:
        symbols: V, rows of the table.
        dim: D, numbers of a row.
        generator: where the first weights are drawn from.
        sparse: whether the gradient holds only the rows that were looked up; see `embed`.
        dtype: of the weights; PyTorch's default where not given.

    Shape:
        ids (*), int64 or int32; returns (*, D). ``weight`` (V, D).

    Raises:
        ValueError: sizes below 1; when called, a symbol outside 0 to V - 1.
        TypeError: when called, ids that are no whole numbers.

    Example:
        >>> words = Embedding(10_000, 64, generator=torch.Generator().manual_seed(0))
        >>> words(torch.tensor([[3, 1, 4], [1, 5, 9]])).shape
        torch.Size([2, 3, 64])
    """

    def __init__(
        self,
        symbols: int,
        dim: int,
        *,
        generator: Generator,
        sparse: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_counts(symbols=symbols, dim=dim)
        self.symbols, self.dim, self.sparse = symbols, dim, sparse
        options: dict[str, Any] = {"dtype": dtype, "device": torch.get_default_device()}
        self.weight = nn.Parameter(torch.empty(symbols, dim, **options))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: Generator) -> None:
        """Draw the weights anew."""
        weight = self.weight
        weight.copy_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype, device=generator.device))

    def forward(self, ids: Tensor) -> Tensor:
        """The embeddings of the symbols, (*, D)."""
        return embed(ids, self.weight, sparse=self.sparse)

    def extra_repr(self) -> str:
        """The sizes, for ``print(embedding)``."""
        return f"{self.symbols}, {self.dim}" + (", sparse=True" if self.sparse else "")


def check_ids(name: str, ids: Tensor, symbols: int) -> None:
    """Refuse what is not made of the numbers of so many symbols.

    Raises:
        ValueError, TypeError: with the name, what was expected and what came.
    """
    check_tensor(name, ids)
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name} must be int64, the numbers of symbols, not {ids.dtype}")
    if ids.is_meta or not ids.numel():
        return
    lowest, highest = torch.stack(ids.aminmax()).tolist()  # one wait for a GPU, not two
    if lowest < 0 or highest >= symbols:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"{name} must be from 0 to {symbols - 1}, of {symbols} symbols, and there is a {wrong}")
