"""Search for parameters: ``space`` says what may be turned, ``study`` keeps the trials on disk, ``trials`` trains them.

The last two need the optional package optuna.
"""
