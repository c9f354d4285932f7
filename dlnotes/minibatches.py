"""Examples in batches: `Minibatches`, in an order that is drawn anew for each pass and can be gone back to anywhere.

What examples may be, tensors or a data set, is known here alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

from dlnotes.randomness import stream

__all__ = [
    "Minibatches",
    "batches_to_evaluate",
    "check_batch_size",
    "limit_batch_size",
    "what_to_do_about_arrays",
]


class Minibatches:
    """An endless stream of minibatches, reshuffled each pass.

    The order of a pass is a function of the seed and of the pass's number alone, so that the state is three numbers
    and any position can be gone back to. Each pass gives every example once; where the batch size does not divide
    the number of examples, a pass ends with a smaller batch unless ``drop_last`` is set.

    Args:
        examples: tensors with equal first dimension N, such as ``(inputs, targets)``; or a map-style
            ``torch.utils.data.Dataset`` of N examples ``(*inputs, target)``, which are fetched one by one and put
            together by PyTorch's ``default_collate`` (a plain ``TensorDataset`` is taken by its tensors).
        batch_size: examples a batch, from 1 to N.
        generator: where the seed of the order is drawn from, once.
        drop_last: leave out the smaller batch at the end of a pass (each pass leaves out other examples).

    Raises:
        ValueError: no tensors, no examples, first dimensions that differ, or a batch size outside 1 to N.
        TypeError: something else than tensors or a map-style dataset, or a batch size that is not an ``int``; when
            iterated, a dataset whose examples are not tuples.

    Example:
        >>> from itertools import islice
        >>> from dlnotes.randomness import stream
        >>> batches = Minibatches((torch.arange(5),), 2, stream(0, "batches"))
        >>> one_pass = [batch for (batch,) in islice(batches, 3)]
        >>> [len(batch) for batch in one_pass], sorted(torch.cat(one_pass).tolist())
        ([2, 2, 1], [0, 1, 2, 3, 4])
    """

    def __init__(
        self,
        examples: Sequence[Tensor] | Dataset[Any],
        batch_size: int,
        generator: Generator,
        *,
        drop_last: bool = False,
    ) -> None:
        self._examples = _tensors_or_dataset(examples)
        self._count = count = _count(self._examples)
        check_batch_size(batch_size, count)
        self._batch_size = batch_size
        # Where the last batch of a pass must begin.
        self._end = count - batch_size + 1 if drop_last else count
        # The devices are named because torch.set_default_device changes what a draw without one gives.
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        self._go_to(seed, number=0, position=0)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        return self

    def __next__(self) -> tuple[Tensor, ...]:
        if self._position >= self._end:
            self._go_to(self._seed, self._pass + 1, 0)
        chosen = self._order[self._position : self._position + self._batch_size]
        if isinstance(self._examples, tuple):
            batch = tuple(tensor.index_select(0, chosen) for tensor in self._examples)
        else:
            batch = _fetch(self._examples, chosen.tolist())
        # The position moves last: an exception or Ctrl-C before it loses no batch.
        self._position += self._batch_size
        return batch

    def _go_to(self, seed: int, number: int, position: int) -> None:
        # Drawn on the CPU whatever the device, so that hardware never changes the order.
        order = torch.randperm(self._count, generator=stream(seed, f"pass {number}"), device="cpu")
        if isinstance(self._examples, tuple):
            order = order.to(self._examples[0].device)
        self._order, self._seed, self._pass, self._position = order, seed, number, position

    def __repr__(self) -> str:
        return f"Minibatches({self._count} examples, batch_size={self._batch_size})"

    def state_dict(self) -> dict[str, int]:
        """The seed, the pass and the position in it: all that the order depends on, and the two sizes."""
        sizes = {"examples": self._count, "batch_size": self._batch_size, "end": self._end}
        return {"seed": self._seed, "pass": self._pass, "position": self._position, **sizes}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to where ``state`` was taken.

        Raises:
            ValueError: it was taken with another number of examples or batch size, or another ``drop_last``; or it is
                no state of minibatches. Nothing has changed then.
        """
        here = self.state_dict()
        missing = here.keys() - state.keys()
        if missing:
            raise ValueError(f"the state of the batches lacks {', '.join(sorted(missing))}: Minibatches gave another")
        for size in ("examples", "batch_size", "end"):
            if state[size] != here[size]:
                raise ValueError(f"the state was taken with {size}={state[size]}, and here it is {here[size]}")
        self._go_to(state["seed"], state["pass"], state["position"])


