"""The co-attention network: CNN branches, a Transformer over the frames, and the fusion where they meet.

Reading order: ``branches`` (how each branch turns frames into tokens), ``fusion`` (what a fusion is; ``fusions``
has one module for each), ``weighing`` (what the fusions are built from), ``network`` (how they are connected),
``losses``. ``python -m ser.diagram`` prints and draws the network of ``params.yaml``.
Imports ``views`` and ``params``.
"""
