"""Types the commands of README and docs, as a stranger would, in an empty folder: shell blocks, then Python blocks.

Lines that make the environment (`make ...`, `pip ...`, `git ...`) are left out: whoever runs this has done them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def main() -> None:
    for name in ("README.md", "docs/images.md"):
        run(name)


def run(name: str) -> None:
    text = (ROOT / name).read_text()
    shell = "\n".join(blocks("sh", text))
    commands = [line for line in shell.splitlines() if line and not re.match(r"(#|make |pip |git |cd )", line)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        for command in commands:
            print(f"$ {command}", flush=True)
            subprocess.run(command, shell=True, check=True, cwd=folder, env=environment)
        for block in blocks("python", text):
            print(block, flush=True)
            subprocess.run([sys.executable, "-c", block], check=True, cwd=folder, env=environment)
    print(f"{name}: {len(commands)} commands and {len(blocks('python', text))} Python blocks ran")


if __name__ == "__main__":
    main()
