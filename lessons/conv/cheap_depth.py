"""
Is a 1×1 convolution a cheap way to a deeper network?
=====================================================

A convolutional layer lays a small grid of weights, its *kernel*, on each place of an image in turn, multiplies and adds
up. The result is an image again, the kernel's *feature map*. A layer has many kernels and makes a stack of maps. They
are the *channels* of the next layer, as red, green and blue are those of a photograph, and its kernels see all of them.

A kernel of 1×1 looks at a single pixel, which sounds useless. But it combines what all channels say there: "a stroke on
the left *and* none on the right". Behind each layer a *ReLU* turns negative numbers into 0; without it, a 3×3 layer and
a 1×1 layer could be merged into one. With it they are a small network of two layers that slides over the image (Lin et
al., 2014). By hand, a pixel of three channels and two kernels of 1×1: ::

    channels of the pixel     2   0   1
    first kernel              1   0  -1         1·2 + 0·0 - 1·1 =  1       behind the ReLU   1
    second kernel            -1   2   1        -1·2 + 2·0 + 1·1 = -1       behind the ReLU   0

We count the price in *multiply-adds*, one for each product that is added to a sum, and in *parameters*, the weights and
a *bias* for each kernel, which is added to its sums. O kernels of k×k on C channels, for maps of H × W pixels, have ::

    H · W · k² · C · O  multiply-adds          k² · C · O + O  parameters

From 16 channels to 16 maps of 7 × 7 pixels, 3×3 takes 112,896 multiply-adds and 1×1 takes 12,544, a ninth. The maps
keep their size, so that nothing behind them has to change. The course notes call that a cheap way to a deeper network.

"Cheap" depends on what stands beside it. MobileNet (Howard et al., 2017), made for phones, lets each 3×3 kernel see one
channel alone; 1×1 mixes them. From 512 channels to 512 maps, a pixel costs 9 · 512 multiply-adds by 3×3 and 512 · 512
by 1×1, 98 % of the sum. "Deeper" is no end in itself: would a *wider* network, with more maps in a layer, do as well?
"""

from dataclasses import dataclass

import torch
from matplotlib import pyplot as plt
from torch import nn

from dlnotes import data, lesson, linear
from dlnotes.conv import ConvNet, count_multiply_adds, count_parameters
from dlnotes.evidence import difference, not_better, ratio
from dlnotes.lesson import answer, claim, limit, reference_line, strips, tiles
from dlnotes.linear import SGD, cross_entropy
from dlnotes.measuring import Measured, Tuned, grid, train_for
from dlnotes.randomness import stream
from dlnotes.training import Minibatches, Trainer, accuracy, evaluate

# %%
# The experiment
# --------------
# A *seed* draws images (letters A to J of 14 × 14 pixels), first weights and batches. Four networks, the *arms*, learn
# the same images in the same batches. All have two 3×3 layers of 16 maps and end in a linear classifier. *Max pooling*
# behind the first layer and before the classifier keeps the largest of 2×2 pixels: 14 × 14 become 7 × 7, then 3 × 3.
# Arm "none" adds nothing; "1×1" and "3×3" add a layer behind the second; "wider" adds a map to the second, and so has
# as many parameters as "1×1" within a hundredth. Layers that arms share start from the same weights. Each arm has the
# learning rate that was best for it on other seeds; it falls to zero along half a cosine wave. A gradient longer than 1
# is shortened: without that, many kernels die. We count prices exactly, and mistakes on unseen images, of typefaces
# that training never saw.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    data: str = "letters"  # or fashion_mnist, not_mnist
    train: int = 4_000  # training images
    validation: int = 1_000  # images that rates are chosen by
    test: int = 4_000  # unseen images
    maps: int = 16  # of each 3×3 layer, and of each layer that is added
    wider: int = 17  # maps of the second layer in the wider network
    layers: int = 1  # how many layers are added
    steps: int = 400  # steps of each network
    batch_size: int = 64  # images a step
    device: str = "cpu"


QUICK = Config(train=300, validation=100, test=200, steps=15)
SEEDS = range(12)
DATA = ("letters", "fashion_mnist", "not_mnist")
ARMS = ("none", "wider", "1×1", "3×3")


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    train, _, test = load(config, seed)
    measured: Measured = {"MobileNet/share of 1×1": share_of_pointwise(mobilenet())}
    for arm in ARMS:
        model = trained(config, seed, train, parts(config, arm), lr=tuned[arm])
        measured[f"{arm}/mistakes"] = 1 - accuracy(model, test)
        measured[f"{arm}/multiply-adds"] = count_multiply_adds(model)
        measured[f"{arm}/parameters"] = count_parameters(model)
    return measured


