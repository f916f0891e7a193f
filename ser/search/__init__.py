"""Search for better parameters: ``space`` reads the keys, ``study`` stores trials, ``trials`` trains them.

``study`` and ``trials`` need the optional package optuna.
Imports ``params``, ``runtime``, ``signal``, ``encoders``, ``splits`` and ``training``.
Imported by no other package.
"""
