"""Which clip is for training, validation or test in which fold: protocols, fold files, held-out speakers, leaks.

Imports ``params`` and ``corpora``.
Imported by no other room.
"""
