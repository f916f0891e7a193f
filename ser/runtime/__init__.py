"""How stages run, not what they compute: cores, worker processes, atomic writes, locks, provenance, number formatting.

Imports ``params``.
Imported by ``corpora``, ``download``, ``signal``, ``encoders``, ``views``, ``splits``, ``model``, ``diagram``,
``training``, ``evaluation``, ``report``, ``serving`` and ``search``.
"""
