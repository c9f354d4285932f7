"""Beam search beside a search over plain Python lists, as one writes it, and beside transformers' own.

Before the times are taken, the searches have to find the same sequences.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.clock import interleaved, shares
from benchmarks.table import Row
from dlnotes.randomness import stream
from dlnotes.text import CharacterModel
from dlnotes.text.decoding import StepFunction, beam_search, exhaustive

__all__ = ["rows"]

SYMBOLS, UNITS, LENGTH = 65, 256, 100  # the alphabet of Shakespeare's plays
GOALS = {4: 10.0, 16: 30.0}
MODELS, VOCABULARY, WORDS, WIDE = 20, 6, 5, 32  # for which all sequences can be compared
START, END = 0, 1


def rows() -> Iterator[Row]:
    """The comparisons.

    Raises:
        RuntimeError: the two searches do not find the same sequences.
    """
    model = peaked_model()
    prompt = torch.tensor([[0]])
    for beams, goal in GOALS.items():
        ours, theirs = ours_of(model, prompt, beams), lists_of(model, prompt, beams)
        if ours() != theirs():
            raise RuntimeError(f"with {beams} beams the two searches do not find the same sequences")
        what = f"beam search, LSTM of {UNITS} units, {LENGTH} symbols, {beams} beams: ours and lists of Python"
        yield Row(what, interleaved(ours, theirs, calls=1), goal, shares(ours, calls=3))
    models = [transformer(seed) for seed in range(MODELS)]
    for number, model_of_words in enumerate(models):
        step, started = prefix_step(model_of_words)
        best = exhaustive(step, *started, max_length=WORDS, end=END).written()[0][0]
        found = {"ours": of_prefixes(model_of_words)(), "transformers'": generated(model_of_words)()}
        if wrong := [name for name, ids in found.items() if ids != best]:
            raise RuntimeError(f"on model {number} the best sequence is {best}, and {' and '.join(wrong)} is another")
    what = f"beam search, GPT-2 of 1 layer, {WORDS} symbols, {WIDE} beams: ours, prefixes read anew, and transformers'"
    yield Row(what, interleaved(of_prefixes(models[0]), generated(models[0]), calls=5))


def peaked_model() -> CharacterModel:
    """A model whose probabilities differ, as a trained one's do."""
    model = CharacterModel(SYMBOLS, UNITS, generator=stream(0, "weights")).eval()
    model.scores.weight.data.mul_(10)
    return model


def ours_of(model: CharacterModel, prompt: Tensor, beams: int) -> Callable[[], list[list[int]]]:
    """Our search, reading the weights included."""

    def run() -> list[list[int]]:
        found = beam_search(model.step_function(), *model.begin(prompt), beams=beams, max_length=LENGTH)
        ids: list[list[int]] = found.ids[0].tolist()
        return ids

    return run


def lists_of(model: CharacterModel, prompt: Tensor, beams: int) -> Callable[[], list[list[int]]]:
    """Each candidate by itself: its symbols, its sum, its state; all continuations sorted at each step."""
    embedding = nn.Embedding.from_pretrained(model.embedding.detach())
    layer = nn.LSTM(UNITS, UNITS, batch_first=True)
    layer.load_state_dict(model.recurrent.state_dict())

    @torch.no_grad()
    def run() -> list[list[int]]:
        candidates = [(0.0, prompt[0].tolist(), None)]
        for _ in range(LENGTH):
            follows = []
            for total, ids, state in candidates:
                outputs, state = layer(embedding(torch.tensor([[ids[-1]]])), state)
                log_probs = model.scores(outputs[0, 0]).log_softmax(0).tolist()
                follows += [(total + one, [*ids, symbol], state) for symbol, one in enumerate(log_probs)]
            candidates = sorted(follows, key=lambda follow: -follow[0])[:beams]
        return [ids[1:] for _, ids, _ in candidates]

    return run


def transformer(seed: int) -> Any:
    """A GPT-2 of one layer whose weights are drawn widely, so that its probabilities differ."""
    from transformers import GPT2Config, GPT2LMHeadModel

    settings: dict[str, Any] = {"n_positions": WORDS + 1, "n_embd": 16, "n_layer": 1, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, bos_token_id=START, eos_token_id=END, **settings)).eval()
    generator = stream(seed, "weights")
    for weight in model.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=generator) * 0.7)
    return model


def prefix_step(model: Any) -> tuple[StepFunction, tuple[Tensor, Tensor]]:
    """The step function of a model that reads all symbols so far, which are its state, and what it starts from."""

    def step(last: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        ids = torch.cat([before, last[:, None]], 1)
        return model(ids, use_cache=False).logits[:, -1].log_softmax(1), ids

    return step, (torch.tensor([START]), torch.empty(1, 0, dtype=torch.int64))


def of_prefixes(model: Any) -> Callable[[], list[int]]:
    """Our search over a model that reads all symbols so far."""
    step, started = prefix_step(model)

    def run() -> list[int]:
        return beam_search(step, *started, beams=WIDE, max_length=WORDS, end=END).written()[0][0]

    return run


def generated(model: Any) -> Callable[[], list[int]]:
    """The search of transformers: no length penalty, and no end before nothing better can come."""
    settings: dict[str, Any] = {
        "length_penalty": 0.0,
        "early_stopping": "never",
        "do_sample": False,
        "pad_token_id": END,
    }

    def run() -> list[int]:
        prompt = torch.tensor([[START]])
        mask = torch.ones_like(prompt)
        found = model.generate(prompt, attention_mask=mask, num_beams=WIDE, max_new_tokens=WORDS, **settings)
        ids: list[int] = found[0, 1:].tolist()
        return ids[: ids.index(END) + 1] if END in ids else ids

    return run