def parts(config: Config, arm: str) -> str:
    """The network of an arm, in the order in which an image goes through it."""
    second = config.wider if arm == "wider" else config.maps
    added = {"1×1": f" 1x1x{config.maps}", "3×3": f" 3x3x{config.maps}"}.get(arm, "")
    return f"3x3x{config.maps} max2 3x3x{second}{added * config.layers} max2"


def load(config: Config, seed: int) -> data.Parts:
    test = min(config.test, 2_000) if config.data == "not_mnist" else config.test  # it has no more
    counts = {"train": config.train, "validation": config.validation, "test": test}
    return data.load(config.data, seed, **counts, side=14, flat=False).to(config.device)


def trained(config: Config, seed: int, images: data.Examples, network: str, *, lr: float) -> ConvNet:
    """A network after its steps."""
    model = ConvNet(network, inputs=(1, 14, 14), generator=stream(seed, "weights"))
    optimizer = SGD(model.to(config.device).parameters(), lr=lr, momentum=0.9, max_norm=1.0)
    batches = Minibatches(images, config.batch_size, stream(seed, "batches"))
    trainer = Trainer(model, cross_entropy, optimizer, batches, scheduler=linear.cosine_decay(optimizer, config.steps))
    train_for(trainer, config.steps)
    return model


Layers = list[tuple[nn.Module, tuple[int, ...]]]
BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


def mobilenet() -> Layers:
    """The layers of MobileNet that have weights, each with the shape of its input; on "meta" they hold no numbers."""
    channels, size = 32, 112
    with torch.device("meta"):
        layers: Layers = [(nn.Conv2d(3, channels, 3, stride=2, padding=1), (3, 224, 224))]
        for maps, stride in BLOCKS:  # 3×3 on each channel by itself, then 1×1 on all of them
            each = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels)
            layers.append((each, (channels, size, size)))
            size //= stride
            layers.append((nn.Conv2d(channels, maps, 1), (channels, size, size)))
            channels = maps
        return [*layers, (nn.Linear(channels, 1_000), (channels,))]


def share_of_pointwise(layers: Layers) -> float:
    """The share of all multiply-adds that the 1×1 layers make."""
    prices = [(count_multiply_adds(layer, shape), getattr(layer, "kernel_size", None)) for layer, shape in layers]
    return sum(price for price, kernel in prices if kernel == (1, 1)) / sum(price for price, _ in prices)


# %%
# `python -m lessons tune cheap_depth` chooses each arm's learning rate from the same five, by validation loss.

TUNING = dict.fromkeys(ARMS, grid(0.02, 0.32))
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    train, validation, _ = load(config, seed)
    models = (trained(config, seed, train, parts(config, arm), lr=lr) for lr in candidates)
    return [evaluate(model, validation, cross_entropy) for model in models]


# %%
# What we expect
# --------------
# Written before the run. A *claim* is the notes' statement in one setting, a *limit* a setting in which we expect it to
# fail. "A tenth" is the *margin*, the smallest difference that matters. Mistakes and prices are compared as ratios.

PRICE, WORTH = "a low price", "worth its price"  # the two readings

# fmt: off
PREDICTIONS = [
    claim("3.20", "price", "A 1×1 layer adds less than a tenth to the multiply-adds of a network with two 3×3 layers.",
          lambda t: not_better(ratio(t["1×1/multiply-adds"], t["none/multiply-adds"], margin=1.1)),
          arms=("none", "1×1"), reading=PRICE, of="multiply-adds with 1×1 over those without"),
    claim("3.20", "mistakes", "A 1×1 layer cuts the mistakes on unseen {data} by a tenth.",
          lambda t: ratio(t["none/mistakes"], t["1×1/mistakes"], margin=1.1),
          arms=("none", "1×1"), reading=WORTH, of="mistakes without 1×1 over those with"),
    limit("3.20", "MobileNet", "In MobileNet, 1×1 layers make more than half of all multiply-adds.",
          lambda t: difference(t["MobileNet/share of 1×1"], margin=0.5), reading=PRICE, of="share of 1×1",
          because="its 3×3 kernels see one channel each (Howard et al., 2017)"),
    limit("3.20", "as many parameters", "On unseen {data} a wider network of as many parameters does not make a tenth "
          "more mistakes than one with a 1×1 layer.",
          lambda t: not_better(ratio(t["wider/mistakes"], t["1×1/mistakes"], margin=1.1)),
          arms=("wider", "1×1"), reading=WORTH, of="mistakes of the wider network over those with 1×1",
          because="if 1×1 helps, it may be by its parameters and not by depth"),
    limit("3.20", "three by three", "On unseen {data} a network with a 1×1 layer makes a tenth more mistakes than one "
          "with a 3×3 layer in its place.",
          lambda t: ratio(t["1×1/mistakes"], t["3×3/mistakes"], margin=1.1),
          arms=("1×1", "3×3"), reading=WORTH, of="mistakes with 1×1 over those with 3×3",
          because="3×3 also sees neighbours, for nine times the price"),
]

