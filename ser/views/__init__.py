"""Views of a clip that a network reads, a module for each, openSMILE's functionals, and how both are standardised.

Numpy and scipy, no torch: training and the exported predictor run this same code.
Imports ``signal``, ``params`` and ``runtime``. Every room after it on the way of the data may import it.
"""
