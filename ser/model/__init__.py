"""The co-attention network: CNN branches over the views, a Transformer over the frames, and their fusion.

Reading order: ``branches`` (frames to tokens), ``fusion`` (what a fusion is; ``fusions`` has a module for
each),
``weighing`` (what fusions are built from), ``network`` (the whole), ``losses``.
Imports ``params``, ``runtime``, ``encoders`` and ``views``.
Imported by ``diagram``, ``training``, ``evaluation`` and ``serving``.
"""
