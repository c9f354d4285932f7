"""Slow, obvious twins of what the library computes: Python loops over floats, one formula at a time.

Vectors are lists, and matrices are lists of rows.
"""

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
