"""How many cases a fuzzer runs: a quick part with the other tests, the long one with `make fuzz`
(DIFFEO_FUZZ=1).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

LONG = os.environ.get("DIFFEO_FUZZ", "0") not in ("", "0")


@pytest.fixture
def count() -> Callable[[int, int], int]:
    """`count(quick, long)`: the number of cases to run now; seed case i with i, so that the quick
    ones are the first.
    """
    return lambda quick, long: long if LONG else quick
