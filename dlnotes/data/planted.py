"""Texts of made-up words whose truth is known: what a word means, and how well the next one can be guessed at best.

A word is a number. Its meaning is what it was planted with, a whole number an attribute, and it shows in the text in no
other way than by the words around it.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import product

import torch
from torch import Generator, Tensor

from dlnotes.arguments import check_counts, check_number
from dlnotes.data.examples import check_count
from dlnotes.data.sequences import transition_matrix

__all__ = ["ChainedWords", "CrossedWords", "PlantedWords", "class_chain", "crossed_attributes", "zipf"]


def zipf(words: int, exponent: float = 1.0) -> Tensor:
    """How frequent words are by their rank, (words,), float64.

        p(r) = r^-s / Σ_k k^-s        r = 1, 2, ..., s for ``exponent``

    In texts, s is about 1: the second word comes half as often as the first one, the third a third as often.

    Args:
        words: how many there are.
        exponent: s, 0 or larger; at 0 all are equally likely.

    Example:
        >>> zipf(3) * 11
        tensor([6.0000, 3.0000, 2.0000], dtype=torch.float64)

    Source: George Kingsley Zipf, "Human behavior and the principle of least effort", 1949.
    """
    check_counts(words=words)
    check_number("exponent", exponent)
    if not (exponent >= 0 and math.isfinite(exponent)):
        raise ValueError(f"exponent must be a finite number of 0 or more, not {exponent}")
    ranks = torch.arange(1, words + 1, dtype=torch.float64, device="cpu")
    shares = ranks ** -float(exponent)
    return shares / shares.sum()


@dataclass(frozen=True, eq=False)
class PlantedWords:
    """A text of made-up words, and what each of them is.

    Shape:
        - ids: (N,), int64: the words of the text, one after another.
        - attributes: (V, A), int64: row w says what word w is, a column an attribute; -1 where a word has none of it.
    """

    ids: Tensor
    attributes: Tensor

    @property
    def words(self) -> int:
        """How many words there are, V, whether they came in the text or not."""
        return len(self.attributes)


@dataclass(frozen=True, eq=False)
class ChainedWords(PlantedWords):
    """A text that `class_chain` made. What comes after a word depends on the *state* of the word alone.

        p(w | v) = transitions[state(v), state(w)] · emissions[w]

    Without markers, the state of a word is its class. With them, it is its class and its sign, and the markers of each
    sign are a state.

    Shape:
        - attributes: (V, 2): the class, and the sign: 0 for +, 1 for -.
        - states: (V,), int64: the state of each word.
        - transitions: (S, S), float64: row i says which state follows state i.
        - emissions: (V,), float64: the probability of each word in its state.

    Example:
        >>> text = class_chain(1_000, classes=2, words=3, generator=torch.Generator().manual_seed(0))
        >>> text.ids.shape, text.words, text.attributes[:, 0].tolist()
        (torch.Size([1000]), 6, [1, 1, 1, 0, 0, 0])
        >>> round(text.perplexity, 4)        # of 6 words, the next one is as uncertain as one of 2.8
        2.8129
    """

    states: Tensor
    transitions: Tensor
    emissions: Tensor

    @property
    def probabilities(self) -> Tensor:
        """How frequent each word is in the long run, (V,), float64: words are numbered by it, falling."""
        return stationary(self.transitions)[self.states] * self.emissions

    @property
    def entropy(self) -> float:
        """How uncertain the next word is for one who knows all of this, in the mean over a long text, in nats.

            H = Σ_i π(i) Σ_w p(w | i) · (-log p(w | i))        π(i): the share of words in state i

        No model has a smaller cross-entropy on a long text.

        Source: Claude Shannon, "A mathematical theory of communication", 1948, section 7.
        """
        within = torch.zeros_like(self.transitions[0]).index_add_(0, self.states, torch.special.entr(self.emissions))
        # States are as frequent after a step as before: which one comes next, and which word of it.
        return (stationary(self.transitions) @ (torch.special.entr(self.transitions).sum(1) + within)).item()

    @property
    def perplexity(self) -> float:
        """The exponential of the entropy: the next word is as uncertain as one of so many equally likely ones."""
        return math.exp(self.entropy)

    def next_probabilities(self, word: int) -> Tensor:
        """The true probabilities of what comes after a word, (V,), float64.

        Raises:
            ValueError: there is no such word.
        """
        if not 0 <= word < self.words:
            raise ValueError(f"word must be from 0 to {self.words - 1}, not {word}")
        return self.transitions[self.states[word], self.states] * self.emissions

    def surprises(self) -> Tensor:
        """-log p of each word of the text but the first, after the one before it, (N - 1,), float64, in nats.

        Their mean is what the best of models would reach on this text, the entropy but for chance.
        """
        states = self.states[self.ids]
        return -(self.transitions[states[:-1], states[1:]] * self.emissions[self.ids[1:]]).log()


@dataclass(frozen=True, eq=False)
class CrossedWords(PlantedWords):
    """A text that `crossed_attributes` made. Words are numbered by root and role; their markers come after them.

    Shape:
        attributes: (V, 2): the root and the role; -1 and -1 for markers.

    Example:
        >>> text = crossed_attributes(1_000, roots=3, roles=2, contexts=4, generator=torch.Generator().manual_seed(0))
        >>> text.words, text.word(2, 1), text.attributes[5].tolist(), len(text.questions())
        (26, 5, [2, 1], 12)
    """

    roots: int
    roles: int

    def word(self, root: int, role: int) -> int:
        """The number of the word with this root in this role.

        Raises:
            ValueError: there is no such root or role.
        """
        for name, value, there in (("root", root, self.roots), ("role", role, self.roles)):
            if not 0 <= value < there:
                raise ValueError(f"{name} must be from 0 to {there - 1}, not {value}")
        return root * self.roles + role

    def questions(self) -> Tensor:
        """All analogies, (Q, 4), int64: a is to b as c is to d, as *man* is to *king* as *woman* is to *queen*.

        a and b have one root, c and d another one; a and c have one role, b and d another one.
        """
        roots, roles = range(self.roots), range(self.roles)
        rows = [
            (self.word(root, role), self.word(root, other), self.word(another, role), self.word(another, other))
            for root, another, role, other in product(roots, roots, roles, roles)
            if root != another and role != other
        ]
        return torch.tensor(rows, dtype=torch.int64, device=self.ids.device)


def class_chain(
    count: int,
    *,
    classes: int = 10,
    words: int = 50,
    exponent: float = 1.0,
    sharpness: float = 2.0,
    telling: float = 0.0,
    markers: int = 5,
    generator: Generator,
) -> ChainedWords:
    """A text in which the class of the next word depends on the class of the present one, and on nothing else.

    Classes follow each other by a `transition_matrix`, as an adjective is followed by a noun rather than by a verb. The
    word of a class is drawn by its rank in the class, by `zipf`. So words of one class have the same contexts, and are
    told from other words by them alone.

    Within a class, words alternate between the signs + and -, by rank. They are opposites, as *hot* and *cold* are:
    both signs have the same contexts. With ``telling`` above 0 there are *markers*, words of a sign and of no class.
    After a word of a class, the next one is with probability ``telling`` a marker of the word's sign, each as likely.
    After a marker, each class is as likely. So opposites are told apart by their markers alone.

    Words are numbered by how frequent they are in the long run, the most frequent one is 0.

    Args:
        count: words of the text.
        classes: kinds of words.
        words: how many words each class has.
        exponent: of Zipf's law within a class.
        sharpness: of the transition matrix: at 0 each class follows each as likely.
        telling: probability of a marker after a word of a class, from 0 to below 1.
        markers: how many markers each sign has, if ``telling`` is above 0.
        generator: where the matrix, and then the text, are drawn from.

    Raises:
        TypeError: a number is none.
        ValueError: it is out of its range, or there are no words of both signs to be told apart.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> text = class_chain(8, classes=2, words=2, telling=0.3, markers=1, generator=generator)
        >>> text.attributes[text.ids].tolist()
        [[1, 1], [-1, 1], [0, 0], [0, 0], [0, 1], [0, 0], [0, 0], [0, 0]]
    """
    check_count("count", count)
    check_counts(classes=classes, words=words, markers=markers)
    check_number("telling", telling)
    if not 0 <= telling < 1:
        raise ValueError(f"telling must be from 0 to below 1, not {telling}")
    if telling and words < 2:
        raise ValueError("where markers tell the sign, each class needs 2 words or more: one of either sign")
    after = transition_matrix(classes, sharpness=sharpness, generator=generator).cpu()
    shares = zipf(words, exponent)
    kinds = torch.arange(classes, device="cpu").repeat_interleave(words)
    ranks = torch.arange(words, device="cpu").repeat(classes)
    attributes, states, transitions, emissions = torch.stack([kinds, ranks % 2], 1), kinds, after, shares[ranks]
    if telling:
        signs = torch.arange(2, device="cpu").repeat_interleave(markers)
        of_sign = torch.stack([shares[::2].sum(), shares[1::2].sum()])
        attributes = torch.cat([attributes, torch.stack([torch.full_like(signs, -1), signs], 1)])
        states = torch.cat([2 * kinds + ranks % 2, 2 * classes + signs])
        transitions = _with_markers(after, of_sign, float(telling))
        within = emissions / of_sign[ranks % 2]
        emissions = torch.cat([within, torch.full_like(signs, 1 / markers, dtype=torch.float64)])
    frequencies = stationary(transitions)[states] * emissions
    # Rounded, so that words that are equally frequent but for rounding stay in the order of their classes.
    order = (-frequencies.log() * 1e9).round().argsort(stable=True)
    attributes, states, emissions = attributes[order], states[order], emissions[order]
    ids = _drawn(count, states, transitions, emissions, generator)
    place = generator.device
    return ChainedWords(*(part.to(place) for part in (ids, attributes, states, transitions, emissions)))


def crossed_attributes(
    count: int,
    *,
    roots: int = 20,
    roles: int = 2,
    contexts: int = 5,
    noise: float = 0.2,
    exponent: float = 0.0,
    generator: Generator,
) -> CrossedWords:
    """A text for analogies: each word is a root in a role, as *queen* is a ruler in the role of a woman.

    The text is sentences of five words: the word, and around it two markers of its root and two of its role, in drawn
    order. A root and a role have markers of their own, ``contexts`` of them, each as likely. With probability ``noise``
    any marker of all, each as likely, stands in the place of a marker. So a word's contexts are those of its root and
    those of its role, and nothing in them says more of both together.

    Args:
        count: words of the text; where it is no multiple of 5, the last sentence is cut short.
        roots: how many roots there are, 2 or more.
        roles: how many roles there are, 2 or more; each is as likely.
        contexts: how many markers each root and each role has.
        noise: probability that a marker tells nothing, from 0 to 1.
        exponent: of Zipf's law, by which roots are drawn: at 0 each is as likely, else the first one is the likeliest.
        generator: where they are drawn from.

    Raises:
        TypeError: a number is none.
        ValueError: it is out of its range.

    Example:
        >>> text = crossed_attributes(10, roots=2, roles=2, contexts=1, generator=torch.Generator().manual_seed(0))
        >>> text.ids.view(2, 5)        # words 0 to 3, markers of roots 4 and 5, markers of roles 6 and 7
        tensor([[7, 5, 3, 7, 6],
                [5, 5, 3, 7, 7]])
    """
    check_count("count", count)
    check_counts(roots=roots, roles=roles, contexts=contexts)
    for name, kinds in (("roots", roots), ("roles", roles)):
        if kinds < 2:
            raise ValueError(f"{name} must be 2 or more, so that there is an analogy, not {kinds}")
    check_number("noise", noise)
    if not 0 <= noise <= 1:
        raise ValueError(f"noise must be from 0 to 1, not {noise}")
    place, sentences = generator.device, -(-count // 5)

    def integers(kinds: int, *shape: int) -> Tensor:
        return torch.randint(kinds, shape, generator=generator, device=place)

    def numbers(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64, device=place)

    edges = zipf(roots, exponent).cumsum(0)[:-1].to(place)
    root = torch.searchsorted(edges, numbers(sentences), right=True)
    role = integers(roles, sentences)
    about = torch.stack([root, root, roots + role, roots + role], 1)  # whose markers: a root's, or a role's
    markers = about * contexts + integers(contexts, sentences, 4)
    any_marker = integers((roots + roles) * contexts, sentences, 4)
    markers = torch.where(numbers(sentences, 4) < noise, any_marker, markers)
    around = roots * roles + markers.gather(1, numbers(sentences, 4).argsort(1))
    ids = torch.cat([around[:, :2], (root * roles + role)[:, None], around[:, 2:]], 1).flatten()[:count]
    attributes = torch.full((roots * roles + (roots + roles) * contexts, 2), -1, device=place)
    attributes[: roots * roles] = torch.cartesian_prod(
        torch.arange(roots, device=place), torch.arange(roles, device=place)
    )
    return CrossedWords(ids, attributes, roots, roles)


def stationary(transitions: Tensor) -> Tensor:
    """The share of each state in a long run of a Markov chain, (S,): π with π P = π.

    States are left out one by one, the last one first, and what leads over them is added to the direct ways. As nothing
    is subtracted, small probabilities stay exact too.

    Raises:
        ValueError: the chain has parts that are never left, so that its shares depend on where it began.

    Example:
        >>> stationary(torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64)) * 3
        tensor([1., 2.], dtype=torch.float64)

    Source: Winfried Grassmann, Michael Taksar and Daniel Heyman, "Regenerative analysis and steady state distributions
    for Markov chains", 1985.
    """
    ways = transitions.clone()
    for last in range(len(ways) - 1, 0, -1):
        ways[:last, last] /= ways[last, :last].sum()
        ways[:last, :last] += ways[:last, last, None] * ways[last, :last]
    shares = torch.ones_like(ways[0])
    for state in range(1, len(ways)):
        shares[state] = shares[:state] @ ways[:state, state]
    if not shares.isfinite().all():
        raise ValueError("the transitions have parts that are never left: a smaller sharpness makes one chain of them")
    return shares / shares.sum()


def _with_markers(after: Tensor, of_sign: Tensor, telling: float) -> Tensor:
    """Transitions between classes of a sign (2 · class + sign), and the markers of the two signs after them."""
    classes = len(after)
    transitions = after.new_zeros(2 * classes + 2, 2 * classes + 2)
    signed = (after[:, :, None] * of_sign).flatten(1)
    transitions[:-2, :-2] = (1 - telling) * signed.repeat_interleave(2, 0)
    transitions[0:-2:2, -2] = transitions[1:-2:2, -1] = telling
    transitions[-2:, :-2] = of_sign.repeat(classes) / classes
    return transitions


def _drawn(count: int, states: Tensor, transitions: Tensor, emissions: Tensor, generator: Generator) -> Tensor:
    """A text: its chain of states, begun as it goes on in the long run, and then a word of each state."""
    numbers = torch.rand(2, count, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    edges = transitions.cumsum(1)[:, :-1].tolist()
    at = stationary(transitions).cumsum(0)[:-1].tolist()
    chain = []
    for number in numbers[0].tolist():  # half a million in a fraction of a second: a step is a search in a short list
        state = bisect_right(at, number)
        chain.append(state)
        at = edges[state]
    path = torch.tensor(chain, dtype=torch.int64, device="cpu")
    ids = torch.empty_like(path)
    for state in range(len(transitions)):
        here, members = path == state, (states == state).nonzero()[:, 0]
        within = emissions[members].cumsum(0)[:-1]
        ids[here] = members[torch.searchsorted(within, numbers[1][here], right=True)]
    return ids
