"""How stages run, not what they compute: cores, workers, whole files, locks, circumstances, text of figures.

Imports ``params``.
Imported by ``corpora``, ``download``, ``signal``, ``encoders``, ``views``, ``splits``, ``diagram``,
``training``, ``evaluation``, ``report``, ``serving`` and ``search``.
"""
