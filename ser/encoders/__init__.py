"""Frozen pretrained speech encoders: a table of them, their weights, and the hidden states of a corpus.

Whisper is a few lines of torch here; the other families need the optional package transformers.
Imports ``params``, ``runtime``, ``download`` and ``signal``.
Imported by ``views``, ``model``, ``diagram``, ``training``, ``evaluation``, ``serving`` and ``search``.
"""
