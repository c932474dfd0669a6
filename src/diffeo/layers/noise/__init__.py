"""Layers that draw noise: from discrete values to continuous ones."""
