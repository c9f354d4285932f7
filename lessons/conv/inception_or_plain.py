"""
Is an Inception module better than a plain convolution?
=======================================================

A convolutional layer lays small grids of weights, its *kernels*, on each place of an image, multiplies and adds up.
Each kernel makes an image again, its *feature map*, and the next layer takes the stack of maps as its *channels*. How
large should kernels be, 3×3 pixels or 5×5? Or is it enough to keep the largest number around each pixel, as *max
pooling* does? An *Inception module* does not choose. It does all of this side by side on the same input and stacks the
maps of its four branches, so that the next layer may pick (Szegedy et al., 2015). Ours takes 16 maps and makes 28 of
the same size. Behind each kind of kernel stands how many maps it makes: ::

            ┌─  1×1 ─────────────────────  8 ─┐
        16 ─┼─  1×1 ───  8 ───  3×3 ───── 12 ─┼─ 28
            ├─  1×1 ───  4 ───  5×5 ─────  4 ─┤
            └─  largest of 3×3 ─── 1×1 ──  4 ─┘

The course notes leave out what makes it affordable, the 1×1 kernels in front. A 1×1 kernel sees a single pixel through
all channels, and here mixes 16 maps into 8 or 4: a *reduction*. We count *parameters*: the weights, and a *bias* for
each kernel, which is added to its sums. O kernels of k×k on C channels have k² · C · O + O. For the maps of 5×5: ::

    5×5 on all 16 maps            25 · 16 · 4 + 4                       =  1,604
    1×1 to 4 maps, then 5×5       16 · 4 + 4  +  25 · 4 · 4 + 4         =    472

The whole module has 1,688 parameters. A plain 3×3 layer that makes as many maps has 9 · 16 · 28 + 28 = 4,060.

"Few parameters, and still better than a plain convolution", say the notes, "with well-chosen settings". Better than
which? A layer with as many maps has more parameters, and one with as many parameters has fewer maps. We ask both. We
also ask whether the mixture of sizes is what pays: a reduction could do as much for a plain 3×3 layer. (GoogLeNet, made
of such modules, has a ninth of the parameters of AlexNet, an older network. But 96 % of AlexNet's are in *dense* layers
at its end, where each output has a weight for every input, and GoogLeNet mostly drops those.)
"""

import re
from dataclasses import dataclass

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn.functional import conv2d, max_pool2d

from dlnotes import data, lesson, linear
from dlnotes.conv import Conv2d, ConvNet, PointwiseConv, count_multiply_adds, count_parameters
from dlnotes.evidence import difference, identity, not_better, ratio
from dlnotes.lesson import answer, claim, limit, reference_line, strips, tiles
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, largest_error, train_for
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* draws images (letters A to J of 14 × 14 pixels), first weights and batches. Four networks, the *arms*, learn
# the same images in the same batches. All begin with a 3×3 layer of 16 maps, with the same first weights, and end with
# a linear classifier. They differ in the second layer alone: an Inception module; a plain 3×3 layer with as many maps
# (28); one so narrow (18) that the whole network has as many parameters as with Inception; and one of 24 behind a
# reduction, with a few parameters less. *Max pooling* behind both layers keeps the largest of 2×2 pixels. Each network
# has the learning rate that was best for it on other seeds; it falls to zero along half a cosine wave. A gradient
# longer than 1 is shortened: without that, many kernels die. We count mistakes on unseen images, of typefaces that
# training never saw.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    validation: int = 1_000  # images that rates are chosen by
    test: int = 4_000  # unseen images
    module: str = "inception(8,8-12,4-4,4)"  # maps of 1×1; of 3×3 behind a reduction; of 5×5 behind one; of pooling
    steps: int = 250  # steps of each network
    batch_size: int = 64  # images a step
    device: str = "cpu"


QUICK = Config(train=300, validation=100, test=200, steps=15)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
INCEPTION, MAPS, PARAMETERS, REDUCED = ARMS = ("Inception", "as many maps", "as many parameters", "reduced")
PLAIN = {MAPS: "3x3x28", PARAMETERS: "3x3x18", REDUCED: "1x1x8 3x3x24"}  # the second layer of the others


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, _, test = load(config, seed)
    measured: Measured = {}
    for arm in ARMS:
        model = trained(config, seed, train, arm, lr=tuned[arm])
        measured[f"{arm}/mistakes"] = 1 - accuracy(model, test)
        measured[f"{arm}/multiply-adds"] = count_multiply_adds(model)
        measured[f"{arm}/parameters"] = count_parameters(model)
        measured[f"{arm}/parameters of the layer"] = sum(count_parameters(layer) for layer in model.layers[1:])
        if arm == INCEPTION:
            maps = model.stages(test.inputs[:100])[1][1]
            measured["branches/largest error"] = error_of_branches(model.get_submodule("layers.2"), maps)
    return measured


