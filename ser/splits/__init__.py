"""Which clip is training, validation or test in which fold: protocols, fold files, held-out speakers, leak reports.

Imports ``corpora``, ``signal`` and ``params``. Only the split stage imports it.
"""
