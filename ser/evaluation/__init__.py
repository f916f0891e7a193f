"""From predictions to scores one can believe: metrics, intervals, calibration, slices, comparison, robustness, gates.

Imports ``training`` (inference only), ``views``, ``signal``, ``params`` and ``runtime``.
``report``, ``serving`` and the stages may import it.
"""
