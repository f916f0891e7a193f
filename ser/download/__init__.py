"""Fetch a corpus: where it is published, mirrors, resumed transfers, checksums.

Imports ``params``, ``runtime`` and ``corpora``.
Imported by ``encoders``.
"""
