"""The training loop and what it needs: batches, augmentation, checkpoints, devices, processes, inference.

Imports ``params``, ``runtime``, ``signal``, ``encoders``, ``views``, ``splits`` and ``model``.
Imported by ``evaluation``, ``serving`` and ``search``.
"""
