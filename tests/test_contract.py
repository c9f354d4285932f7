"""What every public name owes its user. A new name joins by a line in a table, or fails here until it has one."""

import contextlib
import copy
import importlib
import inspect
import itertools
import pkgutil
import tempfile
import types
from functools import partial
from itertools import islice
from pathlib import Path

import matplotlib
import pytest
import torch
from torch import nn

import dlnotes
from dlnotes import conv, data, deep, linear, text
from dlnotes.data import fonts
from dlnotes.randomness import stream, streams
from dlnotes.training import Minibatches, Trainer, accuracy, evaluate

FOUNDATION = (
    "dlnotes.data",
    "dlnotes.evidence",
    "dlnotes.files",
    "dlnotes.randomness",
    "dlnotes.sweeps",
    "dlnotes.training",
)
CHAPTERS = ("dlnotes.linear", "dlnotes.deep", "dlnotes.conv", "dlnotes.text")
INSIDE = ("dlnotes.text.decoding",)  # modules that a chapter exports as such, for their many short names

# What cannot be shown in a line or two that run anywhere, or shows itself in the example of another name.
WITHOUT_EXAMPLE = {
    "dlnotes.data": {"cache", "describe", "download", "fashion_mnist", "mnist", "not_mnist"},
    "dlnotes.evidence": {"limit"},
    "dlnotes.files": {"remove_stale_parts"},
    "dlnotes.text": {"Sampler"},
    "dlnotes.text.decoding": {"State"},
}


def public_names(modules):
    return [(module, name) for module in modules for name in sorted(importlib.import_module(module).__all__)]


def is_plain(thing) -> bool:
    """Functions and classes that do something: no constants, no records of fields, no exceptions."""
    if isinstance(thing, types.FunctionType):
        return True
    is_record = isinstance(thing, type) and (
        issubclass(thing, (tuple, Exception)) or hasattr(thing, "__dataclass_fields__")
    )
    return isinstance(thing, type) and not is_record


# ----------------------------------------------------------------------------------------------------------------
# Names and docstrings
# ----------------------------------------------------------------------------------------------------------------


def test_all_modules_say_what_is_public():
    found = {info.name for info in pkgutil.walk_packages(dlnotes.__path__, "dlnotes.")}
    for name in found:
        module = importlib.import_module(name)
        assert module.__doc__, name
        assert isinstance(getattr(module, "__all__", None), list), name
        assert all(hasattr(module, public) for public in module.__all__), name
    assert {*FOUNDATION, *CHAPTERS, *INSIDE} <= found


def test_no_two_public_names_differ_only_in_case():
    names = {name for _, name in public_names(FOUNDATION + CHAPTERS + INSIDE)}
    assert len({name.lower() for name in names}) == len(names)


@pytest.mark.parametrize(("module", "name"), public_names(FOUNDATION + CHAPTERS + INSIDE))
def test_every_public_name_is_described_with_an_example(module, name):
    thing = getattr(importlib.import_module(module), name)
    if not isinstance(thing, type | types.FunctionType):
        return
    described = inspect.getdoc(thing)
    assert described
    if is_plain(thing) and name not in WITHOUT_EXAMPLE.get(module, ()):
        assert ">>> " in described, f"{module}.{name} has no example that runs"


# ----------------------------------------------------------------------------------------------------------------
# Functions and modules of tensors
# ----------------------------------------------------------------------------------------------------------------

