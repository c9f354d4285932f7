"""Letters: what is drawn, what the parts share, and what a seed fixes."""

import math

import pytest
import torch
from torch.nn import functional as F

from dlnotes.data import STANDARD, Distortion, letters, split_faces
from dlnotes.data.fonts import masters

NONE = Distortion(rotation=0, scale=0, shear=0, shift=0, elastic=0, noise=0)
SEEDS = range(20)


def few(seed=0, train=0, **changed):
    """Some test letters, and training letters where asked for."""
    return letters(seed, **{"train": train, "validation": 0, "test": 500, **changed})


def only(**field):
    """The letters of one kind of distortion, and the same letters undistorted: ``(500, 28, 28)`` twice."""
    bent = few(distortion=Distortion(**{**vars(NONE), **field})).test.inputs
    return bent.squeeze(1).double(), few(distortion=NONE).test.inputs.squeeze(1).double()


def moments(pictures):
    """Ink, its centre (x, y), and its second moments (xx, xy, yy), in pixels: ``(N,)`` each."""
    steps = torch.arange(28, dtype=torch.float64)
    ink = pictures.sum((1, 2))
    x, y = (pictures.sum(1) * steps).sum(1) / ink, (pictures.sum(2) * steps).sum(1) / ink
    dx, dy = steps - x[:, None], steps - y[:, None]
    second = [
        torch.einsum("nyx,nx,ny->n", pictures, a, b) / ink for a, b in ((dx * dx, dy**0), (dx, dy), (dx**0, dy * dy))
    ]
    return ink, (x, y), second


# What comes


def test_shapes_types_and_range():
    parts = letters(3, train=7, validation=13, test=1)
    for part, count in zip(parts, (7, 13, 1), strict=True):
        assert part.inputs.shape == (count, 1, 28, 28)
        assert part.inputs.dtype == torch.float32
        assert part.targets.shape == (count,)
        assert part.targets.dtype == torch.int64
        assert part.inputs.min() >= 0
        assert part.inputs.max() <= 1


def test_a_part_may_be_empty():
    train, validation, test = letters(0, train=0, validation=0, test=0)
    for part in (train, validation, test):
        assert part.inputs.shape == (0, 1, 28, 28)
        assert part.targets.shape == (0,)


@pytest.mark.parametrize("count", [10, 37, 500, 1003])
def test_classes_are_balanced_whatever_the_count(count):
    targets = few(test=count).test.targets
    counts = torch.bincount(targets, minlength=10)
    assert counts.max() - counts.min() <= 1
    assert targets[:10].sort().values.equal(torch.arange(10))


def test_classes_come_in_no_fixed_order():
    blocks = few().test.targets.view(-1, 10)
    assert len(set(map(tuple, blocks.tolist()))) > 40


def test_undistorted_letters_are_their_masters_at_half_the_size():
    inputs, targets = few(distortion=NONE).test
    known = masters()
    rows = [known.faces.index(face) for face in split_faces(0).test]
    half = F.avg_pool2d(known.pictures[rows].flatten(0, 1).float().unsqueeze(1) / 255, 2).view(len(rows), 10, 1, 28, 28)
    nearest = (half[:, targets] - inputs).abs().amax((2, 3, 4))  # (faces, letters): is it this face's letter?
    assert nearest.amin(0).max() < 1e-5
    assert set(nearest.argmin(0).tolist()) == set(range(len(rows))), "every test face is drawn"


# The split


@pytest.mark.parametrize("unseen", ["face", "family"])
def test_parts_share_no_face_and_leave_none_out(unseen):
    for seed in SEEDS:
        train, validation, test = map(set, split_faces(seed, unseen=unseen))
        assert not train & validation
        assert not train & test
        assert not validation & test
        assert train | validation | test == set(masters().faces)
        assert validation
        assert test


def test_parts_share_no_family_where_families_are_held_out():
    family = dict(zip(masters().faces, masters().families, strict=True))
    for seed in SEEDS:
        train, validation, test = ({family[face] for face in part} for part in split_faces(seed, unseen="family"))
        assert not train & validation
        assert not train & test
        assert not validation & test


