"""What a lesson expects, said once: each prediction with its judge, and the answers that rest on predictions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlnotes.lesson.declared import filled_in

if TYPE_CHECKING:  # the list of lessons needs no NumPy
    from dlnotes.evidence import Finding, Judgement

__all__ = ["Answer", "Prediction", "answer", "claim", "limit"]


@dataclass(frozen=True)
class Prediction:
    """What is expected before the run, and how it will be judged.

    Attributes:
        kind: ``claim`` or ``limit``.
        row: the row of the notes.
        name: a word or two, unique in the lesson: tests and answers address it by them.
        sentence: what is expected, as a sentence that stands alone; ``{field}`` stands for a setting.
        judge: from the trials to a judgement of `dlnotes.evidence`, which has statistic and margin.
        arms: the two arms that are compared, as they stand in the measured names.
        reading: which of several readings of the row it belongs to.
        of: what the judged number is, in words.
        because: why it is expected: a reason, or a source.
    """

    kind: str
    row: str
    name: str
    sentence: str
    judge: "Callable[[Any], Judgement]"
    arms: tuple[str, ...] = ()
    reading: str = ""
    of: str = ""
    because: str = ""

    def finding(self, trials: Any) -> "Finding":
        """The prediction, judged by what the trials measured."""
        from dlnotes.evidence import Finding

        return Finding(
            self.row,
            self.kind,
            self.name,
            filled_in(self.sentence, trials.config),
            self.judge(trials),
            self.of,
            self.reading,
            self.because,
        )


def claim(
    row: str,
    name: str,
    sentence: str,
    judge: "Callable[[Any], Judgement]",
    *,
    arms: Iterable[str] = (),
    reading: str = "",
    of: str = "",
    because: str = "",
) -> Prediction:
    """What the notes state, in one setting. The arguments are those of `Prediction`."""
    return Prediction("claim", row, name, sentence, judge, tuple(arms), reading, of, because)


def limit(
    row: str,
    name: str,
    sentence: str,
    judge: "Callable[[Any], Judgement]",
    *,
    arms: Iterable[str] = (),
    reading: str = "",
    of: str = "",
    because: str = "",
) -> Prediction:
    """A setting in which the notes' statement is predicted to fail: supported if it does."""
    return Prediction("limit", row, name, sentence, judge, tuple(arms), reading, of, because)


@dataclass(frozen=True)
class Answer:
    """A sentence or two about a row, shown while its findings have the verdicts that it was written for.

    Attributes:
        row: the row of the notes.
        sentence: the answer; ``{name}`` stands for the effect of the finding of that name, ``{data}`` for the data set,
            and any other setting for itself.
        given: the verdict of each finding that it rests on; ``"not_mnist/name"`` is that of a run on another data set.
    """

    row: str
    sentence: str
    given: Mapping[str, str]


def answer(row: str, sentence: str, *, given: Mapping[str, str]) -> Answer:
    """What a reader should take away about a row. How effects are written: `dlnotes.lesson.declared.Effect`."""
    return Answer(row, sentence, given)
