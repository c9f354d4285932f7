"""``python -m benchmarks.word_quality``: what word vectors are worth, ours and gensim's, after the same passes.

Both are trained on one text with the same settings and judged by the same two published tests: how well cosines agree
with what people say of the likeness of 353 pairs of words (Spearman's rank correlation), and which share of analogies
is solved among the 20,000 most frequent words. Each arm and seed is a run of its own; what is done is kept, and a call
that was stopped goes on.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.words import ARMS, DIM, gensim_model, in_lines
from dlnotes import data
from dlnotes.files import write_whole
from dlnotes.lesson.records import to_json
from dlnotes.lesson.session import print_anywhere
from dlnotes.randomness import stream
from dlnotes.text import (
    Vocabulary,
    WordVectors,
    analogy_accuracy,
    read_analogies,
    read_similarities,
    similarity_correlation,
    train_word_vectors,
)

HERE = Path(__file__).parent
EPOCHS, MIN_COUNT, MOST_FREQUENT = 4, 5, 20_000
MARK = "<!-- `python -m benchmarks.word_quality` writes what follows -->\n"


def main() -> None:
    """Train, judge, keep each run, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.word_quality", description=__doc__.split("\n\n")[1])
    parser.add_argument("--seeds", default="101-105", help="such as 101-105; those of the table are 101 to 105")
    parser.add_argument("--text", default="text8/text8-style-18M.zip", help="a file, in the data root or anywhere")
    parser.add_argument("--lr", type=float, default=0.025, help="the learning rate at the start, on both sides")
    given = parser.parse_args()
    print_anywhere()
    torch.set_num_threads(1)
    path = next((path for path in (data.root() / given.text, Path(given.text)) if path.is_file()), Path(given.text))
    words = data.load_words(f"text:{path}")
    first, _, last = given.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    kept = HERE / "word_quality.json"
    content = json.loads(kept.read_text("utf-8")) if kept.exists() else {"runs": []}
    done = {(run["arm"], run["seed"], run["lr"]) for run in content["runs"]}
    left = [(seed, arm) for seed in seeds for arm in arms() if (arm, seed, given.lr) not in done]
    for seed, arm in tqdm(left, unit="run"):
        content["runs"].append({"arm": arm, "seed": seed, "lr": given.lr, **judged(arm, seed, words, given.lr)})
        write_whole(kept, to_json(content))
    page = HERE / "WORD_VECTORS.md"
    before, mark, _ = page.read_text("utf-8").partition(MARK)
    write_whole(page, "\n".join([before + mark, *table(content["runs"])]) + "\n")
    print(*table(content["runs"]), sep="\n")


def arms() -> list[str]:
    """Ours, and gensim's two."""
    return ["skip-gram, gensim", "CBOW, gensim", *ARMS]


def judged(arm: str, seed: int, words: Sequence[str], lr: float) -> dict[str, float]:
    """One run: its scores, the length of the longest vector, and the seconds of a core that training took."""
    vocabulary = Vocabulary.of(words, MIN_COUNT)
    train = trained_by_gensim if arm.endswith("gensim") else trained_by_us
    vectors, seconds = train(arm, seed, words, vocabulary, lr)
    found = WordVectors(vocabulary.words, vectors)
    tests = data.root() / "word-eval"
    analogies = analogy_accuracy(found, read_analogies(tests / "questions-words.txt"), most_frequent=MOST_FREQUENT)
    likeness = similarity_correlation(found, read_similarities(tests / "wordsim353" / "combined.csv"))
    return {
        "likeness": round(likeness.rho, 4),
        "analogies": round(analogies.accuracy, 4),
        "longest": round(vectors.norm(dim=1).max().item(), 2),
        "seconds": round(seconds, 1),
        "words": vocabulary.counts.sum().item() * EPOCHS,
    }


def trained_by_us(arm: str, seed: int, words: Sequence[str], vocabulary: Vocabulary, lr: float) -> tuple[Tensor, float]:
    """Our vectors, and the seconds."""
    kind, settings, _ = ARMS[arm]
    draws, ids = stream(seed, "word vectors"), vocabulary.encode(words)
    model = kind(len(vocabulary), DIM, generator=draws)
    began = time.process_time()
    train_word_vectors(model, ids, generator=draws, epochs=EPOCHS, lr=lr, progress=False, **settings)
    return model.vectors, time.process_time() - began


def trained_by_gensim(
    arm: str, seed: int, words: Sequence[str], vocabulary: Vocabulary, lr: float
) -> tuple[Tensor, float]:
    """Gensim's vectors, in our order of words, and the seconds."""
    kind, _, _ = ARMS[arm.removesuffix(", gensim")]
    lines = in_lines(words)
    model = gensim_model(kind, lines, min_count=MIN_COUNT, seed=seed, epochs=EPOCHS)
    began = time.process_time()
    model.train(lines, total_examples=len(lines), epochs=EPOCHS, start_alpha=lr, end_alpha=1e-4)
    seconds = time.process_time() - began
    return torch.from_numpy(model.wv[list(vocabulary.words)]), seconds


def table(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The means with their standard deviations over seeds, and each seed below."""
    yield "| | seeds | likeness | analogies, % | longest vector | thousand words a second of a core |"
    yield "|---|---|---|---|---|---|"
    for lr in sorted({run["lr"] for run in runs}):
        for arm in arms():
            here = [run for run in runs if (run["arm"], run["lr"]) == (arm, lr)]
            if here:
                yield line(f"{arm}, rate {lr:g}", here)
    yield from ("", "Each seed:", "", "| | seed | likeness | analogies, % | longest vector |", "|---|---|---|---|---|")
    for run in sorted(runs, key=lambda run: (run["lr"], arms().index(run["arm"]), run["seed"])):
        scores = f"{run['likeness']:.3f} | {100 * run['analogies']:.2f} | {run['longest']:.1f}"
        yield f"| {run['arm']}, rate {run['lr']:g} | {run['seed']} | {scores} |"


def line(name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """A line of means."""

    def spread(values: Sequence[float], form: str) -> str:
        deviation = f" ± {statistics.stdev(values):{form}}" if len(values) > 1 else ""
        return f"{statistics.mean(values):{form}}{deviation}"

    likeness, analogies = [run["likeness"] for run in runs], [100 * run["analogies"] for run in runs]
    longest, speed = max(run["longest"] for run in runs), [run["words"] / run["seconds"] / 1e3 for run in runs]
    scores = f"{spread(likeness, '.3f')} | {spread(analogies, '.2f')} | {longest:.1f} | {statistics.median(speed):.0f}"
    return f"| {name} | {min(run['seed'] for run in runs)}-{max(run['seed'] for run in runs)} | {scores} |"


if __name__ == "__main__":
    main()
