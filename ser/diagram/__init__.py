"""The network as a table and as a picture (``python -m ser.diagram``), and the picture of one recording.

Imports ``params``, ``runtime``, ``corpora``, ``signal``, ``encoders``, ``views`` and ``model``.
Imported by no other package.
"""
