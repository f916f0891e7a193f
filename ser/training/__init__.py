"""The training loop and what it needs: batches, augmentation, checkpoints, devices, processes, inference.

Imports ``model``, ``views``, ``signal``, ``params`` and ``runtime``. ``evaluation``, ``serving.export`` and ``search`` may import it.
"""
