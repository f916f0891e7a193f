"""A trained model at work: the exported bundle, its model card, the predictor and the command ``ser``.

What ``predict`` imports needs neither torch, DVC nor pandas; only ``export`` does. Nothing in ``ser`` imports it but itself.
"""