@pytest.mark.parametrize("unseen", ["face", "family"])
def test_the_split_is_redrawn_for_each_seed(unseen):
    tests = {split_faces(seed, unseen=unseen).test for seed in SEEDS}
    assert len(tests) >= (19 if unseen == "face" else 10)


def test_each_part_is_drawn_in_its_own_faces():
    known = masters()
    half = F.avg_pool2d(known.pictures.flatten(0, 1).float().unsqueeze(1) / 255, 2).view(
        len(known.faces), 10, 1, 28, 28
    )
    parts = letters(5, train=300, validation=300, test=300, distortion=NONE)
    for (inputs, targets), faces in zip(parts, split_faces(5), strict=True):
        drawn = (half[:, targets] - inputs).abs().amax((2, 3, 4)).argmin(0)
        assert {known.faces[face] for face in drawn.tolist()} == set(faces)


# What a seed fixes


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    assert few(7).test.inputs.equal(few(7).test.inputs)
    assert not few(7).test.inputs.equal(few(8).test.inputs)


@pytest.fixture(scope="module")
def many():
    return letters(2, train=1300, validation=0, test=0)


@pytest.mark.parametrize("count", [1, 499, 500, 501, 1200])
def test_the_first_letters_are_the_same_however_many_are_asked_for(many, count):
    few_of_them = letters(2, train=count, validation=0, test=0)
    assert few_of_them.train.inputs.equal(many.train.inputs[:count])
    assert few_of_them.train.targets.equal(many.train.targets[:count])


def test_more_of_one_part_changes_no_other():
    small, large = letters(2, train=10, validation=20, test=30), letters(2, train=900, validation=20, test=30)
    assert small.validation.inputs.equal(large.validation.inputs)
    assert small.test.inputs.equal(large.test.inputs)


def test_the_parts_are_drawn_independently():
    parts = letters(2, train=500, validation=500, test=500)
    assert not parts.train.targets.equal(parts.validation.targets)
    assert not parts.validation.targets.equal(parts.test.targets)


def test_another_distortion_bends_the_same_letters():
    assert few(distortion=NONE).test.targets.equal(few().test.targets)
    _, slight = only(shift=0.0), few(distortion=Distortion(**{**vars(NONE), "noise": 1e-6})).test.inputs
    assert torch.allclose(slight, few(distortion=NONE).test.inputs, atol=1e-5)


def test_no_global_random_number_is_drawn():
    before = torch.get_rng_state()
    few()
    assert torch.get_rng_state().equal(before)


# What each distortion does. The amounts are uniform: 96 % of them lie within 96 % of the largest. Of 500 letters that
# share is off by 1 % or so, and a stroke of a pixel or two blurs what is measured by as much again.


def reaches(amounts, largest):
    low, high = torch.quantile(amounts, torch.tensor([0.02, 0.98], dtype=torch.float64)).tolist()
    return low == pytest.approx(-largest, rel=0.15) and high == pytest.approx(largest, rel=0.15)


def test_shift_moves_the_centre_by_its_fraction_of_the_side():
    bent, straight = only(shift=0.05)
    for moved, still in zip(moments(bent)[1], moments(straight)[1], strict=True):
        assert reaches(moved - still, 0.05 * 28)


def test_scale_changes_width_and_height_each_by_its_fraction():
    bent, straight = only(scale=0.12)
    (_, _, (xx, _, yy)), (_, _, (xx0, _, yy0)) = moments(bent), moments(straight)
    wide = few().test.targets != "ABCDEFGHIJ".index("I")  # an I is as wide as its blur
    width, height = (xx / xx0).sqrt()[wide], (yy / yy0).sqrt()[wide]
    assert reaches(width - 1, 0.12)
    assert reaches(height - 1, 0.12)
    assert abs(torch.corrcoef(torch.stack([width, height]))[0, 1]) < 0.25, "they change separately"


