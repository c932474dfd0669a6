"""Layers that mix the entries or channels of an event."""
