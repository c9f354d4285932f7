"""
What does a 1×1 convolution add?
================================

A convolution slides a small window over an image. What lies in it is a *patch*: its pixels are multiplied by weights,
the *kernel*, and added up. The sums make a picture, a *feature map*; several kernels give several maps, the *channels*
of the result. Each kernel gives a patch a score, a linear one: weights times pixels, plus a constant, the *bias*.

The outline of a letter is where a pixel differs from its right neighbour: one is ink (1), the other paper (0). This is
XOR, "exclusive or". Suppose a linear score with weights a (left), b (right) and bias c were above 0 there alone: ::

    patches that are alike      0 0:  c < 0          1 1:  a + b + c < 0       added up:  a + b + 2c < 0
    patches that differ         0 1:  b + c > 0      1 0:  a + c > 0           added up:  a + b + 2c > 0

The sum cannot be both: one kernel gets at most three of the four right (Minsky and Papert, 1969). A *1×1 convolution*
has a window of one pixel. It mixes the channels there (weighs and adds them) and sees no neighbours. But behind another
convolution it sees several scores of a patch. Take two, set what is negative to 0 (a *ReLU*), and mix with 1 and -2: ::

    patch                                0 0   0 1   1 0   1 1
    first map    ReLU(left + right)       0     1     1     2
    second map   ReLU(left + right - 1)   0     0     0     1
    1×1          first - 2 · second       0     1     1     0         XOR

Two layers with a ReLU between them are a small neural network that slides over the image (Lin, Chen and Yan, 2014). The
course notes leave the ReLU out. Does it matter? Without it, mix the maps of kernels (1, 2) and (3, 0) with 2 and -1:
the result is the map of one kernel, 2 · (1, 2) - (3, 0) = (-1, 4). The 1×1 has added nothing.
"""

from dataclasses import dataclass

import torch
from matplotlib import pyplot as plt
from torch import nn

from dlnotes import data, lesson
from dlnotes.conv import Conv2d, GlobalAveragePool2d, PointwiseConv, count_parameters, patches
from dlnotes.evidence import difference, identity, not_better, ratio
from dlnotes.lesson import answer, claim, limit, reference_line, strips
from dlnotes.linear import SGD, LogisticClassifier, cosine_decay, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, largest_error, train_for
from dlnotes.randomness import stream
from dlnotes.training import Loss, Minibatches, Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# We compare three networks, the *arms*: a convolution; one with a 1×1 behind it; and these two with a ReLU in between.
# The last two start from the same weights. First, all learn to mark pixels that differ from their right neighbour, in
# images of coin tosses (0 or 1), with kernels of 1×2. Each learns from several first weights, its *starts*, and at one
# learning rate, since no rate finds what does not exist. Then each 5×5 patch of a real image votes: it gives each class
# a score, and the mean score decides. Here each arm has the learning rate that was best for it on other seeds. A *seed*
# is the number that all random draws start from: all arms get its images and batches (the images of one step).


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    validation: int = 1_000  # images that rates are chosen by
    test: int = 2_000  # unseen images
    hidden: int = 32  # kernels of the first convolution, where a second follows
    steps: int = 300  # of the networks that vote, 64 images each
    starts: int = 3  # first weights that each network on coin tosses is trained from
    coin_steps: int = 100  # steps of each of these, 16 images each


QUICK = Config(train=100, validation=100, test=100, hidden=8, steps=10, starts=2, coin_steps=20)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
ALONE, LINEAR, MINI = ARMS = ("conv", "conv + 1×1", "conv + ReLU + 1×1")


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured = identities(seed)
    train, _, test = load(config, seed)
    tosses, differ = coins(seed, "unseen coins")
    for arm in ARMS:
        marks = [marker(config, seed, arm, start)(tosses) > 0 for start in range(config.starts)]
        shares = [(places == differ).double().mean().item() for places in marks]
        measured[f"xor/{arm}/best start"], measured[f"xor/{arm}/worst start"] = max(shares), min(shares)
        measured[f"votes/{arm}/mistakes"] = 1 - accuracy(voter(config, seed, arm, train, tuned[arm]), test)
    return measured


def network(arm: str, kernel: tuple[int, int], hidden: int, scores: int, weights: torch.Generator) -> nn.Sequential:
    """Scores of each patch: (N, 1, H, W) to (N, scores, H', W')."""
    if arm == ALONE:
        return nn.Sequential(Conv2d(1, scores, kernel, fused=True, generator=weights))
    between = [nn.ReLU()] if arm == MINI else []
    first = Conv2d(1, hidden, kernel, fused=True, generator=weights)
    return nn.Sequential(first, *between, PointwiseConv(hidden, scores, generator=weights))


def coins(seed: int, purpose: str) -> data.Examples:
    """Images of 8×8 coin tosses, and for each pixel with a right neighbour 1 if the two differ, 0 if not."""
    tosses = torch.rand(400, 1, 8, 8, generator=stream(seed, purpose)) < 0.5
    return data.Examples(tosses.float(), (tosses[..., :-1] != tosses[..., 1:]).float())


