"""Fetching a corpus: where it is published, mirrors, resumed transfers, checksums.

Imports ``corpora``, ``params`` and ``runtime``. Only the download stage and ``encoders`` import it.
"""