def load(config: Config, seed: int) -> data.Parts:
    test = min(config.test, 2_000) if config.data == "not_mnist" else config.test  # it has no more
    counts = {"train": config.train, "validation": config.validation, "test": test}
    return data.load(config.data, seed, **counts, side=14, flat=False).to(config.device)


def trained(config: Config, seed: int, images: data.Examples, arm: str, *, lr: float) -> ConvNet:
    """The network of an arm after its steps."""
    second = config.module if arm == INCEPTION else PLAIN[arm]
    model = ConvNet(f"3x3x16 max2 {second} max2", inputs=(1, 14, 14), generator=stream(seed, "weights"))
    optimizer = SGD(model.to(config.device).parameters(), lr=lr, momentum=0.9, max_norm=1.0)
    batches = Minibatches(images, config.batch_size, stream(seed, "batches"))
    trainer = Trainer(model, cross_entropy, optimizer, batches, scheduler=linear.cosine_decay(optimizer, config.steps))
    train_for(trainer, config.steps)
    return model


@torch.no_grad()
def error_of_branches(module: nn.Module, inputs: Tensor) -> float:
    """The largest difference between the module's maps and those of its branches, each computed alone by PyTorch."""
    branches = {"one": inputs, "three": inputs, "five": inputs, "pool": max_pool2d(inputs, 3, stride=1, padding=1)}
    alone = []
    for name, maps in branches.items():
        for layer in module.get_submodule(name).children():
            if isinstance(layer, Conv2d | PointwiseConv):
                maps = conv2d(maps, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2).relu()
        alone.append(maps)
    slices = module(inputs).split([maps.shape[1] for maps in alone], dim=1)
    return max(largest_error(one, other) for one, other in zip(slices, alone, strict=True))


# %%
# `python -m lessons tune inception_or_plain` chooses each arm's learning rate from the same five, by validation loss.

TUNING = dict.fromkeys(ARMS, grid(0.02, 0.32))
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation, _ = load(config, seed)
    return [evaluate(trained(config, seed, train, arm, lr=lr), validation, cross_entropy) for lr in candidates]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail. The *margin*, the smallest difference that matters, is a tenth of the mistakes where we ask for "better". Where
# we ask for "as good" it is half a point, one mistake in 200 images.

SAME_MAPS, SAME_SIZE = "against as many maps", "against as many parameters"  # the two readings

# fmt: off
PREDICTIONS = [
    claim("3.22", "side by side", "Each branch, computed alone, gives its part of the maps that the module joins.",
          lambda t: identity(t["branches/largest error"], tolerance=1e-4), of="largest difference in a pixel of a map"),
    claim("3.23", "few parameters", "The Inception module has less than half of the parameters of a plain 3×3 layer "
          "with as many maps.",
          lambda t: ratio(t[f"{MAPS}/parameters of the layer"], t[f"{INCEPTION}/parameters of the layer"], margin=2.0),
          arms=(MAPS, INCEPTION), reading=SAME_MAPS, of="parameters of the plain layer over those of the module"),
    claim("3.23", "as good", "On unseen {data} Inception makes at most half a point more mistakes than a plain 3×3 "
          "layer with as many maps.",
          lambda t: not_better(difference(t[f"{INCEPTION}/mistakes"] - t[f"{MAPS}/mistakes"], margin=0.005)),
          arms=(MAPS, INCEPTION), reading=SAME_MAPS, of="share of mistakes with Inception minus that with 3×3"),
    claim("3.23", "better", "On unseen {data} a plain 3×3 layer in a network of as many parameters makes a tenth more "
          "mistakes than Inception.",
          lambda t: ratio(t[f"{PARAMETERS}/mistakes"], t[f"{INCEPTION}/mistakes"], margin=1.1),
          arms=(PARAMETERS, INCEPTION), reading=SAME_SIZE, of="mistakes of the plain network over those of Inception"),
    limit("3.23", "not better", "On unseen {data} a plain 3×3 layer with as many maps does not make a tenth more "
          "mistakes than Inception.",
          lambda t: not_better(ratio(t[f"{MAPS}/mistakes"], t[f"{INCEPTION}/mistakes"], margin=1.1)),
          arms=(MAPS, INCEPTION), reading=SAME_MAPS, of="mistakes of the plain network over those of Inception",
          because="it has more than twice the parameters"),
    limit("3.23", "a reduction alone", "On unseen {data} a plain 3×3 layer behind a 1×1 reduction, in a network of no "
          "more parameters, does not make a tenth more mistakes than Inception.",
          lambda t: not_better(ratio(t[f"{REDUCED}/mistakes"], t[f"{INCEPTION}/mistakes"], margin=1.1)),
          arms=(REDUCED, INCEPTION), reading=SAME_SIZE, of="mistakes with a reduction over those of Inception",
          because="if Inception helps, it may be by its reductions and not by its mixture of sizes"),
]