# A name of a chapter that takes tensors: how it is called, and whether a row of its result depends on its own row of
# the input alone. What is left out here has tests of its own kind: optimizers, schedules, trainers.
TENSOR_FUNCTIONS = {
    "softmax": (linear.softmax, True),
    "log_softmax": (linear.log_softmax, True),
    "cross_entropy": (lambda x: linear.cross_entropy(x, torch.arange(len(x), device=x.device)), False),
    "one_hot": (lambda x: linear.one_hot(x.long().abs(), 100, dtype=x.dtype), True),
    "standardize": (lambda x: linear.standardize(x)[0], False),
    "split": (lambda x: linear.split((x,), (2, 1), generator=stream(0, "split"))[0][0], False),
    "LogisticClassifier": (lambda x: started(linear.LogisticClassifier(7, 5, dtype=x.dtype).to(x.device))(x), True),
    "Dropout": (lambda x: deep.Dropout(0.5, generator=stream(0, "masks"))(x), False),
    "l2_penalty": (lambda x: deep.l2_penalty([x], 0.1), False),
    "MLP": (lambda x: started(deep.MLP([7, 6, 5], generator=stream(0, "w"), dtype=x.dtype).to(x.device))(x), True),
    "Conv2d": (lambda x: looked_at(conv.Conv2d, x, 1, 3, 2, padding="same"), True),
    "LocallyConnected2d": (lambda x: looked_at(conv.LocallyConnected2d, x, 1, 3, 2, size=(2, 3)), True),
    "PointwiseConv": (lambda x: looked_at(conv.PointwiseConv, x, 1, 3), True),
    "Inception": (lambda x: looked_at(conv.Inception, x, 1, one=3, three=3, five=3, pool=3), True),
    "ConvNet": (lambda x: looked_at(conv.ConvNet, x, "2x2x3 max2", inputs=(1, 2, 3), classes=5), True),
    "MaxPool2d": (lambda x: conv.MaxPool2d(2, 1, "same")(pictures(x)), True),
    "AveragePool2d": (lambda x: conv.AveragePool2d(2, 1, "same")(pictures(x)), True),
    "GlobalAveragePool2d": (lambda x: conv.GlobalAveragePool2d()(pictures(x)), True),
    "StochasticPool2d": (lambda x: conv.StochasticPool2d(2, 1, generator=stream(0, "draws"))(pictures(x)), False),
    "patches": (lambda x: conv.patches(pictures(x), 2, padding="same").movedim(1, 0), True),
    "shift": (lambda x: conv.shift(pictures(x), 1, -1), True),
    "augment": (lambda x: conv.augment(pictures(x), stream(0, "moves")), False),
    "RNN": (lambda x: read(text.RNN, x), True),
    "LSTM": (lambda x: read(text.LSTM, x), True),
    "similarity": (lambda x: text.similarity(x, example(x.dtype, x.device)), True),
    "unit_vectors": (lambda x: text.unit_vectors(x), True),
    "embed": (lambda x: text.embed(torch.arange(len(x), device=x.device), x), True),
    "next_character_loss": (lambda x: text.next_character_loss(x[None], x.argmax(1)[None]), False),
}
WITH_TESTS_OF_THEIR_OWN = {
    *("SGD", "AdaGrad", "GradientDescent", "Link", "Slot"),
    *("adagrad_scaling", "average_momentum", "clip_by_global_norm", "l2", "momentum"),
    *("cosine_decay", "exponential_decay", "inverse_time_decay", "step_decay"),
    *("initialize", "scaled_normal_", "scaled_uniform_", "zeros_"),
    *("Flips", "discordant", "largest_disagreement", "mcnemar_test", "rule_of_thirty"),
    *("count_parameters", "train_classifier", "widths_for_budget"),
    *("Layer", "affine", "backpropagate", "backward", "descend", "forward", "layers_of", "relu", "sigmoid", "tanh"),
    *("EarlyStopping", "History", "train_with_early_stopping"),
    *("effective_degrees_of_freedom", "weight_decay_groups"),
    *("ReceptiveField", "count_multiply_adds", "output_size", "receptive_field"),
    *("CharacterModel", "Windows", "bits_per_character", "train_character_model"),
    *("Gates", "gates_through_time", "gradient_norms", "gradients_by_step"),
    *("EncoderDecoder", "NGrams", "PairBatches", "decoding", "train_encoder_decoder"),
    *("Embedding", "LogUniformSampler", "SampledSoftmaxLoss", "Sampler", "Samples", "UnigramSampler"),
    *("distinct_ngrams", "edit_distance", "error_rate"),
    "Vocabulary",
    *("CBOW", "SkipGram", "WordStep", "WordTrainer", "train_word_vectors"),
    *("Neighbours", "WordVectors", "analogy", "nearest"),
    *("AnalogyScores", "Question", "RankCorrelation", "RatedPair", "analogy_accuracy", "similarity_correlation"),
    *("read_analogies", "read_similarities"),
}
MODULES = {
    "LogisticClassifier": lambda: linear.LogisticClassifier(7, 5),
    "MLP": lambda: deep.MLP([7, 6, 5], generator=stream(2, "weights")),
    "Conv2d": lambda: conv.Conv2d(1, 3, 2, generator=stream(2, "weights")),
    "LocallyConnected2d": lambda: conv.LocallyConnected2d(1, 3, 2, size=(2, 3), generator=stream(2, "weights")),
    "PointwiseConv": lambda: conv.PointwiseConv(1, 3, generator=stream(2, "weights")),
    "Inception": lambda: conv.Inception(1, one=3, three=3, five=3, pool=3, generator=stream(2, "weights")),
    "ConvNet": lambda: conv.ConvNet("2x2x3 max2 dense4", inputs=(1, 2, 3), generator=stream(2, "weights")),
}


