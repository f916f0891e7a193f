"""Frozen pretrained speech encoders: the table of them, their weights, and the hidden states of a corpus.

Whisper is read by a few lines of torch of our own, with its log-mel in numpy; the other families need the optional package transformers.
Imports ``download``, ``params``, ``runtime`` and ``signal``. Every room after it on the way of the data may import it.
"""
