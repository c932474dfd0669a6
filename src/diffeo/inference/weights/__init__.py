"""Importance weights: what they say of a flow, and of log Z."""