def started(module: nn.Module) -> nn.Module:
    """The module with weights that are not zero."""
    generator = stream(0, "weights")
    for parameter in module.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def example(dtype=torch.float64, device="cpu"):
    return (
        (4 * torch.randn(6, 7, generator=stream(1, "inputs"), dtype=torch.float64, device="cpu")).to(dtype).to(device)
    )


def pictures(x):
    """Its first six columns as images of one channel, 2×3."""
    return x[:, None, :6].unflatten(-1, (2, 3))


def looked_at(kind, x, *sizes, **settings):
    """What a layer with weights, or a network, makes of pictures."""
    return started(kind(*sizes, **settings, generator=stream(0, "w"), dtype=x.dtype).to(x.device))(pictures(x))


def read(kind, x):
    """What a recurrent layer makes of rows as sequences of one number a step."""
    return started(kind(1, 3, generator=stream(0, "w"), dtype=x.dtype).to(x.device))(x[:, :, None])[0]


def test_every_name_of_the_chapters_is_in_the_table():
    named = {name for _, name in public_names(CHAPTERS)}
    assert named == set(TENSOR_FUNCTIONS) | WITH_TESTS_OF_THEIR_OWN


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", TENSOR_FUNCTIONS)
def test_dtype_and_device_are_kept(name, dtype, device):
    result = TENSOR_FUNCTIONS[name][0](example(dtype, device))
    overflows = name == "l2_penalty" and dtype.itemsize < 4  # a sum of squares, which is given in single precision
    assert result.dtype == (torch.float32 if overflows else dtype)
    assert result.device.type == device


@pytest.mark.parametrize("name", TENSOR_FUNCTIONS)
def test_inputs_are_not_modified_and_the_result_is_the_same_twice(name):
    inputs = example()
    first = TENSOR_FUNCTIONS[name][0](inputs)
    assert torch.equal(inputs, example())
    assert torch.equal(first, TENSOR_FUNCTIONS[name][0](inputs))


@pytest.mark.parametrize("name", TENSOR_FUNCTIONS)
def test_the_memory_layout_of_the_input_does_not_matter(name):
    strided = example().T.contiguous().T
    assert not strided.is_contiguous()
    torch.testing.assert_close(TENSOR_FUNCTIONS[name][0](strided), TENSOR_FUNCTIONS[name][0](example()))


@pytest.mark.parametrize("name", [name for name, (_, rowwise) in TENSOR_FUNCTIONS.items() if rowwise])
def test_an_example_does_not_depend_on_its_batch_mates(name):
    function = TENSOR_FUNCTIONS[name][0]
    together = function(example())
    alone = torch.cat([function(row) for row in example().split(1)])
    torch.testing.assert_close(together, alone)
    assert function(example()[:0]).shape == (0, *together.shape[1:])


@pytest.mark.parametrize("name", sorted(set(TENSOR_FUNCTIONS) - {"one_hot"}))
def test_gradients_arrive_and_are_finite(name):
    inputs = example().requires_grad_()
    TENSOR_FUNCTIONS[name][0](inputs).square().sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.isfinite().all()
    assert inputs.grad.any()


