"""From the bytes of a recording to packed clips: decoding, voice activity detection, the clip store.

Numpy and scipy, no torch: training and the exported predictor run this same code.
Imports ``corpora``, ``params`` and ``runtime``. Every room after it on the way of the data may import it.
"""
