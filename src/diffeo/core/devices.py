"""Devices by name, and whether they are there."""

from __future__ import annotations

import torch

from .errors import ConfigError

__all__ = ["usable_device"]


def usable_device(device: str | torch.device) -> torch.device:
    """The device, with room for a number tried out. Raises `ConfigError` for one that is not known
    or not there.

    >>> usable_device("cpu")
    device(type='cpu')
    """
    try:
        found = torch.device(device)
        float(torch.ones(1, device=found).sum())
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        said = " ".join(str(error).split()).partition(". ")[0][:150]
        raise ConfigError(
            f"device {str(device)!r} cannot be used: {said}; leave it out, or write cpu or cuda:0"
        ) from None
    return found
