"""The one table of the streams of random numbers, and the seeds that are made from it.

Whatever draws at random in a run with a seed does so from a stream of its own, so that one part
that draws more or less leaves all others as they were, and a resumed run needs no generator's
state. A number never changes its meaning: results of earlier versions depend on it.
"""

from __future__ import annotations

import enum

import torch

__all__ = ["Stream", "generator_for", "mix"]


@enum.unique
class Stream(enum.IntEnum):
    """What random numbers are for; a new purpose takes the next free number."""

    SPLIT = 0  # which rows are held out
    BATCHES = 1  # the order of the rows, by epoch
    STEP = 2  # dropout, dequantisation and flips of a training step, by step and rank
    VALIDATION = 3  # noise of every validation, the same each time; and of a report's figures
    SET_UP_ROWS = 4  # which rows data-dependent set-up looks at
    ITERABLE = 5  # what an iterable of batches draws, by pass and batch
    NOISE_BATCHES = 6  # base noise that variational objectives train on, by step
    NOISE_VALIDATION = 7  # base noise that they are validated on
    FAB = 8  # annealed samples of FAB, by call
    SET_UP = 9  # noise of data-dependent set-up
    TARGET_CHECK = 10  # points at which a log density is tried before a fit
    DRAWS = 11  # draws of a fitted flow that are weighted
    MODES = 12  # points around maxima, to see whether a flow has lost them
    GRADIENTS = 13  # noise from which the gradient's signal-to-noise ratio is estimated
    BRIDGE = 14  # draws of the flow for the bridge estimate of log Z
    PARTICLES = 15  # tempered particles
    SURVEY = 16  # rounds of a survey of the target, by round
    REGION = 17  # points in the declared region
    DIVERGENCES = 18  # which particles a divergence learns from, by call
    CHAINS = 19  # Markov chains


def mix(*numbers: int) -> int:
    """One 63-bit seed from several integers (splitmix64), so that neighbouring seeds share nothing.

    In use: `mix(seed, Stream.STEP, step)`.
    """
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & 0xFFFFFFFFFFFFFFFF)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def generator_for(seed: int, stream: Stream, *numbers: int) -> torch.Generator:
    """A generator on the CPU, seeded with `mix(seed, stream, *numbers)`."""
    return torch.Generator().manual_seed(mix(seed, stream, *numbers))
