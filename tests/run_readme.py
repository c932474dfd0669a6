"""Types the commands of README and docs, as a stranger would, in an empty folder: shell blocks,
then Python blocks. Two pages go at once, each on a thread of its own.

Python blocks that begin with `# NAME.py` are saved under that name first, for the others to use.
Lines that make the environment (`make ...`, `pip ...`, `git ...`) are left out: whoever runs this
has done them. Names of pages as arguments run those alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/performance.md", "docs/images.md", "docs/inference.md")


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def file_name(block: str) -> str | None:
    named = re.match(r"# (\w+\.py)\n", block)
    return named[1] if named else None


def main() -> None:
    names = sys.argv[1:] or PAGES
    with ThreadPoolExecutor(max_workers=2) as pages:
        for output in pages.map(run, names):
            print(output, flush=True)


def run(name: str) -> str:
    """What the page's commands and blocks printed; raises `SystemExit` with it where one fails."""
    text = (ROOT / name).read_text()
    shell = "\n".join(blocks("sh", text))
    commands = [
        line
        for line in shell.splitlines()
        if line and not re.match(r"(#|make |pip |git |cd )", line)
    ]
    python = blocks("python", text)
    scripts = {file: block for block in python if (file := file_name(block))}
    runs: list[tuple[str, list[str]]] = [(f"$ {line}", ["bash", "-c", line]) for line in commands]
    runs += [(block, [sys.executable, "-c", block]) for block in python if not file_name(block)]
    output = []
    with tempfile.TemporaryDirectory() as folder:
        for file, block in scripts.items():
            (Path(folder) / file).write_text(block)
        for shown, command in runs:
            start = time.monotonic()
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            output.append(f"{shown}\n{done.stdout}[{time.monotonic() - start:.1f} s]")
            if done.returncode:
                raise SystemExit("\n".join([*output, f"{name}: exit code {done.returncode}"]))
    return "\n".join([*output, f"{name}: {len(runs)} commands and Python blocks ran"])


def environment() -> dict[str, str]:
    """This one's, with `diffeo` and `python` of this interpreter."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