# What draws or makes tensors, and gives the same whatever PyTorch's default dtype and device are.
WITHOUT_DEFAULTS = {
    "letters": lambda: tuple(itertools.chain(*data.letters(0, train=20, validation=10, test=10))),
    "load": lambda: tuple(data.load("letters", 1, train=20, validation=10, test=10).test),
    "masters": lambda: (fonts.draw_masters(Path(matplotlib.get_data_path(), "fonts", "ttf")).pictures,),
    "split_faces": lambda: tuple(
        torch.tensor([len(face) for face in part], device="cpu") for part in data.split_faces(3)
    ),
    "stream": lambda: (torch.rand(3, generator=stream(0, "x"), dtype=torch.float32, device="cpu"),),
    "split": lambda: linear.split((example(), example()), (3, 2), generator=stream(0, "split"))[1],
    "standardize": lambda: linear.standardize(example(), example(torch.float32)),
    "standardize finely": lambda: linear.standardize(1e7 + example(torch.float32).round() / 4),
    "softmax": lambda: (linear.softmax(example(torch.float16)), linear.log_softmax(example(), 0.5)),
    "cross_entropy": lambda: (linear.cross_entropy(example(), example().softmax(1)),),
    "one_hot": lambda: (linear.one_hot(example().long().abs(), 100, dtype=torch.float16),),
    "Dropout": lambda: (deep.Dropout(0.3, generator=stream(0, "masks"))(example(torch.float32)),),
    "scaled_normal_": lambda: (linear.scaled_normal_(example(), generator=stream(0, "weights")),),
    "scaled_uniform_": lambda: (linear.scaled_uniform_(example(torch.float32), generator=stream(0, "weights")),),
    "l2_penalty": lambda: (deep.l2_penalty([example(torch.float32)], 0.1),),
    "effective_degrees_of_freedom": lambda: deep.effective_degrees_of_freedom(example(), 0.1),
    "discordant": lambda: linear.discordant(example(), example().flip(0), example().argmax(1)),
    "SGD": lambda: stepped(partial(linear.SGD, momentum=0.9, weight_decay=0.1, max_norm=1.0)),
    "AdaGrad": lambda: stepped(linear.AdaGrad),
    "schedules": lambda: linear.step_decay(linear.SGD([nn.Parameter(example())], lr=0.8), 0.5, 2).get_last_lr(),
    "layers": lambda: learned_by_hand(),
    "patches": lambda: (conv.patches(pictures(example(torch.float16)), 2, padding="same"),),
    "pooling": lambda: tuple(
        layer(pictures(example(torch.float32)))
        for layer in (
            conv.MaxPool2d(2, 1, "same"),
            conv.AveragePool2d(2, 1, "same"),
            conv.StochasticPool2d(2, 1, "same", generator=stream(0, "draws")),
            conv.StochasticPool2d(2, generator=stream(0, "draws")).eval(),
        )
    ),
    "shift": lambda: (conv.shift(pictures(example()), torch.arange(6, device="cpu"), -1),),
    "augment": lambda: (conv.augment(pictures(example(torch.float32)), stream(0, "moves"), shift=0.5),),
    "sequences": lambda: tuple(
        itertools.chain(
            data.delayed_recall(3, 4, generator=stream(0, "x")),
            data.copy_memory(3, 4, generator=stream(0, "x")),
            data.adding(3, 4, generator=stream(0, "x")),
            data.k_back(3, 4, 2, generator=stream(0, "x")),
        )
    ),
    "markov_chain": lambda: (
        data.markov_chain(4, 5, data.transition_matrix(3, generator=stream(0, "x")), generator=stream(1, "x")),
    ),
    "planted words": lambda: (
        *planted(data.class_chain(9, classes=3, words=4, generator=stream(0, "x"))),
        *planted(data.class_chain(9, classes=3, words=4, telling=0.4, generator=stream(0, "x"))),
        *planted(crossed := data.crossed_attributes(9, roots=3, exponent=1.0, generator=stream(0, "x"))),
        crossed.questions(),
    ),
    "garden_path": lambda: (data.garden_path(0.6, 3).transitions,),
    "text": lambda: data.load_text("python_docs", 0, train=50, validation=10, test=10)[1:],
    "Vocabulary": lambda: (
        VOCABULARY.counts,
        VOCABULARY.encode(["c", "x", "a"]),
        VOCABULARY.ids(["b", "a"]),
        VOCABULARY.noise(),
        VOCABULARY.subsample(VOCABULARY.encode(["a"] * 9), 0.1, stream(0, "draws")),
    ),
    "LSTM": lambda: (LSTM(example()[:, :, None])[0].detach(),),
    "decoding": lambda: decoded(text.decoding.markov_step(example()[:, :6].softmax(1)), example().argsort()[0, :2] % 6),
    "NGrams": lambda: (NGRAMS.probabilities, *decoded(NGRAMS.step_function(), *NGRAMS.begin(2))),
    "CharacterModel": lambda: decoded(WRITER.step_function(), *WRITER.begin(example().argsort()[:2, :3] % 6)),
    "EncoderDecoder": lambda: (*translated(), *decoded(TRANSLATOR.step_function(), *TRANSLATOR.begin([[1, 2], [0]]))),
    "likeness": lambda: tuple(
        itertools.chain.from_iterable(
            text.nearest(example(), example(), 2, measure=measure, exclude=torch.arange(6, device="cpu")[:, None])
            for measure in ("cosine", "l2", "dot")
        )
    ),
    "analogy": lambda: tuple(
        text.analogy(example(torch.float32), torch.tensor([[0, 1, 2]], device="cpu"), method=method)
        for method in ("add", "multiply")
    ),
    "WordVectors": lambda: asked_for_words(),
    "embed": lambda: (text.embed(example().argmax(1), example().T), EMBEDDING(example().argmax(1)).detach()),
    "samplers": lambda: tuple(
        itertools.chain(
            text.LogUniformSampler(100).sample(5, stream(0, "draws")),
            text.LogUniformSampler(100).sample(50, stream(0, "draws")),
            text.LogUniformSampler(100).sample(100, stream(0, "draws")),
            text.UnigramSampler(example(torch.float32)[0].abs()).sample(3, stream(0, "draws")),
        )
    ),
    "SampledSoftmaxLoss": lambda: sampled_and_full(),
    "ConvNet": lambda: (
        CONV_NET(pictures(example())).detach(),
        torch.tensor(conv.count_multiply_adds(CONV_NET), device="cpu"),
    ),
}


