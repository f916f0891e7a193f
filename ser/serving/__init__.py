"""A trained model at work: the exported bundle, its model card, the predictor and the command ``ser``.

The predictor imports neither torch, DVC nor pandas; only ``export`` does.
Imports ``params``, ``runtime``, ``corpora``, ``signal``, ``encoders``, ``views``, ``model``, ``training`` and
``evaluation``.
Imported by no other package.
"""
