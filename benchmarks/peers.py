"""Environments for other libraries, one each, so that importing one changes nothing in another (zuko switches
validation off in torch). `python benchmarks/peers.py` makes them all under .venv-peers/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-peers"
PEERS = {
    "nflows": ["nflows==0.14", "numpy<2.3", "matplotlib", "tensorboard"],
    "zuko": ["zuko==1.6.0", "numpy", "pillow"],
    "normflows": ["normflows==1.7.3", "numpy"],
    "freia": ["FrEIA==0.2", "numpy", "scipy"],
}


def python(peer: str) -> Path:
    """The interpreter of a peer's environment, made on first use."""
    place = FOLDER / peer
    interpreter = place / "bin" / "python"
    if not (place / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(interpreter), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "torch==2.13.0"], check=True)
        subprocess.run([*pip, "-c", str(ROOT / "benchmarks" / "peers-torch.txt"), "scikit-learn", *PEERS[peer]], check=True)
        (place / "ready").touch()
    return interpreter


if __name__ == "__main__":
    for name in PEERS:
        print(name, python(name))
