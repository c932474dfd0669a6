"""Chains that store no activations."""
