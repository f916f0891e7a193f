"""Search for parameters: ``space`` reads the searched keys, ``study`` stores trials, ``trials`` trains them.

The last two need the optional package optuna.
"""
