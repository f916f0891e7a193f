"""From the bytes of a recording to packed clips: decoding, voice activity detection, the clip store.

No torch.

Imports ``params``, ``runtime`` and ``corpora``.
Imported by ``encoders``, ``views``, ``diagram``, ``training``, ``evaluation``, ``serving`` and ``search``.
"""
