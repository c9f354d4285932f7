"""Slow, obvious twins of what the library computes: Python loops over floats, one formula at a time.

Vectors are lists, and matrices are lists of rows.
"""

import itertools
import math
from fractions import Fraction


def softmax(logits, temperature=1.0):
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def log_softmax(logits, temperature=1.0):
    return [math.log(probability) for probability in softmax(logits, temperature)]


def one_hot(label, classes):
    return [1.0 if place == label else 0.0 for place in range(classes)]


def cross_entropy(logits, targets):
    """The mean over examples; each target is a list of probabilities."""
    losses = []
    for row, target in zip(logits, targets, strict=True):
        losses.append(-sum(label * log for label, log in zip(target, log_softmax(row), strict=True)))
    return sum(losses) / len(losses)


def scores(weight, bias, inputs):
    """y = W x + b for each row x of the inputs."""
    return [
        [sum(w * x for w, x in zip(weights, row, strict=True)) + b for weights, b in zip(weight, bias, strict=True)]
        for row in inputs
    ]


def classifier_gradient(weight, bias, inputs, labels):
    """The gradient of the mean cross-entropy of the scores: the mean of (S - L) xᵀ for W, and of S - L for b."""
    classes, features, count = len(weight), len(weight[0]), len(inputs)
    weight_gradient = [[0.0] * features for _ in range(classes)]
    bias_gradient = [0.0] * classes
    for row, row_scores, label in zip(inputs, scores(weight, bias, inputs), labels, strict=True):
        probabilities, target = softmax(row_scores), one_hot(label, classes)
        for k in range(classes):
            error = probabilities[k] - target[k]
            bias_gradient[k] += error / count
            for i in range(features):
                weight_gradient[k][i] += error * row[i] / count
    return weight_gradient, bias_gradient


def standardize(train, *others):
    """Each column by the mean and the deviation of the column in train; a column that never changes is only shifted."""
    means, deviations = [], []
    for column in zip(*train, strict=True):
        mean = sum(column) / len(column)
        variance = sum((value - mean) ** 2 for value in column) / len(column)
        means.append(mean)
        deviations.append(math.sqrt(variance) if len(set(column)) > 1 else 1.0)
    return [
        [[(value - m) / d for value, m, d in zip(row, means, deviations, strict=True)] for row in part]
        for part in (train, *others)
    ]


# Optimizers: one flat list of numbers for all parameters together.


def descend(weights, gradients, direction, lr):
    """The weights after a step along each of the gradients; ``direction`` makes the vector to go against."""
    for gradient in gradients:
        weights = [w - lr * d for w, d in zip(weights, direction(gradient, weights), strict=True)]
    return weights


def clip(gradient, max_norm):
    norm = math.sqrt(sum(g * g for g in gradient))
    return [g * max_norm / norm for g in gradient] if norm > max_norm else list(gradient)


def l2(gradient, weights, weight_decay):
    return [g + weight_decay * w for g, w in zip(gradient, weights, strict=True)]


def momentum(beta):
    """M ← β M + g: keeps M from call to call."""
    memory = {}

    def direction(gradient):
        for i, g in enumerate(gradient):
            memory[i] = beta * memory.get(i, 0.0) + g
        return list(memory.values())

    return direction


def average_momentum(beta):
    """M ← β M + (1 - β) g."""
    memory = {}

    def direction(gradient):
        for i, g in enumerate(gradient):
            memory[i] = beta * memory.get(i, 0.0) + (1 - beta) * g
        return list(memory.values())

    return direction


def adagrad_scaling(initial=0.0, eps=1e-10):
    """G ← G + g²,  g / (√G + ε)."""
    sums = {}

    def direction(gradient):
        scaled = []
        for i, g in enumerate(gradient):
            sums[i] = sums.get(i, initial) + g * g
            scaled.append(g / (math.sqrt(sums[i]) + eps))
        return scaled

    return direction


def mlp(layers, inputs):
    """The scores of a network: each layer is a weight (a list of rows) and a bias, and ReLU stands between two."""
    values = inputs
    for place, (weight, bias) in enumerate(layers):
        values = scores(weight, bias, values)
        if place < len(layers) - 1:
            values = [[max(value, 0.0) for value in row] for row in values]
    return values


# Significance


def discordant(before, after, targets):
    """How many only the new classifier gets right, and how many only the old one: lists of class numbers."""
    gained = lost = 0
    for old, new, target in zip(before, after, targets, strict=True):
        if new == target and old != target:
            gained += 1
        if old == target and new != target:
            lost += 1
    return gained, lost


def mcnemar(gained, lost):
    """The exact two-sided p, a fraction: all ways to throw a coin for each example that are as one-sided or more."""
    coins = gained + lost
    as_one_sided = sum(
        math.comb(coins, heads) for heads in range(coins + 1) if abs(2 * heads - coins) >= abs(gained - lost)
    )
    return Fraction(as_one_sided, 2**coins)


# Windows on images: an image is a list of channels, a channel a list of rows. Strides and margins are pairs:
# (down, right), and ((top, bottom), (left, right)).


def margins_of_same(size, kernel, stride):
    """TensorFlow's rule for one side: the zeros (before, after) that make ⌈size / stride⌉ places, the odd one after."""
    places = math.ceil(size / stride)
    total = 0
    while (size + total - kernel) // stride + 1 < places:
        total += 1
    return total // 2, total - total // 2


