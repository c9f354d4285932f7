"""
Can one classifier serve at every point in time?
================================================

What follows a q in an English text? Mostly u, on any page. A sequence whose rules stay the same is *stationary*: one
classifier can predict the next symbol at every step. Its weights are *shared over time*, and each step of each sequence
is an example for them. *Separate* classifiers, one a step, get one example each from a sequence. What follows a b? ::

    sequences           after a b, at step   1        2        3        4       any
    a b a b b                                ·        a        ·        b              ·  no b at this step
    b a b a b                                a        ·        a        ·
    a b b a b                                ·        b        a        ·
    a followed in                         1 of 1   1 of 2   2 of 2   0 of 1   4 of 6

The classifiers of steps 1 and 4 would be sure of opposite things; a shared one says "a, in four of six cases". We count
*excess loss*: cross-entropy minus that of the true rules, in *nats* (natural logarithms: to guess one of 5 costs ln 5 =
1.6). From many examples, n, theory expects d / 2n for d free weights: 20 in five rows of five shares, each of sum 1.
With 4,000 sequences of 16 steps that is 20 / 8,000 = 0.0025 nats for separate classifiers, a 16th for a shared one.

Where the rules change, or *drift*, a shared classifier learns their average. If a follows b in 90 % of cases early on
and in 10 % later, the best single answer is 50 %. Its excess is 0.9 ln(0.9/0.5) + 0.1 ln(0.1/0.5) = 0.37 nats at each
step, however many sequences it sees. But we could tell it the time: then one rule for symbol and time would do.

A *recurrent network* (RNN) shares its weights W, U and b over time as a convolution shares its kernel over space. But
it hands on a *state* h, which begins at 0: h[t] = tanh(W x[t] + U h[t-1] + b). One unit, without tanh and b: ::

    input x                               1     0     0     0
    RNN with W = 1, U = 1/2               1    1/2   1/4   1/8     all the past counts; each step waits for the last
    convolution x[t] + x[t-1] / 2         1    1/2    0     0      width 2: two inputs count; all steps at once
"""

from dataclasses import dataclass

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.nn.functional import conv1d, one_hot

from dlnotes import data, lesson, linear
from dlnotes.evidence import identity, not_better, ratio
from dlnotes.lesson import answer, claim, curves, limit, reference_line, strips, tiles
from dlnotes.linear import SGD
from dlnotes.measuring import Measured, Tuned, largest_error, train_for
from dlnotes.randomness import stream
from dlnotes.text import RNN, next_character_loss
from dlnotes.training import Minibatches, Trainer

# %%
# The experiment
# --------------
# Each *seed* draws two random tables of what follows each of 5 symbols, and sequences by them: stationary ones keep to
# the first, drifting ones go evenly from it to the second. The *arms* learn to predict the next symbol, from few
# sequences or many. "shared" has one table of scores for all 16 steps, "separate" one for each; a softmax makes them
# probabilities. Both start at 0 and see the same batches, each at its best learning rate on other seeds. Under drift,
# "clock" is a shared one that also sees the symbol times a clock, from -1 to 1; "recurrent" is an RNN that nobody tells
# the time. We measure on fresh sequences, stationary ones of 32 steps; and compare an RNN without U to a convolution.


@dataclass(frozen=True)
class Config:
    """What can be set."""

    many: int = 4_000  # training sequences
    few: int = 20  # training sequences where there are few: the first of the many
    test: int = 1_000  # fresh sequences
    length: int = 16  # steps of a training sequence, each with a symbol to predict
    steps: int = 300  # steps of training
    device: str = "cpu"  # where classifiers are trained


QUICK = Config(many=200, test=100, steps=20)
SEEDS = range(12)
SYMBOLS, UNITS, BATCH = 5, 16, 64  # kinds of symbols, units of the recurrent network, sequences a training step
LINEAR, ALL = ("shared", "separate"), ("shared", "separate", "clock", "recurrent")
ARMS = {"stationary, few": LINEAR, "stationary, many": LINEAR, "drifting, few": ALL, "drifting, many": ALL}