def marker(config: Config, seed: int, arm: str, start: int) -> nn.Module:
    """A network that has learned to mark differences, from coin tosses."""
    model = network(arm, (1, 2), config.hidden, 1, stream(seed, f"weights {start}"))
    batches = Minibatches(coins(seed, "coins"), 16, stream(seed, "batches"))
    return trained(model, nn.BCEWithLogitsLoss(), batches, config.coin_steps, lr=0.4)


def voter(config: Config, seed: int, arm: str, train: data.Examples, lr: float) -> nn.Module:
    """A trained classifier of images: the mean of the scores of all patches of 5×5."""
    votes = network(arm, (5, 5), config.hidden, 10, stream(seed, "weights"))
    model = nn.Sequential(votes, GlobalAveragePool2d(), nn.Flatten())
    return trained(model, cross_entropy, Minibatches(train, 64, stream(seed, "batches")), config.steps, lr)


def trained(model: nn.Module, loss: Loss, batches: Minibatches, steps: int, lr: float) -> nn.Module:
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9)
    train_for(Trainer(model, loss, optimizer, batches, scheduler=cosine_decay(optimizer, steps)), steps)
    return model


def load(config: Config, seed: int) -> list[data.Examples]:
    """Training, validation and unseen images, with training pixels of mean 0 and variance 1."""
    counts = {"train": config.train, "validation": config.validation, "test": config.test}
    parts = data.load(config.data, seed, **counts, side=14, flat=False)
    std, mean = torch.std_mean(parts.train.inputs)
    return [data.Examples((inputs - mean) / std, targets) for inputs, targets in parts]


def identities(seed: int) -> Measured:
    """Errors of what should be equal, for a random image and random layers, and how many weights layers have."""
    draws = stream(seed, "draws")
    image = torch.randn(1, 3, 9, 9, generator=draws, dtype=torch.float64)
    first = Conv2d(3, 8, 5, generator=draws, dtype=torch.float64)
    second = PointwiseConv(8, 6, generator=draws, dtype=torch.float64)
    merged = Conv2d(3, 6, 5, generator=draws, dtype=torch.float64)
    classifier = LogisticClassifier(3 * 5 * 5, 8, dtype=torch.float64)
    (kernels, biases), (mix, bias) = first.parameters(), second.parameters()
    for parameter in (biases, bias):
        parameter.data.normal_(generator=draws)  # they start at 0
    matrix = mix.flatten(1)
    merged.load_state_dict({"weight": torch.tensordot(matrix, kernels, dims=1), "bias": matrix @ biases + bias})
    classifier.load_state_dict({"weight": kernels.flatten(1), "bias": biases})
    maps, of_patches = first(image), classifier(patches(image, 5).flatten(1).T).T
    by_matrix = torch.einsum("oc,nchw->nohw", matrix, maps) + bias[:, None, None]
    one = count_parameters(PointwiseConv(3, 8, bias=False, generator=draws))
    three, five = (count_parameters(Conv2d(3, 8, k, bias=False, generator=draws)) for k in (3, 5))
    return {
        "patch classifier/error": largest_error(of_patches.view_as(maps), maps),
        "merged/error": largest_error(merged(image), second(maps)),
        "matrix/error": largest_error(by_matrix, second(maps)),
        "weights/error": abs(three / one - 9) + abs(five / one - 25),
    }


# The voters' rates are chosen by `python -m lessons tune one_by_one`: of six an arm, by the loss on validation images.
TUNING = {ALONE: grid(0.2, 6.4), LINEAR: grid(0.025, 0.8), MINI: grid(0.05, 1.6)}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation, _ = load(config, seed)
    return [evaluate(voter(config, seed, arm, train, lr), validation, cross_entropy) for lr in candidates]


# %%
# What we expect
# --------------
# Written before the run: *claims* of the notes, and *limits*, where they should fail. A network that should fail is
# judged by its best start, the other by its worst. For mistakes the *margin*, the least that matters, is a tenth.