ANSWERS = [
    answer("3.20", "Cheap, yes: a 1×1 layer adds {price:more} to the multiply-adds of two 3×3 layers (of MobileNet's "
           "{MobileNet:.0%} are 1×1). Saving a tenth of mistakes is open (no on real images); a wider layer does as "
           "well.",
           given={"price": "supported", "MobileNet": "supported", "mistakes": "inconclusive",
                  "as many parameters": "supported", "fashion_mnist/mistakes": "refuted",
                  "not_mnist/mistakes": "refuted"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: a letter, the 16 maps that the second 3×3 layer of a trained network makes of it, and
# the 16 that its 1×1 layer makes of those, each a weighted sum of all 16 with a ReLU behind it. Dark is large; a white
# map is 0 all over. In the middle the prices: orange is what 1×1 layers take, blue what the other changes add, grey the
# rest. A 1×1 layer adds a ninth of what a 3×3 layer adds; in MobileNet nearly all is 1×1. On the right a dot a seed,
# and a bar at their mean: above the line, a network makes fewer mistakes than the one without an added layer.


def figure(trials):
    config = trials.config
    drawing, (maps, price, gains) = plt.subplots(1, 3, figsize=(14, 4), width_ratios=(1.2, 1, 0.9))
    images = load(config, trials.seeds[0]).train
    network = trained(config, trials.seeds[0], images, parts(config, "1×1"), lr=0.08)
    stages = [activations[0, :16].detach().cpu() for _, activations in network.stages(images.inputs[:1])]
    maps.set_title("A letter, and its 16 maps before and behind a 1×1 layer")
    maps.axis("off")
    places = {
        "the letter": (0, 0.32, 0.18, 0.36),
        "behind 3×3": (0.23, 0.08, 0.35, 0.86),
        "behind 1×1": (0.65, 0.08, 0.35, 0.86),
    }
    for (label, bounds), shown in zip(places.items(), (images.inputs[0].cpu(), stages[2], stages[3]), strict=True):
        inset = maps.inset_axes(bounds)
        tiles(inset, shown, columns=4)
        inset.set_xlabel(label)
    maps.annotate("", (0.645, 0.5), (0.585, 0.5), xycoords="axes fraction", arrowprops={"arrowstyle": "->"})

    share, base = 100 * trials["MobileNet/share of 1×1"][0], trials["none/multiply-adds"][0]
    added = [(100 * trials[f"{arm}/multiply-adds"][0] / base - 100, "C1" if arm == "1×1" else "C0") for arm in ARMS]
    for place, (cost, color) in enumerate(added):
        price.barh(place, 100, color="0.8")
        price.barh(place, cost, left=100, color=color)
        price.text(102 + cost, place, f"+{cost:.1f} %" if cost else "", va="center")
    price.barh(len(ARMS), 100 - share, color="0.8")
    price.barh(len(ARMS), share, left=100 - share, color="C1")
    price.text(102, len(ARMS), f"{share:.1f} % of it", va="center")
    price.set_yticks(range(len(ARMS) + 1), [*ARMS, "MobileNet"])
    price.set(title="Multiply-adds", xlabel="percent of “none”, or of MobileNet", xlim=(0, 215), ylim=(4.6, -0.6))

    gain = {arm: trials["none/mistakes"] / trials[f"{arm}/mistakes"] for arm in ARMS[1:]}
    strips(gains, gain, geometric=True)
    reference_line(gains, 1, "equal")
    gains.set(title="Mistakes of “none” over those of each other", yscale="log")
    gains.set_yticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
    gains.minorticks_off()
    return drawing


# %%
# Try it yourself
# ---------------
# Prices need no training. With 16 maps a 1×1 layer adds 8.8 %. Does it add more with 64, or less?
# `python -m lessons run cheap_depth --set maps=64 steps=1 --seeds 7` counts them.

if __name__ == "__main__":
    lesson.main("cheap_depth")