def trial(config: Config, seed: int, tuned: Tuned) -> Measured:
    measured: Measured = {"RNN/error": error_of_width_1(seed)}
    for setting, arms in ARMS.items():
        truth, sequences, fresh = load(config, seed, setting)
        for arm in arms:
            model = trained(arm, sequences, config, seed, lr=tuned[f"{setting}/{arm}"])
            steps = config.length if arm == "separate" else len(truth)  # it has no table for more
            by_step, said = judged(model, truth[:steps], fresh)
            measured[f"{setting}/{arm}/by step"] = by_step.tolist()
            measured[f"{setting}/{arm}/excess"] = by_step[: config.length].mean().item()
            if steps > config.length:
                measured[f"{setting}/{arm} later/excess"] = by_step[config.length :].mean().item()
            if setting == "drifting, many":
                tables = {f"said/{arm}": said, "said/truth": truth}.items()
                measured |= {name: table[[0, steps // 2, -1]].flatten().tolist() for name, table in tables}
    return measured


def load(config: Config, seed: int, setting: str) -> tuple[Tensor, Tensor, Tensor]:
    """The true table of each step, sequences to learn from, and fresh ones for as many steps as there are tables."""
    draws, steps = stream(seed, "tables"), config.length
    first, last = (data.transition_matrix(SYMBOLS, generator=draws) for _ in range(2))
    drift = torch.linspace(0, 1, steps, dtype=first.dtype)[:, None, None]
    truth = first.lerp(last, drift) if "drifting" in setting else first.expand(2 * steps, -1, -1)
    train = data.markov_chain(config.many, steps + 1, truth[:steps], generator=stream(seed, "sequences"))
    train = train[: getattr(config, setting.split()[1])]
    fresh = data.markov_chain(config.test, len(truth) + 1, truth, generator=stream(seed, "fresh sequences"))
    return truth.to(config.device), train.to(config.device), fresh.to(config.device)


class Classifier(nn.Module):
    """Scores of the next symbol at each step, (N, T, K), from the present one, one-hot, (N, T, K)."""

    def __init__(self, arm: str, config: Config, seed: int) -> None:
        super().__init__()
        self.arm, tables = arm, config.length if arm == "separate" else 1
        self.layer = RNN(SYMBOLS, UNITS, generator=stream(seed, "weights")) if arm == "recurrent" else None
        inputs = {"clock": 2 * SYMBOLS, "recurrent": UNITS}.get(arm, SYMBOLS)
        self.weight = nn.Parameter(torch.zeros(tables, inputs, SYMBOLS))

    def forward(self, inputs: Tensor) -> Tensor:
        """One table serves every step, or each step has its own."""
        if self.arm == "clock":
            clock = torch.linspace(-1, 1, inputs.shape[1], device=inputs.device)[:, None]
            inputs = torch.cat([inputs, inputs * clock], 2)
        inputs = self.layer(inputs)[0] if self.layer else inputs
        return (inputs.transpose(0, 1) @ self.weight).transpose(0, 1)


def trained(arm: str, sequences: Tensor, config: Config, seed: int, *, lr: float) -> Classifier:
    """A classifier after its steps."""
    model = Classifier(arm, config, seed).to(config.device)
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9, max_norm=1.0)
    examples = one_hot(sequences[:, :-1], SYMBOLS).float(), sequences[:, 1:]
    batches = Minibatches(examples, min(BATCH, len(sequences)), stream(seed, "batches"))
    scheduler = linear.cosine_decay(optimizer, config.steps)
    train_for(Trainer(model, next_character_loss, optimizer, batches, scheduler=scheduler), config.steps)
    return model


@torch.no_grad()
def judged(model: Classifier, truth: Tensor, sequences: Tensor) -> tuple[Tensor, Tensor]:
    """Excess loss at each step, (T), and what a classifier says after each symbol, on average, (T, K, K)."""
    seen = one_hot(sequences[:, : len(truth)], SYMBOLS).double()
    log_q = model(seen.float()).double().log_softmax(2)
    p = torch.einsum("nti,tik->ntk", seen, truth)
    said = torch.einsum("nti,ntk->tik", seen, log_q.exp()) / seen.sum(0).clamp(min=1)[..., None]
    return (p * (p.log() - log_q)).sum(2).mean(0), said


def error_of_width_1(seed: int) -> float:
    """How far an RNN whose state has weights of zero is from a convolution of width 1, in double precision."""
    layer = RNN(SYMBOLS, UNITS, generator=stream(seed, "weights"), dtype=torch.float64)
    inputs = torch.randn(4, 100, SYMBOLS, generator=stream(seed, "inputs"), dtype=torch.float64)
    nn.init.zeros_(layer.weight_hh_l0)
    convolved = conv1d(inputs.mT, layer.weight_ih_l0[..., None]).tanh()  # biases start at 0
    return largest_error(layer(inputs)[0], convolved.mT)


# `python -m lessons tune one_classifier` chooses the rates by excess loss, of the same six for each arm.
RATES = {"few": (0.01, 0.025, 0.06, 0.16, 0.4, 1.0), "many": (0.2, 0.6, 1.8, 5.4, 16.0, 48.0)}
TUNING = {f"{setting}/{arm}": RATES[setting.split()[1]] for setting, arms in ARMS.items() for arm in arms}
TUNING_SEEDS = range(1_000, 1_003)


def tune(config: Config, seed: int, arm: str, candidates: tuple[float, ...]) -> list[float]:
    setting, arm = arm.split("/")
    truth, sequences, fresh = load(config, seed, setting)
    models = (trained(arm, sequences, config, seed, lr=lr) for lr in candidates)
    return [judged(model, truth[: config.length], fresh)[0].mean().item() for model in models]


# %%
# What we expect
# --------------
# Written before the run: *claims* of the course notes, and *limits*, cases that they exclude or do not foresee. The
# *margin*, the smallest difference that matters, is a factor of two, or what a sentence says.


def over(one, other, setting, margin=2.0):
    return lambda t: ratio(t[f"{setting}/{one}/excess"], t[f"{setting}/{other}/excess"], margin=margin)


# fmt: off
PREDICTIONS = [
    claim("4.09", "width 1", "An RNN whose weights for the state are zero is a convolution of width 1 over time.",
          lambda t: identity(t["RNN/error"], tolerance=1e-12), of="largest error"),
    claim("4.10", "few sequences", "With {few} stationary sequences separate classifiers have over twice the excess "
          "loss of a shared one.", over("separate", "shared", "stationary, few"), arms=LINEAR),
    claim("4.10", "many sequences", "With {many:,} stationary sequences separate classifiers have over twice the "
          "excess loss of a shared one.", over("separate", "shared", "stationary, many"), arms=LINEAR),
    claim("4.10", "later steps", "A shared classifier, trained on {many:,} stationary sequences, has at most a quarter "
          "more excess loss on the next {length} steps.", lambda t: not_better(
              over("shared later", "shared", "stationary, many", 1.25)(t)), arms=("shared later", "shared")),
    limit("4.10", "drift", "With {many:,} drifting sequences a shared classifier has over twice the excess loss of "
          "separate ones.", over("shared", "separate", "drifting, many"), arms=LINEAR, because="it learns an average"),
    limit("4.10", "drift and few", "With {few} drifting sequences separate classifiers still have over a tenth more "
          "excess loss than a shared one.", over("separate", "shared", "drifting, few", 1.1), arms=LINEAR),
    limit("4.10", "clock", "With {many:,} drifting sequences a shared classifier has over twice the excess loss of one "
          "that is told the time.", over("shared", "clock", "drifting, many"), arms=("shared", "clock")),
    limit("4.10", "recurrent", "With {many:,} drifting sequences a shared linear classifier has over twice the excess "
          "loss of an RNN.", over("shared", "recurrent", "drifting, many"), arms=("shared", "recurrent")),
]

ANSWERS = [
    answer("4.09", "Yes: an RNN has the same weights at all steps. If it ignores its last state, it is a convolution "
           "of width 1 over time.", given={"width 1": "supported"}),
    answer("4.10", "Yes, if rules stay the same: with {many:,} sequences separate classifiers have {many sequences} "
           "times the excess loss of a shared one. If rules drift, it has {drift} times theirs, unless told the time.",
           given={"many sequences": "supported", "drift": "supported", "clock": "supported"}),
]
# fmt: on

# %%
# What to look at
# ---------------
# On the left the thing itself: rows are symbols, columns what follows them, black for sure. The truth drifts, "shared"
# does not. Then excess loss by step, a thin line a seed. Under stationary rules "shared" reads on where separate tables
# end. Under drifting ones it is right in the middle, where its average is the truth; the RNN finds the time by itself.
# On the right a dot a seed: above the line "shared" wins. With few drifting sequences only the clock beats it.


def figure(trials):
    drawing, axes = plt.subplots(1, 4, figsize=(15, 4.2), width_ratios=(0.75, 1, 1, 1.1))
    said = torch.cat([torch.from_numpy(trials[f"said/{name}"][0]) for name in ("truth", *ALL)])
    tiles(axes[0], said.view(-1, SYMBOLS, SYMBOLS), columns=3, each=False)
    axes[0].set(title="What comes next, as the rules drift", xticks=[3, 9, 15], yticks=range(3, 33, 6))
    axes[0].set(xticklabels=["first step", "middle", "last step"], yticklabels=["truth", *ALL])
    for setting in ("stationary, few", "stationary, many", "drifting, many"):
        (chain, size), ax = setting.split(", "), axes[1 + ("drifting" in setting)]
        for number, arm in enumerate(ARMS[setting]):
            y, look = trials[f"{setting}/{arm}/by step"], "--" if size == "few" else "-"
            curves(ax, range(1, 99), y, label=f"{arm}, {size}", color=f"C{number}", linestyle=look, geometric=True)
        ax.set(title=f"Excess loss, {chain} rules", xlabel="step", ylabel="nats", yscale="log")
        ax.locator_params(axis="x", integer=True)
    for number, arm in enumerate(ALL[1:], 1):
        gains = {s: trials[f"{s}/{arm}/excess"] / trials[f"{s}/shared/excess"] if arm in ARMS[s] else () for s in ARMS}
        strips(axes[3], gains, color=f"C{number}", label=arm, shift=0.25 * number - 0.5, width=0.2, geometric=True)
    reference_line(axes[3], 1, "equal")
    axes[3].set(title="Excess loss / that of shared", yscale="log", xticklabels=[s.replace(", ", ",\n") for s in ARMS])
    for ax in axes[1:]:
        ax.legend(fontsize="small")
    return drawing


# %%
# Try it yourself
# ---------------
# With 32 steps in place of 16, what happens to the excess loss of "shared", and of "separate"? `python -m lessons run
# one_classifier --set length=32 --seeds 4`. With five times the training, which arm gains most? `--set steps=1500`

if __name__ == "__main__":
    lesson.main("one_classifier")
