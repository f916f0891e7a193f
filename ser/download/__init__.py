"""Fetch a corpus: addresses, mirrors, resumed transfers, checksums.

Imports ``params``, ``runtime`` and ``corpora``.
Imported by ``encoders``.
"""
