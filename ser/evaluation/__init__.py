"""From predictions to a result: metrics, intervals, calibration, slices, comparison, robustness, gates.

Imports ``params``, ``runtime``, ``signal``, ``encoders``, ``views``, ``model`` and ``training``.
Imported by ``report`` and ``serving``.
"""
