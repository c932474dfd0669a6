"""Types the commands of README and docs, as a stranger would, in an empty folder: shell blocks,
then Python blocks.

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
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/performance.md", "docs/images.md", "docs/inference.md")


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def file_name(block: str) -> str | None:
    named = re.match(r"# (\w+\.py)\n", block)
    return named[1] if named else None


def main() -> None:
    for name in sys.argv[1:] or PAGES:
        run(name)


def run(name: str) -> None:
    text = (ROOT / name).read_text()
    shell = "\n".join(blocks("sh", text))
    commands = [
        line
        for line in shell.splitlines()
        if line and not re.match(r"(#|make |pip |git |cd )", line)
    ]
    python = blocks("python", text)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with tempfile.TemporaryDirectory() as folder:
        for block in python:
            if file := file_name(block):
                (Path(folder) / file).write_text(block)
        for command in commands:
            print(f"$ {command}", flush=True)
            subprocess.run(command, shell=True, check=True, cwd=folder, env=environment)
        for block in python:
            if file_name(block):
                continue
            print(block, flush=True)
            subprocess.run([sys.executable, "-c", block], check=True, cwd=folder, env=environment)
    print(f"{name}: {len(commands)} commands and {len(python)} Python blocks ran")


if __name__ == "__main__":
    main()
