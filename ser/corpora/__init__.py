"""What the archives of a corpus hold and what names of recordings mean; ``catalogue`` has a module per
corpus.

Imports ``params`` and ``runtime``.
Imported by ``download``, ``signal``, ``splits``, ``diagram`` and ``serving``.
"""
