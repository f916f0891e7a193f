"""The network of ``params.yaml`` for people: a table of parts with their cost, and a picture. ``python -m ser.diagram`` makes both.

Imports ``model``, ``views`` and ``params``. Nothing in ``ser`` imports it: no stage, only benchmarks.
"""