ANSWERS = [
    answer("3.22", "Yes: a module stacks the maps of its branches, and each branch alone gives the same maps. The "
           "notes leave out the 1×1 reductions that make it affordable.", given={"side by side": "supported"}),
    answer("3.23", "Few parameters, yes: a plain 3×3 layer of as many maps has {few parameters} times as many. On "
           "{data} Inception is not better than it. As good, or a tenth better at equal size (real images: no): open.",
           given={"few parameters": "supported", "not better": "supported", "as good": "inconclusive",
                  "better": "inconclusive", "fashion_mnist/better": "refuted", "not_mnist/better": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: a letter, and the 28 maps that a trained module makes of it, branch by branch (dark is
# large); the module stacks them all. In the middle what a second layer costs, by the size of its kernels. The module's
# reductions cost little and make its 3×3 and 5×5 kernels cheap; without them it is nearly as large as a plain layer
# with as many maps. Plain layers with 18 or 24 maps have more parameters than the module, but the classifier behind
# them, which reads fewer maps, has fewer. On the right a dot a seed and a bar at their mean: above the line the plain
# network makes more mistakes than the one with Inception.


def figure(trials):
    drawing, (maps, price, gains) = plt.subplots(1, 3, figsize=(14, 4), width_ratios=(1.25, 1, 0.9))
    config, images = trials.config, load(trials.config, trials.seeds[0]).train
    network = trained(config, trials.seeds[0], images, INCEPTION, lr=0.04)
    joined = network.stages(images.inputs[:1])[2][1][0].detach().cpu()
    maps.set_title("A letter, and what each branch makes of it")
    maps.axis("off")
    letter = maps.inset_axes((0, 0.32, 0.18, 0.36))
    tiles(letter, images.inputs[0].cpu(), columns=1)
    letter.set_xlabel("the letter")
    sizes = [list(branch.children())[-2].out_channels for branch in network.layers[2].children()]
    left = 0.24
    for name, branch in zip(("1×1", "3×3", "5×5", "pool"), joined.split(sizes), strict=True):
        columns = -(-len(branch) // 4)
        block = maps.inset_axes((left, 0.16, 0.088 * columns, 0.68))
        tiles(block, branch, columns=columns)
        block.set_xlabel(name)
        left += 0.088 * columns + 0.045

    shown = {"Inception": config.module, "without reductions": re.sub(r"\d+-", "", config.module)}
    shown |= {"reduction, 3×3": PLAIN[REDUCED], "3×3, 18 maps": PLAIN[PARAMETERS], "3×3, 28 maps": PLAIN[MAPS]}
    for place, layers in enumerate(shown.values()):
        parameters = list(ConvNet(layers, inputs=(16, 7, 7), generator=torch.Generator()).layers.parameters())
        pairs, left = list(zip(parameters[::2], parameters[1::2], strict=True)), 0  # weights and biases of each layer
        for color, side in (("C0", 1), ("C1", 3), ("C2", 5)):
            count = sum(weight.numel() + bias.numel() for weight, bias in pairs if weight.shape[-1] == side)
            price.barh(place, count, left=left, color=color, label="" if place else f"{side}×{side} kernels")
            left += count
        price.text(left + 60, place, f"{left:,}", va="center")
    price.set_yticks(range(len(shown)), list(shown))
    price.set(title="Parameters of the second layer", xlim=(0, 5_000), ylim=(4.6, -0.6))
    price.legend()

    names = {MAPS: "3×3,\n28 maps", PARAMETERS: "3×3,\n18 maps", REDUCED: "reduction,\n3×3"}
    gain = {words: trials[f"{arm}/mistakes"] / trials[f"{INCEPTION}/mistakes"] for arm, words in names.items()}
    strips(gains, gain, geometric=True)
    reference_line(gains, 1, "equal")
    gains.set(title="Mistakes of plain 3×3 over those of Inception", yscale="log")
    gains.set_yticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
    gains.minorticks_off()
    return drawing


# %%
# Try it yourself
# ---------------
# Squeeze both reductions to a single map: how does Inception compare with plain layers now? `python -m lessons run
# inception_or_plain --set "module=inception(8,1-12,1-4,4)" --seeds 7`

if __name__ == "__main__":
    lesson.main("inception_or_plain")
