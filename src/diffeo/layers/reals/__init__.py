"""Layers from bounded, positive and unscaled values to standardised real numbers."""
