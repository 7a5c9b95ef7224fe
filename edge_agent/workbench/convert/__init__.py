"""From an export to a bundle of another scheme, ready to install: :func:`~.conversion.convert`.

What needs TensorFlow or ai-edge-quantizer runs in a child: :mod:`.from_tensorflow`, :mod:`.quantizer`.
"""
