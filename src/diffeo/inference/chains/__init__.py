"""Markov chains, and whether they have converged."""