def planted(words):
    """The tensors of planted words, and what is computed of them."""
    known = [value for value in vars(words).values() if isinstance(value, torch.Tensor)]
    if isinstance(words, data.ChainedWords):
        entropy = torch.tensor(words.entropy, dtype=torch.float64, device="cpu")
        return *known, words.probabilities, words.next_probabilities(1), words.surprises(), entropy
    return tuple(known)


def decoded(step, *begun):
    """What each decoder finds."""
    settings, draws = {"max_length": 3, "end": 1}, stream(0, "draws")
    return tuple(
        itertools.chain(
            text.decoding.greedy(step, *begun, **settings),
            text.decoding.sample(step, *begun, **settings, samples=3, generator=draws),
            text.decoding.best_of(step, *begun, **settings, samples=3, length_penalty=0.5, generator=draws),
            text.decoding.beam_search(step, *begun, **settings, beams=3, length_penalty=0.5),
            text.decoding.exhaustive(step, *begun, **settings),
        )
    )


def asked_for_words():
    """What word vectors hold and answer, once they were saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = text.WordVectors(list("abcdef"), example()).save(Path(folder, "words"))
        vectors = text.WordVectors.load(path).normalized()
    answers = [vectors.nearest("a", 2), vectors.analogy("a", "b", "c", count=2)]
    questions = [text.Question("section", tuple("abcd")), text.Question("section", tuple("bcde"))]
    scores = [text.analogy_accuracy(vectors, questions).accuracy]
    pairs = [text.RatedPair("a", "b", 1.0), text.RatedPair("a", "c", 2.0), text.RatedPair("d", "e", 3.0)]
    scores += [text.similarity_correlation(vectors, pairs).rho, *(score for each in answers for _, score in each)]
    return vectors.vectors, vectors.ids(["c", "a"]), torch.tensor(scores, dtype=torch.float64, device="cpu")


def translated():
    """The losses of an encoder-decoder and its weights, after a few steps."""
    model = copy.deepcopy(TRANSLATOR)
    settings = {"generator": stream(0, "batches"), "steps": 3, "batch_size": 2}
    losses = text.train_encoder_decoder(model, [[0, 1], [2], [3, 0]], [[4], [0, 1], [2]], **settings)
    return torch.tensor(losses, dtype=torch.float64, device="cpu"), *(each.detach() for each in model.parameters())


def sampled_and_full():
    """The loss of a sample with its gradients, and that of all symbols."""
    loss, inputs, targets = copy.deepcopy(SAMPLED_SOFTMAX), example(), example().argmax(1)
    sampled = loss(inputs, targets)
    sampled.backward()
    return sampled.detach(), loss.weight.grad, loss.bias.grad, loss.eval()(inputs, targets).detach()


def stepped(kind):
    """A few steps of an optimizer, with a gradient that is clipped extremely."""
    (w,) = parameters = [nn.Parameter(example(torch.float32))]
    optimizer = kind(parameters, lr=0.1)
    for size in (1.0, 1e-30, 1e30):
        w.grad = size * example(torch.float32)
        optimizer.step()
    return (w.detach(),)


def learned_by_hand():
    layers = [deep.affine(example(), example()[:, 0].clone()), deep.relu()]
    activations = deep.forward(layers, example())
    slope, (gradients, _) = deep.backward(layers, activations, activations[-1])
    network = copy.deepcopy(NETWORK)
    velocities = [torch.zeros_like(parameter) for parameter in network.parameters()]
    settings = {"lr": 0.1, "momentum": 0.9, "velocities": velocities}
    losses = [deep.descend(network, example(), example().argmax(1), **settings) for _ in range(2)]
    return (slope, *gradients, *losses, *(parameter.detach() for parameter in network.parameters()))


NETWORK = deep.MLP([7, 6, 7], generator=stream(0, "weights"), dtype=torch.float64)
LSTM = text.LSTM(1, 3, generator=stream(0, "weights"), dtype=torch.float64)
VOCABULARY = text.Vocabulary({"a": 5, "b": 3, "c": 3})
EMBEDDING = text.Embedding(7, 3, generator=stream(0, "weights"))
SAMPLED_SOFTMAX = text.SampledSoftmaxLoss(
    90, 7, 4, generator=stream(0, "weights"), draws=stream(0, "draws"), dtype=torch.float64
)
NGRAMS = text.NGrams([[0, 1, 2, 0], [2, 2]], 2, end=5)
WRITER = text.CharacterModel(6, 4, generator=stream(0, "weights"), dtype=torch.float64)
TRANSLATOR = text.EncoderDecoder(4, 5, 3, embedding_size=2, generator=stream(0, "weights"), dtype=torch.float64)
CONV_NET = conv.ConvNet("2x2x3 max2", inputs=(1, 2, 3), generator=stream(0, "weights"), dtype=torch.float64)


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("name", WITHOUT_DEFAULTS)
def test_other_defaults_of_dtype_and_device_change_nothing(name):
    expected = WITHOUT_DEFAULTS[name]()
    for place in (default_dtype(torch.float64), default_dtype(torch.float16), torch.device("meta")):
        with place:
            found = WITHOUT_DEFAULTS[name]()
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_can_be_saved_copied_and_built_without_memory(name):
    module = started(MODULES[name]())
    inputs = example(torch.float32) if name in ("LogisticClassifier", "MLP") else pictures(example(torch.float32))
    other = MODULES[name]()
    other.load_state_dict(module.state_dict())
    for twin in (other, copy.deepcopy(module)):
        assert torch.equal(twin(inputs), module(inputs))
    with torch.device("meta"):
        assert all(parameter.is_meta for parameter in MODULES[name]().parameters())
    assert name in repr(module)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_can_be_reset_to_its_first_weights(name):
    fresh, used = MODULES[name](), started(MODULES[name]())
    with_chance = inspect.signature(used.reset_parameters).parameters
    used.reset_parameters(*([stream(2, "weights")] if with_chance else []))
    assert all(torch.equal(one, other) for one, other in zip(fresh.parameters(), used.parameters(), strict=True))


@pytest.mark.parametrize(
    "optimizer", [partial(linear.SGD, momentum=0.9, weight_decay=0.01, max_norm=1.0), linear.AdaGrad]
)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here, and the CPU is what it is compared with")
def test_training_on_a_gpu_is_training_on_the_cpu(optimizer):
    def trained(device):
        chance = streams(3, "inputs", "weights", "masks", "batches")
        inputs = torch.randn(40, 7, generator=chance["inputs"], dtype=torch.float64)
        examples = inputs.to(device), inputs[:, :5].argmax(1).to(device)
        model = deep.MLP(
            [7, 9, 5], generator=chance["weights"], dropout=0.3, masks=chance["masks"], dtype=torch.float64
        ).to(device)
        batches = Minibatches(examples, 8, chance["batches"])
        trainer = Trainer(model, linear.cross_entropy, optimizer(model.parameters(), lr=0.1), batches)
        losses = [step.loss for step in islice(trainer, 50)]
        model.eval()
        velocities = [torch.zeros_like(parameter) for parameter in model.parameters()]
        settings = {"lr": 0.1, "momentum": 0.5, "velocities": velocities}
        by_hand = [deep.descend(model, *examples, **settings).item() for _ in range(10)]
        assert all(parameter.device.type == device for parameter in model.parameters())
        return [*losses, *by_hand, evaluate(model, examples, linear.cross_entropy), accuracy(model, examples)]

    assert trained("cuda") == pytest.approx(trained("cpu"), rel=1e-9)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here, and the CPU is what it is compared with")
def test_training_a_convolutional_network_on_a_gpu_is_training_on_the_cpu(fused):
    layers = "3x3x4 max2 inception(2,3-3,2-2,2) stochastic2 1x1x6 local3x3x3 average2 dense5"

    def trained(device):
        chance = streams(3, "inputs", "weights", "draws", "moves", "batches")
        images = torch.rand(30, 1, 16, 16, generator=chance["inputs"], dtype=torch.float64).to(device)
        examples = images, images.flatten(1)[:, :10].argmax(1)
        settings = {"generator": chance["weights"], "draws": chance["draws"], "dtype": torch.float64}
        model = conv.ConvNet(layers, inputs=(1, 16, 16), fused=fused, **settings).to(device)
        losses = conv.train_classifier(
            model,
            examples,
            generator=chance["batches"],
            steps=20,
            batch_size=8,
            change=lambda images: conv.shift(conv.augment(images, chance["moves"]), 1, 0),
        )
        model.eval()
        assert all(parameter.device.type == device for parameter in model.parameters())
        counted = conv.count_multiply_adds(model)
        return [*losses, counted, evaluate(model, examples, linear.cross_entropy), accuracy(model, examples)]

    assert trained("cuda") == pytest.approx(trained("cpu"), rel=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here, and the CPU is what it is compared with")
def test_training_an_encoder_decoder_and_writing_on_a_gpu_are_those_on_the_cpu():
    draws = stream(3, "words")
    sources, targets = (
        [torch.randint(5, (length,), generator=draws).tolist() for length in (1, 2, 3, 2, 1, 3) * 5] for _ in range(2)
    )

    def trained(device):
        model = text.EncoderDecoder(5, 5, 8, generator=stream(3, "weights"), dtype=torch.float64).to(device)
        settings = {"generator": stream(3, "batches"), "steps": 30, "batch_size": 4}
        losses = text.train_encoder_decoder(model, sources, targets, **settings)
        step, begun = model.step_function(), model.begin(sources)
        settings = {"max_length": 4, "end": model.end}
        on_device = torch.Generator(device).manual_seed(0)
        drawn = text.decoding.sample(step, *begun, **settings, samples=4, generator=on_device)
        found = [
            text.decoding.greedy(step, *begun, **settings),
            text.decoding.beam_search(step, *begun, **settings, beams=4),
            text.decoding.beam_search(step, *begun, **settings, beams=4, length_penalty=1.0),
            text.decoding.exhaustive(step, *begun, **settings),
        ]
        assert all(part.device.type == device for one in [drawn, *found] for part in one)
        # Other draws on a GPU; what they are worth is judged by the model on the CPU.
        judged = model.cpu()(torch.tensor(sources[1:2]).expand(4, 2), ended_before(drawn.ids[1].cpu(), model.end))
        logs = judged.log_softmax(2).gather(2, drawn.ids[1].cpu()[:, :, None])[:, :, 0]
        written = torch.arange(logs.shape[1]) < drawn.lengths[1].cpu()[:, None]
        torch.testing.assert_close(drawn.log_probs[1].cpu(), (logs * written).sum(1), rtol=1e-9, atol=1e-9)
        return torch.tensor(losses, dtype=torch.float64), *(part.cpu() for one in found for part in one)

    for one, other in zip(trained("cuda"), trained("cpu"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def ended_before(ids, end):
    """What a decoder was shown before each of these symbols (N, T)."""
    return torch.cat([torch.full_like(ids[:, :1], end), ids[:, :-1]], 1)
