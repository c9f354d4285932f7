"""The training of word vectors: passes over a text, and the draws that each of them begins with."""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from dlnotes.arguments import check_counts, check_number, check_tensor
from dlnotes.randomness import stream
from dlnotes.stepping import CtrlC
from dlnotes.text.runs import finish_run
from dlnotes.text.vocabulary import keep_probabilities, noise_probabilities
from dlnotes.text.word2vec import CBOW, SkipGram
from dlnotes.training import DivergedError

__all__ = ["WordStep", "WordTrainer", "train_word_vectors"]

AT_ONCE = 16_384  # centres of an item: between two of them the learning rate changes, and a run can be saved


class WordStep(NamedTuple):
    """One item of `WordTrainer`: its number, how many words of text were read (each pass counts), the mean loss of a
    centre on the newest tiles, and the learning rate.
    """

    number: int
    words: int
    loss: float
    lr: float


class WordTrainer:
    """Trains word vectors; iterate it. Each item stands for some hundred steps of gradient descent on small tiles.

    A pass over the text begins with a draw: of each word's places a share min(1, √(t/f) + t/f) is kept, where f is the
    word's share of the text and t is ``sample``. So frequent words, which say little, cost little, and the words beside
    them come nearer together. What is kept is cut into tiles. Negatives are drawn in proportion to a word's count to
    the power 3/4. The learning rate falls in a straight line.

    It ends after its passes. `state_dict` and `load_state_dict` make it go on, bit for bit, where another one was.

    Args:
        model: `SkipGram` or `CBOW`, trained in place.
        ids: the words of the text, (N,), int64, numbered from 0.
        generator: where the seed of all draws is drawn from, once.
        epochs: passes over the text.
        lr: the learning rate at the start.
        last_lr: the one at the end.
        sample: t; infinity keeps all words.
        centres: of a tile. This one, ``tiles`` and ``cap`` are the model's own numbers where not given.
        tiles: of a step. On texts of millions of words, 4 tiles with a cap of 2 are faster and a little better; for
            CBOW, 32 tiles that share 64 negatives, without a cap, are faster.
        shared: K, negatives that the centres of a tile (CBOW: of a step) share.
        cap: how many gradients of one word a step may add up to; infinity for no cap.

    Raises:
        ValueError: a text shorter than two words, words that the model does not have, or numbers that are not positive.
        TypeError: ids that are no int64 tensor.
        DivergedError: when iterated, the loss is no longer finite. The vectors are then as they are.

    Example:
        >>> ids = torch.tensor([0, 1, 0, 1, 2, 3, 2, 3]).repeat(200)
        >>> model = SkipGram(4, 8, window=1, generator=torch.Generator().manual_seed(0))
        >>> trainer = WordTrainer(model, ids, generator=torch.Generator().manual_seed(1), epochs=2)
        >>> [step.words for step in trainer]
        [1600, 3200]

    Source: as `SkipGram`; tiles that share their negatives: Shihao Ji, Nadathur Satish, Sheng Li and Pradeep Dubey,
    "Parallelizing word2vec in shared and distributed memory", 2016.
    """

    def __init__(
        self,
        model: SkipGram | CBOW,
        ids: Tensor,
        *,
        generator: Generator,
        epochs: int = 5,
        lr: float = 0.025,
        last_lr: float = 1e-4,
        sample: float = 1e-3,
        centres: int | None = None,
        tiles: int | None = None,
        shared: int = 32,
        cap: float | None = None,
    ) -> None:
        check_tensor("ids", ids)
        self.model, self.epochs, self.lr, self.last_lr, self.sample = model, epochs, lr, last_lr, sample
        self.centres = model.centres if centres is None else centres
        self.tiles = model.tiles if tiles is None else tiles
        self.cap = model.cap if cap is None else cap
        self.shared = shared
        check_counts(epochs=epochs, centres=self.centres, tiles=self.tiles, shared=shared)
        for name, value in {"lr": lr, "last_lr": last_lr, "sample": sample, "cap": self.cap}.items():
            check_number(name, value)
            if not value > 0:
                raise ValueError(f"{name} must be positive, not {value}")
        self._ids = _checked(ids, model.words).cpu()
        counts = self._ids.bincount(minlength=model.words)
        self._keep, self._noise = keep_probabilities(counts, sample), noise_probabilities(counts)
        self._ctrl_c = CtrlC()
        self._seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        self.steps, self._loss = 0, math.nan
        self._go_to(number=0, position=0)

    def __iter__(self) -> Iterator[WordStep]:
        return self

    def __next__(self) -> WordStep:
        if self._position >= len(self._order):
            self._go_to(self._pass + 1, 0)
        if self._pass >= self.epochs:
            raise StopIteration
        self._ctrl_c.hold_back()
        try:
            return self._step()
        finally:
            self._ctrl_c.let_through()

    def _step(self) -> WordStep:
        model, device = self.model, self.model.weight.device
        lr = self.lr + (self.last_lr - self.lr) * self._progress
        order = self._order[self._position : self._position + max(1, AT_ONCE // (self.centres * self.tiles))]
        draws = stream(self._seed, f"step {self._position} of pass {self._pass}")
        drawn = len(order) * (model.sets or self.tiles) * self.shared
        negatives = torch.multinomial(self._noise, drawn, replacement=True, generator=draws)
        shape = (*order.shape, self.centres)
        sizes = torch.randint(1, model.window + 1, shape, generator=draws, device="cpu").to(device)
        windows, negatives = self._windows[order].to(device), negatives.view(len(order), -1, self.shared).to(device)
        model.learn(windows, negatives, sizes, lr=lr, cap=self.cap)
        with torch.no_grad():
            loss = model(windows[-1], negatives[-1], sizes[-1]).item()
        self.steps += 1
        self._position += len(order)
        if not math.isfinite(loss):
            raise DivergedError(self.steps, loss, [lr], self._loss)
        self._loss = loss
        return WordStep(self.steps, round(self._progress * self.epochs * len(self._ids)), loss, lr)

    @property
    def _progress(self) -> float:
        """The share of the run that is done."""
        return (self._pass + self._position / len(self._order)) / self.epochs

    def _go_to(self, number: int, position: int) -> None:
        """Draw a pass, and go to a place in it."""
        self._pass, self._position = number, position
        draws = stream(self._seed, f"pass {number}")
        drawn = torch.rand(len(self._ids), generator=draws, dtype=torch.float64, device="cpu")
        kept = self._ids[drawn < self._keep[self._ids]]
        model, of_step = self.model, self.centres * self.tiles
        if not len(kept):
            raise ValueError(f"no word of the text was kept: a sample of {self.sample:g} is too small for it")
        steps = -(-len(kept) // of_step)
        text = torch.full((steps * of_step + 2 * model.window,), model.outside, device="cpu")
        text[model.window : model.window + len(kept)] = kept
        self._windows = text.unfold(0, self.centres + 2 * model.window, self.centres)
        order = torch.arange(len(self._windows), device="cpu")
        if model.shuffled:
            order = torch.randperm(len(order), generator=draws, device="cpu")
        self._order = order.view(steps, self.tiles)  # the tiles of each step

    def state_dict(self) -> dict[str, Any]:
        """The vectors, where in which pass they were reached, and the sizes."""
        place = {"seed": self._seed, "pass": self._pass, "position": self._position, "steps": self.steps}
        return {**place, "loss": self._loss, "sizes": self._sizes(), "model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where ``state`` was taken.

        Raises:
            ValueError: it was taken with another text or other settings, or is no state of a `WordTrainer`.
            RuntimeError: its model has another shape (PyTorch's own error).
        """
        if missing := {"seed", "pass", "position", "steps", "loss", "sizes", "model"} - state.keys():
            raise ValueError(f"this is no state of a WordTrainer: it lacks {', '.join(sorted(missing))}")
        kept = state["sizes"]
        differ = [
            f"{name} was {kept.get(name)} and is {now}" for name, now in self._sizes().items() if kept.get(name) != now
        ]
        if differ:
            raise ValueError(f"this state is of another run: {'; '.join(differ)}")
        self.model.load_state_dict(state["model"])
        self._seed, self.steps, self._loss = state["seed"], state["steps"], state["loss"]
        self._go_to(state["pass"], state["position"])

    def _sizes(self) -> dict[str, Any]:
        names = ("epochs", "lr", "last_lr", "sample", "centres", "tiles", "shared", "cap")
        return {"words": len(self._ids), **{name: getattr(self, name) for name in names}}


def _checked(ids: Tensor, words: int) -> Tensor:
    if ids.dtype != torch.int64:
        raise TypeError(f"ids must be int64, the numbers of words, not {ids.dtype}")
    if ids.ndim != 1 or len(ids) < 2:
        raise ValueError(f"the text must be [words], two or more of them, not {list(ids.shape)}")
    lowest, highest = ids.min().item(), ids.max().item()
    if lowest < 0 or highest >= words:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"ids must be from 0 to {words - 1}, the model's words, and there is a {wrong}")
    return ids


def train_word_vectors(
    model: SkipGram | CBOW,
    ids: Tensor,
    *,
    generator: Generator,
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = 200,
    progress: bool = True,
    **settings: Any,
) -> list[float]:
    """Train word vectors on a text, from the first word to the last pass, with a progress bar in words a second.

    With a ``checkpoint``, the run is saved there now and then and at its end; where the file is there already, the same
    call goes on from it, to the bits of one that was never interrupted.

    Args:
        model: `SkipGram` or `CBOW`, trained in place: its ``vectors`` are what is wanted.
        ids: the words of the text, (N,), int64, numbered from 0.
        generator: where the seed of all draws is drawn from.
        checkpoint: a file to save the run in and to go on from.
        save_every: items of `WordTrainer` from one save to the next.
        progress: whether to show the bar, on a terminal and from the second second on.
        settings: of `WordTrainer`, such as ``epochs``, ``lr``, ``sample``.

    Returns:
        The loss of each item that this call made, in nats a centre.

    Raises:
        ValueError, TypeError, DivergedError: as `WordTrainer`; a checkpoint of another run, with what differs.
        CheckpointError: the file is damaged.

    Example:
        Words 0 and 1 are seen in the same company, and so are 2 and 3, which never meet the first two:

        >>> draws = torch.Generator().manual_seed(0)
        >>> ids = torch.cat([torch.randint(low, low + 2, (5_000,), generator=draws) for low in (0, 2)])
        >>> model = SkipGram(4, 8, generator=draws)
        >>> losses = train_word_vectors(model, ids, generator=draws, epochs=10, sample=1.0)
        >>> vectors = torch.nn.functional.normalize(model.vectors)
        >>> cosines = vectors @ vectors.t()
        >>> bool(cosines[0, 1] > 0.99), bool(cosines[0, 2] < 0.5)
        (True, True)
    """
    trainer = WordTrainer(model, ids, generator=generator, **settings)
    run = {"model": repr(model), "text": hashlib.sha256(ids.cpu().numpy().tobytes()).hexdigest()}
    words = trainer.epochs * len(ids)
    with tqdm(total=words, unit=" words", unit_scale=True, delay=1, disable=None if progress else True) as bar:

        def show(step: WordStep) -> None:
            if not bar.n and step.number > 1:  # gone on from a checkpoint: what was read before says nothing of speed
                bar.n = bar.initial = step.words
            bar.update(step.words - bar.n)

        return finish_run(trainer, None, run, checkpoint, save_every, show)