def test_shear_moves_the_top_against_the_bottom_by_its_fraction_of_the_height():
    bent, straight = only(shear=0.12)
    (_, _, (_, xy, yy)), (_, _, (_, xy0, yy0)) = moments(bent), moments(straight)
    assert reaches(xy / yy - xy0 / yy0, 0.12)


def test_rotation_turns_by_its_degrees():
    bent, straight = only(rotation=8.0)
    (_, _, (xx, xy, yy)), (_, _, (xx0, xy0, yy0)) = moments(bent), moments(straight)
    angle = (torch.atan2(2 * xy, xx - yy) - torch.atan2(2 * xy0, xx0 - yy0)) / 2
    angle = torch.remainder(angle + math.pi / 2, math.pi) - math.pi / 2
    long = ((xx0 - yy0) ** 2 + 4 * xy0**2).sqrt() / (xx0 + yy0) > 0.4  # the angle of a round letter means little
    assert reaches(torch.rad2deg(angle[long]), 8.0)


def test_elastic_bends_without_moving_the_letter_away():
    bent, straight = only(elastic=0.05)
    assert (bent - straight).abs().mean() > 0.02
    for moved, still in zip(moments(bent)[1], moments(straight)[1], strict=True):
        assert (moved - still).abs().quantile(0.98) < 0.05 * 28
        assert (moved - still).mean().abs() < 0.15


def test_noise_on_paper_is_the_positive_half_of_a_gaussian():
    bent, straight = only(noise=0.2)
    paper = bent[straight == 0]
    # E[max(0, z)] = sigma / sqrt(2 pi); its standard deviation is below 0.6 sigma.
    assert abs(paper.mean() - 0.2 / math.sqrt(2 * math.pi)) < 5 * 0.6 * 0.2 / math.sqrt(len(paper))


@pytest.mark.parametrize("field", list(vars(NONE)))
def test_every_field_of_a_distortion_does_something(field):
    bent, straight = only(**{field: vars(STANDARD)[field]})
    assert not bent.equal(straight)


# How hard it is


def test_a_linear_classifier_learns_letters_that_carry_over_to_unseen_faces_but_not_whole():
    parts = letters(1000, train=3000, validation=0, test=1000)

    def scores(targets):
        inputs = parts.train.inputs.flatten(1)
        ridge = inputs.T @ inputs + 30 * torch.eye(784)
        weights = torch.linalg.solve(ridge, inputs.T @ (F.one_hot(targets, 10) - 0.1))
        return [((part.inputs.flatten(1) @ weights).argmax(1) == part.targets).float().mean() for part in parts[::2]]

    train, test = scores(parts.train.targets)
    assert 0.70 < test < 0.95
    assert train > test + 0.02
    shuffled = parts.train.targets.roll(3)
    assert scores(shuffled)[1] < 0.25


# What is refused


@pytest.mark.parametrize("field", list(vars(NONE)))
@pytest.mark.parametrize("amount", [-0.01, 1000.0, math.nan, math.inf])
def test_a_distortion_out_of_range_is_refused(field, amount):
    with pytest.raises(ValueError, match=f"{field} must be between 0 and"):
        Distortion(**{field: amount})


@pytest.mark.parametrize("amount", ["0.1", None, True])
def test_a_distortion_that_is_no_number_is_refused(amount):
    with pytest.raises(TypeError, match="noise must be a number"):
        Distortion(noise=amount)


def test_a_distortion_is_frozen():
    with pytest.raises(AttributeError):
        STANDARD.noise = 0.0


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_counts_are_checked(part):
    with pytest.raises(ValueError, match=f"{part} must be 0 examples or more, not -1"):
        letters(0, **{part: -1})
    with pytest.raises(TypeError, match=f"{part} must be a number of examples"):
        letters(0, **{part: 10.0})


def test_a_wrong_seed_or_split_is_refused():
    with pytest.raises(ValueError, match="seed must be 0 or larger"):
        letters(-1)
    with pytest.raises(ValueError, match="unseen must be 'face' or 'family', not 'font'"):
        letters(0, unseen="font")
