"""The co-attention network: CNN branches over log-mel and MFCC, a Transformer over the frames, and the fusion where they meet.

Reading order: ``branches`` (how each branch turns frames into tokens), ``fusion`` (how two token sequences become one vector),
``weighing`` (what the fusions are built from), ``network`` (how they hang together), ``losses``. ``python -m ser.model`` prints and draws
the network of ``params.yaml``.
"""
