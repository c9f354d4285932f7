"""Chapter 4, text: sequences of symbols, and networks that read and write them."""

from dlnotes.linear.optimizers import clip_by_global_norm
from dlnotes.text import decoding
from dlnotes.text.characters import (
    CharacterModel,
    Windows,
    bits_per_character,
    next_character_loss,
    train_character_model,
)
from dlnotes.text.embeddings import Embedding, embed
from dlnotes.text.encoder_decoder import EncoderDecoder, PairBatches, train_encoder_decoder
from dlnotes.text.likeness import Neighbours, analogy, nearest, similarity, unit_vectors
from dlnotes.text.ngrams import NGrams
from dlnotes.text.quality import distinct_ngrams, edit_distance, error_rate
from dlnotes.text.recurrent import LSTM, RNN
from dlnotes.text.sampled_softmax import LogUniformSampler, SampledSoftmaxLoss, Sampler, Samples, UnigramSampler
from dlnotes.text.through_time import Gates, gates_through_time, gradient_norms, gradients_by_step
from dlnotes.text.vocabulary import Vocabulary
from dlnotes.text.word2vec import CBOW, SkipGram
from dlnotes.text.word_tests import (
    AnalogyScores,
    Question,
    RankCorrelation,
    RatedPair,
    analogy_accuracy,
    read_analogies,
    read_similarities,
    similarity_correlation,
)
from dlnotes.text.word_training import WordStep, WordTrainer, train_word_vectors
from dlnotes.text.word_vectors import WordVectors

__all__ = [
    "CBOW",
    "LSTM",
    "RNN",
    "AnalogyScores",
    "CharacterModel",
    "Embedding",
    "EncoderDecoder",
    "Gates",
    "LogUniformSampler",
    "NGrams",
    "Neighbours",
    "PairBatches",
    "Question",
    "RankCorrelation",
    "RatedPair",
    "SampledSoftmaxLoss",
    "Sampler",
    "Samples",
    "SkipGram",
    "UnigramSampler",
    "Vocabulary",
    "Windows",
    "WordStep",
    "WordTrainer",
    "WordVectors",
    "analogy",
    "analogy_accuracy",
    "bits_per_character",
    "clip_by_global_norm",
    "decoding",
    "distinct_ngrams",
    "edit_distance",
    "embed",
    "error_rate",
    "gates_through_time",
    "gradient_norms",
    "gradients_by_step",
    "nearest",
    "next_character_loss",
    "read_analogies",
    "read_similarities",
    "similarity",
    "similarity_correlation",
    "train_character_model",
    "train_encoder_decoder",
    "train_word_vectors",
    "unit_vectors",
]
