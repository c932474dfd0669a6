"""`kill -9` at random moments, half of them inside the save window, then resume: are weights and
metrics bit-identical?

python benchmarks/kill.py [--kills 20]
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = """
import os, signal, sys, torch, diffeo
torch.set_num_threads(1)
count, real = [0], os.fsync
def fsync(descriptor):
    count[0] += 1
    if count[0] == int(sys.argv[2]):        # every fsync lies inside a save
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = fsync
x = torch.randn(2000, 5, generator=torch.Generator().manual_seed(0))
x[:, 1:] += x[:, :1] ** 2
flow = diffeo.models.nsf((5,), layers=4, hidden=(32, 32), dropout=0.1, mixing="lu")
print("go", flush=True)
diffeo.fit(flow, x, steps=400, out=sys.argv[1], eval_every=20, checkpoint_seconds=0.0, resume=True)
print("done", flush=True)
"""


def start(out: Path, fsync: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(out), str(fsync)], stdout=subprocess.PIPE, text=True
    )


def content(out: Path) -> tuple[bytes, bytes]:
    return (out / "model.safetensors").read_bytes(), (out / "metrics.jsonl").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    begun = time.monotonic()
    assert start(work / "whole", 0).wait() == 0
    length = time.monotonic() - begun
    expected, same = content(work / "whole"), 0
    rng = random.Random(0)
    for i in range(args.kills):
        out = work / f"run{i}"
        inside = i % 2 == 0
        child = start(out, rng.randrange(1, 100) if inside else 0)
        if not inside:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.uniform(0, 0.7 * length))
            child.send_signal(signal.SIGKILL)
        killed = child.wait() == -signal.SIGKILL
        assert start(out, 0).wait() == 0
        equal = content(out) == expected
        same += equal and killed
        print(
            f"{i:2} {'inside a save' if inside else 'anywhere':13} killed={killed}"
            f" identical={equal}",
            flush=True,
        )
        shutil.rmtree(out)
    print(f"{same} of {args.kills} killed and resumed to bit-identical weights and metrics")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
