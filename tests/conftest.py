"""Shared set-up: one thread, so that tests neither fight over cores nor depend on how many there
are.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # tests import the table as `cases`

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _signals() -> None:
    """Signals as on a terminal: who starts tests in the background has them ignored, here and in
    all that tests start.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Every test starts from the same global random state and leaves PyTorch's default dtype as it
    was.
    """
    # torch.manual_seed formats a stack trace for CUDA, 2 ms a call
    torch.default_generator.manual_seed(0)
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
