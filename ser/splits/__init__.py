"""Which clip is for training, validation or test in which fold: protocols, held-out speakers, leak report.

Imports ``params``, ``runtime`` and ``corpora``.
Imported by ``training`` and ``search``.
"""
