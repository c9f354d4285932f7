"""Chapter 4, text: sequences of symbols, and networks that read and write them."""

from dlnotes.text.recurrent import LSTM, RNN

__all__ = ["LSTM", "RNN"]
