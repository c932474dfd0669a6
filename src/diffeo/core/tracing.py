"""Who is looking on while tensors go through."""

from __future__ import annotations

import torch

__all__ = ["traced"]


def traced() -> bool:
    """Is this run by the compiler or inside `torch.func`, which differentiate formulas by
    themselves?
    """
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
