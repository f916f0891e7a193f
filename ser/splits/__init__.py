"""Which clip is for training, validation or test in which fold: protocols, held-out speakers, leak report.

Imports ``params`` and ``corpora``.
Imported by no other room.
"""
