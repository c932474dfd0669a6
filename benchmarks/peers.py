"""Environments for other libraries, one each, so that importing one changes nothing in another
(zuko switches validation off in torch). `python benchmarks/peers.py [NAME ...]` makes them under
.venv-peers/."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = (ROOT / ".venv-peers").resolve()
PEERS = {
    "nflows": ["nflows==0.14", "numpy<2.3", "matplotlib", "tensorboard"],
    "zuko": ["zuko==1.6.0", "numpy", "pillow"],
    "normflows": ["normflows==1.7.3", "numpy"],
    "freia": ["FrEIA==0.2", "numpy", "scipy"],
    "flowjax": ["flowjax==19.1.2", "jax==0.10.2", "jaxlib==0.10.2", "optax==0.2.8"],
}
NO_TORCH = ("flowjax",)


def python(peer: str) -> Path:
    """The interpreter of a peer's environment, made on first use."""
    place = FOLDER / peer
    interpreter = place / "bin" / "python"
    if not (place / "ready").exists():
        print(f"making {place}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(interpreter), "-m", "pip", "install", "-q"]
        extra: list[str] = []
        if peer not in NO_TORCH:
            subprocess.run([*pip, "torch==2.13.0"], check=True)
            extra = ["-c", str(ROOT / "benchmarks" / "peers-torch.txt"), "scikit-learn"]
        subprocess.run([*pip, *extra, *PEERS[peer]], check=True)
        (place / "ready").touch()
    return interpreter


if __name__ == "__main__":
    for name in sys.argv[1:] or PEERS:
        print(name, python(name))