def _tensors_or_dataset(examples: Any) -> tuple[Tensor, ...] | Dataset[Any]:
    """Examples as they are looked up: a tuple of tensors of one length, or a map-style dataset."""
    if isinstance(examples, IterableDataset | DataLoader):
        name = type(examples).__name__
        raise TypeError(
            f"examples must be a tuple of tensors or a map-style Dataset, and a {name} cannot be asked for the example "
            "at a place: give a Trainer batches = chain.from_iterable(repeat(DataLoader(...))) instead"
        )
    if isinstance(examples, Dataset):
        if type(examples).__getitem__ is not TensorDataset.__getitem__:
            return examples
        # It has TensorDataset's own __getitem__, and so its tensors, which can be indexed at once. mypy would learn
        # that from isinstance alone, which would let subclasses pass that fetch in a way of their own.
        examples = examples.tensors  # type: ignore[attr-defined]
    elif _is_map_style(examples):
        return examples
    if not isinstance(examples, tuple | list) or not all(isinstance(tensor, Tensor) for tensor in examples):
        parts = examples if isinstance(examples, tuple | list) else [examples]
        came = ", ".join(type(part).__name__ for part in parts[:3])
        raise TypeError(
            "examples must be a tuple of tensors, such as (inputs, targets) or the train part of a data set, "
            f"not {type(examples).__name__}{f' of {came}' if parts is examples else ''}{what_to_do_about_arrays(parts)}"
        )
    lengths = [len(tensor) if tensor.ndim else 0 for tensor in examples]
    if not lengths or len(set(lengths)) > 1 or not lengths[0]:
        raise ValueError(f"examples must be tensors with one equal first dimension of 1 or more, got {lengths}")
    return tuple(examples)


def _is_map_style(examples: Any) -> bool:
    """Whether it is a dataset but for the base class, as a DataLoader takes it: examples by their places."""
    kind = type(examples)
    known = isinstance(examples, tuple | list | str | bytes) or _is_array(examples)
    return not known and hasattr(kind, "__getitem__") and hasattr(kind, "__len__")


def _is_array(examples: Any) -> bool:
    """Whether it holds numbers and not examples: a tensor, an array, a table."""
    kind = type(examples)
    return isinstance(examples, Tensor | Mapping) or kind.__module__.split(".")[0] in ("numpy", "pandas")


def what_to_do_about_arrays(parts: Iterable[Any]) -> str:
    """What to do about NumPy arrays, where there are any."""
    foreign = any(type(part).__module__ == "numpy" for part in parts)
    return ": torch.from_numpy makes a tensor of a NumPy array" if foreign else ""


def _count(examples: tuple[Tensor, ...] | Dataset[Any]) -> int:
    if isinstance(examples, tuple):
        return len(examples[0])
    kind = type(examples).__name__
    if not hasattr(examples, "__len__"):
        raise TypeError(f"a map-style dataset must have a length, and {kind} has none: give it a __len__")
    if not len(examples):
        raise ValueError(f"examples must be 1 or more, and the {kind} is empty")
    return len(examples)


def _fetch(dataset: Any, places: list[int]) -> tuple[Any, ...]:
    """A batch of a map-style dataset, as a DataLoader fetches it."""
    several = getattr(dataset, "__getitems__", None)
    batch = default_collate(several(places) if several else [dataset[place] for place in places])
    if not isinstance(batch, tuple | list):
        raise TypeError(
            f"the examples of {type(dataset).__name__} must be tuples (*inputs, target), which collate to tuples, and "
            f"not to {type(batch).__name__}: wrap it in a dataset whose __getitem__ returns a tuple"
        )
    return tuple(batch)


def check_batch_size(batch_size: Any, count: int | None = None) -> None:
    """Refuse what is no number of examples, of the ``count`` that there are.

    Raises:
        ValueError, TypeError: it is too small or too large, or no ``int``.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int):
        raise TypeError(f"batch_size must be an int, not {type(batch_size).__name__} ({batch_size!r})")
    if not 1 <= batch_size <= (count or batch_size):
        allowed = "1 or more" if count is None else f"from 1 to the {count} examples there are"
        raise ValueError(f"batch_size must be {allowed}, not {batch_size}")


def limit_batch_size(batch_size: int, examples: Sequence[Tensor] | Dataset[Any]) -> int:
    """Return the batch size, or the number of examples where there are fewer.

    Raises:
        ValueError, TypeError: a batch size or examples that `Minibatches` would not take either.
    """
    check_batch_size(batch_size)
    return min(batch_size, _count(_tensors_or_dataset(examples)))


def batches_to_evaluate(examples: Any, batch_size: int) -> Iterable[Any]:
    """What `evaluate` goes through; all that it refuses about the examples as a whole is refused here."""
    if isinstance(examples, Minibatches):
        raise TypeError(
            "Minibatches never end, and evaluate needs each example once: give it the examples, or a DataLoader"
        )
    listed = isinstance(examples, tuple | list)
    if listed and any(isinstance(part, tuple | list | Mapping) for part in examples):
        return examples  # a list of batches
    if listed and all(isinstance(part, Tensor) and part.ndim and not len(part) for part in examples):
        raise ValueError("evaluate needs at least one example, and there are none")
    if isinstance(examples, IterableDataset) or not (
        listed or isinstance(examples, Dataset) or not hasattr(examples, "__iter__") or _is_array(examples)
    ):
        return examples
    found = _tensors_or_dataset(examples)
    places = range(_count(found))
    several = (places[start : start + batch_size] for start in places[::batch_size])
    if isinstance(found, tuple):
        return ([tensor[part.start : part.stop] for tensor in found] for part in several)
    return (_fetch(found, list(part)) for part in several)
