"""Corpora: what their archives hold and what the name of a recording means. ``catalogue`` has one module per published corpus.

Imports ``params``. Every room after it on the way of the data may import it.
"""
