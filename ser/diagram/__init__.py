"""The network of ``params.yaml`` for people: a table of its parts with their cost, and a picture.

``python -m ser.diagram`` makes both.

Imports ``model``, ``views`` and ``params``. No stage and no room imports it, only the benchmarks.
"""
