"""Layers that rearrange, pad, split off or select parts of an event."""