def count_places(size, kernel, stride, before, after):
    """How often a window can be put down: it is slid pixel by pixel."""
    starts = range(-before, size + after)
    return sum(start + kernel <= size + after for start in starts if (start + before) % stride == 0)


def windows(channel, kernel, stride, margins):
    """Of each place, row by row, its pixels (down, right, row, column) that lie in the image."""
    height, width = len(channel), len(channel[0])
    down = count_places(height, kernel[0], stride[0], *margins[0])
    across = count_places(width, kernel[1], stride[1], *margins[1])
    rows = [[(u, i * stride[0] + u - margins[0][0]) for u in range(kernel[0])] for i in range(down)]
    columns = [[(v, j * stride[1] + v - margins[1][0]) for v in range(kernel[1])] for j in range(across)]
    return [
        [[(u, v, y, x) for u, y in row for v, x in column if 0 <= y < height and 0 <= x < width] for column in columns]
        for row in rows
    ]


def convolve(images, kernels_at, bias_at, kernel, stride, margins):
    """The feature maps of each image; ``kernels_at(i, j)`` and ``bias_at(i, j)`` are those of a place."""
    found = []
    for image in images:
        places = windows(image[0], kernel, stride, margins)
        maps = []
        for out in range(len(kernels_at(0, 0))):
            rows = []
            for i, row in enumerate(places):
                values = []
                for j, seen in enumerate(row):
                    total = bias_at(i, j)[out]
                    for c, channel in enumerate(image):
                        for u, v, y, x in seen:
                            total += kernels_at(i, j)[out][c][u][v] * channel[y][x]
                    values.append(total)
                rows.append(values)
            maps.append(rows)
        found.append(maps)
    return found


def pool(images, kernel, stride, margins, choose):
    """What ``choose`` makes of the pixels of each window that lie in the image."""
    return [
        [
            [
                [choose([channel[y][x] for _, _, y, x in seen]) for seen in row]
                for row in windows(channel, kernel, stride, margins)
            ]
            for channel in image
        ]
        for image in images
    ]


def stochastic_mean(pixels):
    """The mean of a draw with probabilities in proportion to the pixels, of which negative ones count as 0."""
    pixels = [max(pixel, 0.0) for pixel in pixels]
    total = sum(pixels)
    return sum(pixel * pixel / total for pixel in pixels) if total else 0.0


def move(channel, down, right, degrees, scale):
    """A channel turned (clockwise, as rows count downwards) and scaled around its middle, then moved: bilinear.

    Each pixel looks back to where it came from, and mixes the four pixels around that place; outside is 0.
    """
    height, width = len(channel), len(channel[0])
    turn = math.radians(degrees)

    def at(y, x):
        return channel[y][x] if 0 <= y < height and 0 <= x < width else 0.0

    moved = []
    for i in range(height):
        row = []
        for j in range(width):
            y, x = i - (height - 1) / 2 - down, j - (width - 1) / 2 - right
            y, x = (math.cos(turn) * y - math.sin(turn) * x) / scale, (math.sin(turn) * y + math.cos(turn) * x) / scale
            y, x = y + (height - 1) / 2, x + (width - 1) / 2
            top, left = math.floor(y), math.floor(x)
            lower, righter = y - top, x - left
            row.append(
                (1 - lower) * ((1 - righter) * at(top, left) + righter * at(top, left + 1))
                + lower * ((1 - righter) * at(top + 1, left) + righter * at(top + 1, left + 1))
            )
        moved.append(row)
    return moved


# Decoding. A model is a function ``after`` of a tuple of symbols, to a list: the log-probability of each next one.


def log_probability(after, prompt, symbols):
    return sum(after((*prompt, *symbols[:place]))[symbol] for place, symbol in enumerate(symbols))


def greedy(after, prompt, length, end=None):
    symbols = ()
    while len(symbols) < length and (end is None or end not in symbols):
        logs = after((*prompt, *symbols))
        symbols = (*symbols, logs.index(max(logs)))
    return symbols


def beam_search(after, prompt, beams, length, end=None, penalty=0.0):
    """The sequences that are kept, the best first, each as (log-probability, symbols)."""
    kept = [(0.0, ())]
    for _ in range(length):
        grown = []
        for total, symbols in kept:
            if end is not None and end in symbols:
                grown.append((total, symbols))
            else:
                logs = after((*prompt, *symbols))
                grown += [(total + log, (*symbols, symbol)) for symbol, log in enumerate(logs)]
        kept = sorted(grown, key=lambda one: one[0] / len(one[1]) ** penalty, reverse=True)[:beams]
    return kept


def all_sequences(after, prompt, length, end=None, penalty=0.0):
    """Every sequence that there is, the best first, each as (log-probability, symbols)."""
    found = set()
    for symbols in itertools.product(range(len(after(prompt))), repeat=length):
        found.add(symbols[: symbols.index(end) + 1] if end in symbols else symbols)
    scored = [(log_probability(after, prompt, symbols), symbols) for symbols in found]
    return sorted(scored, key=lambda one: one[0] / len(one[1]) ** penalty, reverse=True)


def edit_distance(one, other):
    if not one or not other:
        return len(one) + len(other)
    if one[0] == other[0]:
        return edit_distance(one[1:], other[1:])
    return 1 + min(edit_distance(one[1:], other), edit_distance(one, other[1:]), edit_distance(one[1:], other[1:]))