# fmt: off
PREDICTIONS = [
    claim("3.18", "linear classifier", "A convolution gives each patch the scores of a linear classifier.",
          lambda t: identity(t["patch classifier/error"], tolerance=1e-10), of="largest error"),
    claim("3.18", "xor", "One convolution gets XOR of neighbours right in under 80 % of places.",
          lambda t: not_better(difference(t["xor/conv/best start"], margin=0.8)), of="share right, best start"),
    claim("3.19", "xor with a ReLU", "Convolution, ReLU and 1×1 get XOR of neighbours right in over 95 % of places.",
          lambda t: difference(t["xor/conv + ReLU + 1×1/worst start"], margin=0.95), of="share right, worst start"),
    claim("3.19", "votes with a ReLU", "Patches of {data} that vote err over a tenth more often without ReLU and 1×1.",
          lambda t: ratio(t["votes/conv/mistakes"], t["votes/conv + ReLU + 1×1/mistakes"], margin=1.1),
          arms=(ALONE, MINI), of="mistakes without over those with"),
    limit("3.19", "xor without", "Convolution and 1×1 alone get XOR of neighbours right in under 80 % of places.",
          lambda t: not_better(difference(t["xor/conv + 1×1/best start"], margin=0.8)), of="share right, best start"),
    limit("3.19", "one kernel", "Convolution and 1×1 without a ReLU give what one convolution gives.",
          lambda t: identity(t["merged/error"], tolerance=1e-10), of="largest error"),
    claim("3.21", "matrix", "A 1×1 convolution is one matrix times the channels of each pixel.",
          lambda t: identity(t["matrix/error"], tolerance=1e-10), of="largest error"),
    claim("3.21", "few weights", "For the same channels in and out, 3×3 has 9 times the weights of 1×1, 5×5 25 times.",
          lambda t: identity(t["weights/error"], tolerance=0.0), of="times the weights too many"),
]

ANSWERS = [
    answer("3.18", "Yes: it is one linear classifier for all patches. It cannot learn whether two pixels differ (XOR): "
           "at most 3 of 4 cases come out right.", given={"linear classifier": "supported", "xor": "supported"}),
    answer("3.19", "Only with a ReLU between them: XOR is right in {xor with a ReLU:.0%} of places, and patches of "
           "{data} that vote make {votes with a ReLU:fewer} fewer mistakes. Without it, the two are one convolution.",
           given={"xor with a ReLU": "supported", "votes with a ReLU": "supported", "one kernel": "supported"}),
    answer("3.21", "Yes: one matrix times the channels of each pixel. For the same channels in and out, 3×3 has 9 "
           "times the weights, 5×5 25 times.", given={"matrix": "supported", "few weights": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On top, an image, its outline, and what the best network of each arm marks. Without a ReLU, it misses a side of the
# strokes, or marks their inside or the paper too. Below on the left, the four patches, and where the scores are 0: one
# line cannot part full dots from empty ones, two can. In the middle and on the right, a dot for each seed, a bar at the
# mean: the 1×1 helps only with the ReLU. Without it, scores for XOR stay so near to 0 that their signs are luck.


def figure(trials):
    cells = plt.figure(figsize=(12, 7)).add_gridspec(2, 3, height_ratios=(2, 3))
    shown, plane, right, mistakes = (plt.subplot(at) for at in (cells[0, :], cells[1, 0], cells[1, 1], cells[1, 2]))
    ink = data.load(trials.config.data, trials.seeds[0], train=1, test=0).train.inputs > 0.5
    tosses, differ = coins(0, "coins")
    pictures = {"an image": ink, "its outline (XOR)": ink[..., 1:] != ink[..., :-1]}
    values = torch.linspace(-0.5, 1.5, 101)
    pixels = torch.cartesian_prod(values, values).view(-1, 1, 1, 2)
    for color, arm in zip(("C0", "C1", "C2"), ARMS, strict=True):
        seed = trials.seeds[int(trials[f"xor/{arm}/best start"].argmax())]
        tried = [marker(trials.config, seed, arm, start).requires_grad_(False) for start in range(trials.config.starts)]
        best = max(tried, key=lambda model: int(((model(tosses) > 0) == differ).sum()))
        pictures[arm] = best(ink.float()) > 0
        lines = plane.contour(values, values, best(pixels).view(101, 101).T.numpy(), levels=[0], colors=color)
        plane.clabel(lines, fmt={0: arm}, fontsize="small")
    for place, (title, picture) in enumerate(pictures.items()):
        cell = shown.inset_axes([0.2 * place + 0.01, 0, 0.18, 0.88], title=title)
        cell.imshow(picture[0, 0].numpy(), cmap="Greys", vmin=-0.1, vmax=1.1)  # paper shows as a light grey
        cell.axis("off")
    shown.set_title("Where does a pixel differ from its right neighbour? What three networks mark")
    shown.axis("off")
    plane.scatter([0, 1, 0, 1], [1, 0, 0, 1], s=150, c=["black"] * 2 + ["white"] * 2, edgecolors="black", zorder=3)
    plane.set(title="Four patches: mark the full ones", xlabel="left pixel", ylabel="right pixel")
    for axes, name in ((right, "xor/{}/best start"), (mistakes, "votes/{}/mistakes")):
        strips(axes, {arm.replace(" + ", "\n+ "): 100 * trials[name.format(arm)] for arm in ARMS})
    reference_line(right, 75, "3 of 4")
    right.set(title="Places marked right, best start", ylabel="%", ylim=(0, 103))
    mistakes.set(title=f"Mistakes of patches that vote, {trials.config.data}", ylabel="%", ylim=(0, 103))
    return mistakes.figure


# %%
# Try it yourself
# ---------------
# Two kernels suffice for XOR. Does training find them? `python -m lessons run one_by_one --set hidden=2 --seeds 3`

if __name__ == "__main__":
    lesson.main("one_by_one")
