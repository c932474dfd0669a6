"""A wheel that carries compiled kernels (`make wheel`) is one for this platform; without them it is
for any.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelsHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        binaries = sorted(
            (Path(self.root) / "src" / "diffeo" / "kernels" / "native" / "lib").glob("*.so")
        )
        # an editable install compiles on first use, from its own sources
        if not binaries or version != "standard":
            return
        build_data["pure_python"] = False
        build_data["tag"] = (
            f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        )
        for binary in binaries:
            build_data["force_include"][str(binary)] = f"diffeo/kernels/native/lib/{binary.name}"
