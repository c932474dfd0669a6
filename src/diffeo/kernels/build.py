"""Compiling the C++ kernels: once per machine, into the user's cache, by the system's own compiler.

`python -m diffeo.kernels.build` compiles them for all instruction sets of this platform into the package, for a wheel.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from ..core.errors import DiffeoError

__all__ = ["BuildError", "binary", "build", "capability"]

SOURCES = Path(__file__).parent / "native"
SHIPPED = SOURCES / "lib"  # what a wheel carries
# One binary for each instruction set, named as PyTorch names them; the oldest that the stable ABI serves is 2.10.
X86 = {"AVX512": "-mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl -mavx2 -mfma -mbmi2", "AVX2": "-mavx2 -mfma -mbmi2"}
FLAGS = "-std=c++20 -O2 -fPIC -fvisibility=hidden -fno-math-errno -fno-trapping-math -ffp-contract=fast"
ABI = "-DTORCH_TARGET_VERSION=0x020a000000000000"


class BuildError(DiffeoError, RuntimeError):
    """The kernels cannot be compiled here; the text says why."""


def capability() -> str:
    """The instruction set to compile for: AVX512, AVX2 or DEFAULT."""
    name = torch.backends.cpu.get_cpu_capability()
    return name if name in X86 else "DEFAULT"


def binary() -> Path:
    """The compiled kernels for this processor: those that came with the package, or from the cache, compiled if need be.

    Raises `BuildError`.
    """
    name = f"{capability()}{'.dll' if os.name == 'nt' else '.so'}"
    if (SHIPPED / name).is_file():
        return SHIPPED / name
    path = _cache() / f"{_key()}-{name}"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if not path.is_file():
                build(path, capability())
    except OSError as error:
        raise BuildError(f"{path.parent} cannot be written ({error.strerror or error}): set DIFFEO_CACHE to a folder") from None
    return path


def build(path: Path, instructions: str) -> None:
    """Compile the kernels for one instruction set to `path`, which appears whole or not at all. Raises `BuildError`."""
    compiler = _compiler()
    root = Path(torch.__file__).parent
    flags = [*FLAGS.split(), ABI, *X86.get(instructions, "").split(), f"-I{root / 'include'}"]
    with tempfile.TemporaryDirectory(prefix=".build-", dir=path.parent) as folder:
        objects = {source: Path(folder) / f"{source.stem}.o" for source in sorted(SOURCES.glob("*.cpp"))}
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda pair: _run([compiler, *flags, "-c", pair[0], "-o", pair[1]]), objects.items()))
        linked = Path(folder) / path.name
        undefined = ["-undefined", "dynamic_lookup"] if platform.system() == "Darwin" else []
        _run([compiler, "-shared", *undefined, *objects.values(), f"-L{root / 'lib'}", "-ltorch_cpu", "-o", linked])
        linked.replace(path)


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return name
    raise BuildError("there is no C++ compiler: install g++ or clang++, or set CXX")


def _run(command: list[str | Path]) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["no message"]
        raise BuildError(f"{command[0]} failed: {lines[0].strip()}")


def _cache() -> Path:
    if own := os.environ.get("DIFFEO_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "diffeo"
    except RuntimeError:  # no home
        raise BuildError("there is no home folder for the cache: set DIFFEO_CACHE to a folder") from None


def _key() -> str:
    digest = hashlib.sha256(f"{torch.__version__} {platform.machine()} {FLAGS} {X86} {ABI}".encode())
    for source in sorted(SOURCES.iterdir()):
        if source.is_file():
            digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process compiles, others wait for it; where files cannot be locked, each compiles for itself, which does no harm."""
    with path.with_suffix(".lock").open("a") as file:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> None:
    SHIPPED.mkdir(exist_ok=True)
    for instructions in ["DEFAULT", *(X86 if platform.machine() in ("x86_64", "AMD64") else ())]:
        build(SHIPPED / f"{instructions}.so", instructions)


if __name__ == "__main__":
    main()
