"""The stage ``export``: trained networks or regressions, and the encoder that they read, as ONNX graphs; the model card.

Reading order: ``write`` (the whole bundle), ``network_graph`` and ``linear_graph`` (what was trained), ``encoders`` (which weights travel),
``encoder_graph`` and ``waveform_graph`` (Whisper's encoder and the others), ``drawing`` (how a graph is written), ``refit``, ``card``.
Only this part of ``serving`` imports torch.
"""
