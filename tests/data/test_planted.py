"""Planted words: each is as frequent, and stands beside the others as often, as its truth says."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from dlnotes import data
from dlnotes.data.planted import stationary
from dlnotes.randomness import stream

RARELY = 1e-5  # how often a test may fail by chance


def draws(seed=0):
    return stream(seed, "words")


def assert_drawn_from(counts, probabilities):
    """What came is as frequent as said, by a chi-square test. What is expected less than ten times is one kind."""
    expected = probabilities / probabilities.sum() * counts.sum()
    assert counts[expected == 0].sum() == 0
    few = expected < 10
    if few.any():
        counts = torch.cat([counts[~few], counts[few].sum()[None]])
        expected = torch.cat([expected[~few], expected[few].sum()[None]])
    counts, expected = counts[expected > 0], expected[expected > 0]
    if len(counts) > 1:
        assert chisquare(counts.numpy(), expected.numpy() * (counts.sum() / expected.sum()).item()).pvalue > RARELY


def test_zipf_by_hand():
    assert data.zipf(4).tolist() == pytest.approx([12 / 25, 6 / 25, 4 / 25, 3 / 25], rel=1e-14)
    assert data.zipf(3, 2.0).tolist() == pytest.approx([36 / 49, 9 / 49, 4 / 49], rel=1e-14)
    assert data.zipf(5, 0).tolist() == pytest.approx([0.2] * 5, rel=1e-14)
    assert data.zipf(1).tolist() == [1.0]
    assert data.zipf(2).dtype == torch.float64


SETTINGS = {"classes": 4, "words": 7, "exponent": 0.8, "sharpness": 1.5}
MARKED = {**SETTINGS, "telling": 0.3, "markers": 3}


def truth(text, seed, *, classes, words, exponent, sharpness, telling=0.0, markers=0):
    """The probabilities of each word after each word (V, V), from the description in words alone."""
    after = data.transition_matrix(classes, sharpness=sharpness, generator=draws(seed)).tolist()
    total = sum(rank**-exponent for rank in range(1, words + 1))
    meanings = [tuple(row) for row in text.attributes.tolist()]
    share = []  # of each word in its class
    for id, (kind, _) in enumerate(meanings):
        rank = 1 + sum(other == kind for other, _ in meanings[:id])  # within a class, words are numbered by their rank
        share.append(rank**-exponent / total)
    table = torch.zeros(text.words, text.words, dtype=torch.float64)
    for word, (kind, sign) in enumerate(meanings):
        for other, (next_kind, next_sign) in enumerate(meanings):
            if kind >= 0 and next_kind >= 0:
                table[word, other] = (1 - telling) * after[kind][next_kind] * share[other]
            elif kind >= 0 and next_sign == sign:
                table[word, other] = telling / markers
            elif kind < 0 and next_kind >= 0:
                table[word, other] = share[other] / classes
    return table


def in_the_long_run(table):
    """How frequent each word is, by taking many steps."""
    shares = torch.linalg.matrix_power(table, 1 << 12)[0]
    return shares / shares.sum()


@pytest.mark.parametrize("settings", [SETTINGS, MARKED], ids=["unmarked", "marked"])
def test_the_next_word_is_as_probable_as_the_description_says(settings, seed):
    text = data.class_chain(10, **settings, generator=draws(seed))
    table = truth(text, seed, **settings)
    found = torch.stack([text.next_probabilities(word) for word in range(text.words)])
    torch.testing.assert_close(found, table, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(text.probabilities, in_the_long_run(table), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("settings", [SETTINGS, MARKED], ids=["unmarked", "marked"])
def test_the_entropy_is_that_of_the_next_word_summed_slowly(settings, seed):
    text = data.class_chain(200_000, **settings, generator=draws(seed))
    table = truth(text, seed, **settings)
    expected = 0.0
    for share, row in zip(in_the_long_run(table).tolist(), table.tolist(), strict=True):
        expected -= share * sum(p * math.log(p) for p in row if p)
    assert text.entropy == pytest.approx(expected, rel=1e-10)
    assert text.perplexity == pytest.approx(math.exp(expected), rel=1e-10)
    surprises = text.surprises()
    assert surprises[:5].tolist() == pytest.approx(
        [-math.log(table[one, other]) for one, other in itertools.pairwise(text.ids[:6].tolist())], rel=1e-12
    )
    # In a long text, what came was as improbable as that. Blocks of it are independent but for their ends.
    blocks = surprises[: len(surprises) // 100 * 100].view(100, -1).mean(1)
    assert blocks.mean().item() == pytest.approx(expected, abs=6 * blocks.std().item() / math.sqrt(len(blocks)))


@pytest.mark.parametrize("settings", [SETTINGS, MARKED], ids=["unmarked", "marked"])
def test_words_follow_each_other_as_often_as_they_should(settings, seed):
    text = data.class_chain(60_000, **settings, generator=draws(seed))
    counts = torch.zeros(text.words, text.words, dtype=torch.float64)
    counts.index_put_((text.ids[:-1], text.ids[1:]), torch.tensor(1.0).double(), accumulate=True)
    for word in range(text.words):
        assert_drawn_from(counts[word], text.next_probabilities(word))


def test_a_text_begins_as_it_goes_on(seed):
    generator = draws(seed)
    texts = [data.class_chain(1, classes=2, words=1, generator=generator) for _ in range(200)]
    begins = sum(text.ids.item() == 0 for text in texts)  # with its most frequent word
    shares = torch.stack([text.probabilities for text in texts]).sum(0)
    assert shares[0] > 130  # a half would not do
    assert_drawn_from(torch.tensor([begins, 200 - begins]).double(), shares)


def test_words_are_numbered_by_how_frequent_they_are():
    text = data.class_chain(0, **MARKED, generator=draws())
    assert (text.probabilities.diff() <= 0).all()
    assert text.ids.shape == (0,)
    assert text.words == 4 * 7 + 2 * 3
    even = data.class_chain(0, classes=3, words=4, sharpness=0.0, generator=draws())
    assert even.attributes[:, 0].tolist() == [0, 1, 2] * 4  # equally frequent ones in the order of their classes
    assert even.attributes[:, 1].tolist() == [0] * 3 + [1] * 3 + [0] * 3 + [1] * 3


def test_opposites_have_the_same_contexts_but_for_their_markers():
    marked = data.class_chain(0, **MARKED, generator=draws())
    plain = data.class_chain(0, **SETTINGS, generator=draws())
    for text in (marked, plain):
        kinds, signs = text.attributes.unbind(1)
        hot, cold = [((kinds == 2) & (signs == sign)).nonzero()[0].item() for sign in (0, 1)]
        hot, cold = text.next_probabilities(hot), text.next_probabilities(cold)
        torch.testing.assert_close(hot[kinds >= 0], cold[kinds >= 0], rtol=1e-12, atol=0)
        for sign, after in ((0, hot), (1, cold)):
            own, other = (kinds < 0) & (signs == sign), (kinds < 0) & (signs != sign)
            assert (after[other] == 0).all()
            assert after[own].tolist() == pytest.approx([0.1] * int(own.sum()))
        assert (kinds < 0).sum() == (6 if text is marked else 0)
        assert set(signs.tolist()) == {0, 1}


@given(st.integers(1, 6), st.floats(0, 60), st.integers(0, 99))
def test_the_share_of_states_is_what_stays_as_it_is(states, sharpness, seed):
    matrix = data.transition_matrix(states, sharpness=sharpness, generator=draws(seed))
    found = stationary(matrix)
    assert found.sum().item() == pytest.approx(1)
    # Between any two parts of the states, as much flows one way as the other, however little it is.
    for state in range(states):
        others = torch.arange(states) != state
        out, back = found[state] * matrix[state, others].sum(), found[others] @ matrix[others, state]
        assert out.item() == pytest.approx(back.item(), rel=1e-9)


def test_parts_that_are_never_left_have_no_shares():
    with pytest.raises(ValueError, match="parts that are never left: a smaller sharpness"):
        stationary(torch.eye(3, dtype=torch.float64))


def test_each_sentence_is_a_word_with_two_markers_of_its_root_and_two_of_its_role():
    text = data.crossed_attributes(5 * 400, roots=4, roles=3, contexts=2, noise=0.0, generator=draws())
    assert text.words == 4 * 3 + 2 * (4 + 3)
    for one, two, word, three, four in text.ids.view(-1, 5).tolist():
        root, role = text.attributes[word].tolist()
        assert word == text.word(root, role) == 3 * root + role
        of_root = {12 + 2 * root, 13 + 2 * root}
        of_role = {20 + 2 * role, 21 + 2 * role}
        found = [one, two, three, four]
        assert sum(marker in of_root for marker in found) == sum(marker in of_role for marker in found) == 2
    assert text.attributes[:12].tolist() == [[root, role] for root in range(4) for role in range(3)]
    assert (text.attributes[12:] == -1).all()


def test_words_and_markers_are_as_frequent_as_said(seed):
    settings = {"roots": 4, "roles": 3, "contexts": 2, "noise": 0.3, "exponent": 1.0}
    text = data.crossed_attributes(5 * 20_000, **settings, generator=draws(seed))
    sentences = text.ids.view(-1, 5)
    words, markers = sentences[:, 2], sentences[:, [0, 1, 3, 4]] - 12
    shares = data.zipf(4)
    assert_drawn_from(words.bincount(minlength=12).double(), (shares[:, None] / 3).expand(4, 3).flatten())
    # Of the four places of each sentence one is looked at: there, the three others are not independent of it.
    for place in range(4):
        for word in (0, 7):
            root, role = divmod(word, 3)
            expected = torch.full((14,), 0.3 / 14, dtype=torch.float64)
            expected[2 * root : 2 * root + 2] += 0.7 / 4
            expected[8 + 2 * role : 8 + 2 * role + 2] += 0.7 / 4
            assert_drawn_from(markers[words == word, place].bincount(minlength=14).double(), expected)


def test_without_an_exponent_all_roots_are_equally_likely(seed):
    text = data.crossed_attributes(5 * 3_000, generator=draws(seed))
    counts = text.ids.view(-1, 5)[:, 2].bincount(minlength=40).double()
    assert_drawn_from(counts, torch.ones(40).double())


def test_questions_are_all_pairs_of_roots_and_roles():
    text = data.crossed_attributes(7, roots=3, roles=2, generator=draws())
    assert text.ids.shape == (7,)
    questions = text.questions()
    assert questions.shape == (3 * 2 * 2 * 1, 4)
    assert questions.dtype == torch.int64
    expected = {
        tuple(text.word(*of) for of in ((one, role), (one, other), (two, role), (two, other)))
        for one, two in itertools.permutations(range(3), 2)
        for role, other in itertools.permutations(range(2), 2)
    }
    assert {tuple(row) for row in questions.tolist()} == expected
    # a - b + ... : who adds up root and role of b - a + c has those of d
    a, b, c, d = (text.attributes[questions[:, place]] for place in range(4))
    assert torch.equal(b - a + c, d)


@pytest.mark.parametrize(
    "draw",
    [
        lambda generator: data.class_chain(50, **MARKED, generator=generator),
        lambda generator: data.class_chain(50, classes=1, words=1, generator=generator),
        lambda generator: data.crossed_attributes(50, generator=generator),
    ],
)
def test_the_same_generator_gives_the_same_text(draw, device):
    def generator(seed):
        return torch.Generator(device).manual_seed(seed)

    one, same, other = draw(generator(0)), draw(generator(0)), draw(generator(1))
    assert torch.equal(one.ids, same.ids)
    assert one.words == 1 or not torch.equal(one.ids, other.ids)
    assert one.ids.dtype == one.attributes.dtype == torch.int64
    assert all(part.device.type == device for part in vars(one).values() if isinstance(part, torch.Tensor))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: data.zipf(0), ValueError, "words must be an int of 1 or more, not 0"),
        (lambda g: data.zipf(3, -1.0), ValueError, "exponent must be a finite number of 0 or more, not -1.0"),
        (lambda g: data.zipf(3, math.inf), ValueError, "exponent must be a finite number of 0 or more, not inf"),
        (lambda g: data.zipf(3, "1"), TypeError, "exponent must be a number, not str"),
        (lambda g: data.class_chain(-1, generator=g), ValueError, "count must be 0 examples or more, not -1"),
        (lambda g: data.class_chain(5, classes=0, generator=g), ValueError, "classes must be an int of 1 or more"),
        (lambda g: data.class_chain(5, words=2.0, generator=g), ValueError, "words must be an int of 1 or more"),
        (lambda g: data.class_chain(5, telling=1.0, generator=g), ValueError, "from 0 to below 1, not 1.0"),
        (lambda g: data.class_chain(5, telling=math.nan, generator=g), ValueError, "from 0 to below 1, not nan"),
        (lambda g: data.class_chain(5, telling=0.1, markers=0, generator=g), ValueError, "markers must be an int of 1"),
        (lambda g: data.class_chain(5, words=1, telling=0.1, generator=g), ValueError, "2 words or more: one of eith"),
        (lambda g: data.class_chain(5, generator=g).next_probabilities(500), ValueError, "from 0 to 499, not 500"),
        (lambda g: data.class_chain(5, generator=g).next_probabilities(-1), ValueError, "from 0 to 499, not -1"),
        (lambda g: data.crossed_attributes(5, roots=1, generator=g), ValueError, "roots must be 2 or more, so that"),
        (lambda g: data.crossed_attributes(5, roles=1, generator=g), ValueError, "roles must be 2 or more, so that"),
        (lambda g: data.crossed_attributes(5, contexts=0, generator=g), ValueError, "contexts must be an int of 1 or"),
        (lambda g: data.crossed_attributes(5, noise=1.1, generator=g), ValueError, "noise must be from 0 to 1, not"),
        (
            lambda g: data.crossed_attributes(5, generator=g).word(20, 0),
            ValueError,
            "root must be from 0 to 19, not 20",
        ),
        (lambda g: data.crossed_attributes(5, generator=g).word(0, -1), ValueError, "role must be from 0 to 1, not -1"),
    ],
)
def test_what_cannot_be_planted_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(draws())
