"""Compiling the C++ kernels: once per machine, into the user's cache, by the system's own compiler.

`python -m diffeo.kernels.build` compiles them for all instruction sets of this platform into the
package, for a wheel.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import torch

from ..core.errors import DiffeoError
from . import cache

__all__ = ["BuildError", "binary", "build", "capability", "sources"]

ROOM = Path(__file__).parent
SHIPPED = ROOM / "native" / "lib"  # what a wheel carries
# One binary for each instruction set, named as PyTorch names them; the oldest that the stable ABI
# serves is 2.10.
X86 = {
    "AVX512": "-mavx512f -mavx512bw -mavx512cd -mavx512dq -mavx512vl -mavx2 -mfma -mbmi2",
    "AVX2": "-mavx2 -mfma -mbmi2",
}
FLAGS = (
    "-std=c++20 -O2 -fPIC -fvisibility=hidden -fno-math-errno -fno-trapping-math -ffp-contract=fast"
)
ABI = "-DTORCH_TARGET_VERSION=0x020a000000000000"
TIMEOUT = 120.0  # seconds, for a compiler or another process that compiles
LONGEST = 1 << 16  # bytes of a compiler's messages that are looked at


class BuildError(DiffeoError, RuntimeError):
    """The kernels cannot be compiled here; the text says why."""


def capability() -> str:
    """The instruction set to compile for: AVX512, AVX2 or DEFAULT."""
    name = torch.backends.cpu.get_cpu_capability()
    return name if name in X86 else "DEFAULT"


def binary() -> Path:
    """The compiled kernels for this processor: those that came with the package, or from the cache,
    compiled if need be.

    Raises `BuildError`.
    """
    name = f"{capability()}{'.dll' if os.name == 'nt' else '.so'}"
    if (SHIPPED / name).is_file():
        return SHIPPED / name
    try:
        path = cache.folder() / f"{_key()}-{name}"
        if not cache.whole(path):
            with cache.locked(path.with_suffix(".lock"), TIMEOUT):
                if not cache.whole(path):  # another process may have made it meanwhile
                    build(path, capability())
    except OSError as error:
        where = error.filename or "the cache"
        raise BuildError(
            f"{where} cannot be written ({error.strerror or error}): set DIFFEO_CACHE to a folder"
        ) from None
    return path


def sources(*patterns: str) -> list[Path]:
    """The files of that kind, in the folders of this room: NAME/cpu.cpp and what they share."""
    return sorted(path for pattern in patterns for path in ROOM.glob(f"*/{pattern}"))


def build(path: Path, instructions: str) -> None:
    """Compile the kernels for one instruction set to `path`, which appears whole or not at all.
    Raises `BuildError`.
    """
    compiler = _compiler()
    root = Path(torch.__file__).parent
    flags = [*FLAGS.split(), ABI, *X86.get(instructions, "").split(), f"-I{root / 'include'}"]
    end = time.monotonic() + TIMEOUT
    with tempfile.TemporaryDirectory(prefix=".build-", dir=path.parent) as folder:
        objects = {
            source: Path(folder) / f"{source.parent.name}-{source.stem}.o"
            for source in sources("*.cpp")
        }
        compile_all: list[list[str | Path]] = [
            [compiler, *flags, "-c", source, "-o", to] for source, to in objects.items()
        ]
        _run(compile_all, Path(folder), end)
        linked = Path(folder) / path.name
        undefined = ["-undefined", "dynamic_lookup"] if platform.system() == "Darwin" else []
        link: list[str | Path] = [
            compiler,
            "-shared",
            *undefined,
            *objects.values(),
            f"-L{root / 'lib'}",
            "-ltorch_cpu",
            "-o",
            linked,
        ]
        _run([link], Path(folder), end)
        if not linked.is_file():
            raise BuildError(f"{compiler} ended without an error, but made nothing")
        cache.publish(linked, path)


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return name
    raise BuildError("there is no C++ compiler: install g++ or clang++, or set CXX")


def _run(commands: Sequence[Sequence[str | Path]], folder: Path, end: float) -> None:
    """Run commands side by side until all are done, or one fails. None outlives the call."""
    with contextlib.ExitStack() as stack:
        running = []
        for i, command in enumerate(commands):
            messages = stack.enter_context((folder / f"messages-{i}").open("w+b"))
            running.append((stack.enter_context(_process(command, messages)), messages))
        for process, messages in running:
            _check(process, messages, end)


@contextlib.contextmanager
def _process(
    command: Sequence[str | Path], messages: BinaryIO
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a group of its own, for a compiler starts others, which end with it."""
    words = [str(part) for part in command]
    devnull, apart = subprocess.DEVNULL, hasattr(os, "killpg")
    try:
        process = subprocess.Popen(
            words, stdin=devnull, stdout=devnull, stderr=messages, start_new_session=apart
        )
    except OSError as error:
        raise BuildError(f"{words[0]} cannot be started ({error.strerror})") from None
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if apart else process.kill()
        process.wait()


def _check(process: subprocess.Popen[bytes], messages: BinaryIO, end: float) -> None:
    assert isinstance(process.args, list)
    compiler = process.args[0]
    try:
        code = process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise BuildError(f"{compiler} did not end within {TIMEOUT:.0f} seconds") from None
    if code:
        messages.seek(0)
        said = messages.read(LONGEST).decode(errors="replace").splitlines()  # in whatever encoding
        lines = [line for line in said if "error" in line] or said or ["no message"]
        raise BuildError(f"{compiler} failed: {lines[0].strip()}")


def _key() -> str:
    digest = hashlib.sha256(
        f"{torch.__version__} {platform.machine()} {FLAGS} {X86} {ABI}".encode()
    )
    for source in sources("*.cpp", "*.h"):
        digest.update(str(source.relative_to(ROOM)).encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    SHIPPED.mkdir(exist_ok=True)
    for instructions in ["DEFAULT", *(X86 if platform.machine() in ("x86_64", "AMD64") else ())]:
        build(SHIPPED / f"{instructions}.so", instructions)


if __name__ == "__main__":
    main()
