"""How many threads work, and that they do it well: quotas, masks, forks, several callers at
once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
import torch

import diffeo
from diffeo.kernels import kernels, openmp, processors

native = pytest.mark.skipif(not kernels().native, reason=f"no compiled kernels: {kernels().reason}")
MASK = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Call it with the lines of /proc/self/cgroup and what the files of /sys/fs/cgroup say, on a
    machine of 64 processors.
    """

    def make(lines: str, files: dict[str, str]) -> int:
        (tmp_path / "membership").write_text(lines)
        for name, text in files.items():
            (tmp_path / "mount" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "mount" / name).write_text(text)
        return processors.processors()

    monkeypatch.setattr(processors, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(processors, "CGROUPS", tmp_path / "mount")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64), raising=False)
    return make


@pytest.mark.parametrize(
    ("lines", "files", "count"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "what is this\n"}, 64),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "50000 25000"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000"}, 4),
        (
            "3:cpuset:/\n2:cpu:/job\n0::/\n",
            {"cpu/job/cpu.cfs_quota_us": "300000", "cpu/job/cpu.cfs_period_us": "100000"},
            3,
        ),
        (
            "2:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "50000"},
            2,
        ),
        ("2:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("0::/x\n", {"unified/x/cpu.max": "500000 100000"}, 5),
    ],
)
def test_quotas_count(lines, files, count, cgroups):
    assert cgroups(lines, files) == count


def test_the_mask_counts(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert processors.processors() == 1


def run(script: str, **environment: str) -> str:
    command = [sys.executable, "-c", f"import os, threading, torch, diffeo\n{script}"]
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    done = subprocess.run(
        command, env={**env, **environment}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


FLOW = "flow = diffeo.models.nsf((4,), layers=2, hidden=(16,))\nx = torch.zeros(300, 4)\n"


@native
def test_any_number_of_threads():
    """Also after another number of them."""
    script = """
for count in (1, 3, 2, 200, 1):
    torch.set_num_threads(count)
    flow.log_prob(x).sum().backward()
    print(count)
"""
    assert run(f"{FLOW}{script}").split() == ["1", "3", "2", "200", "1"]


@native
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
def test_kernels_take_no_more_threads_than_there_are_processors():
    script = """
from diffeo.maps import RQSpline
map, x = RQSpline(bins=8), torch.zeros(100_000, 1)
params = torch.zeros(100_000, 1, map.num_params)
map.forward(x[:1], params[:1])
torch.set_num_threads(300)  # PyTorch itself starts some for each
before = len(os.listdir('/proc/self/task'))
map.forward(x, params)
print(len(os.listdir('/proc/self/task')) - before <= os.cpu_count())
"""
    assert run(script) == "True"


@native
def test_a_forked_process_has_threads_of_its_own():
    script = """
torch.set_num_threads(2)
before = flow.log_prob(x).detach()
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(flow.log_prob(x), before) else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run(f"{FLOW}{script}") == "0"


@native
def test_several_callers_at_once():
    torch.manual_seed(0)
    flow, x = diffeo.models.nsf((4,), layers=2, hidden=(16,)), torch.randn(2000, 4)
    before = torch.get_num_threads()
    with torch.no_grad():
        torch.set_num_threads(1)
        truth, results = flow.log_prob(x), []
        torch.set_num_threads(2)

        def work() -> None:
            with torch.no_grad():
                results.extend(flow.log_prob(x) for _ in range(20))

        callers = [threading.Thread(target=work) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    torch.set_num_threads(before)
    assert len(results) == 80
    assert all(torch.equal(result, truth) for result in results)


def test_importing_changes_nothing_of_torch():
    script = "print(torch.get_num_threads() == count, threading.active_count())"
    assert (
        run(
            f"count = torch.get_num_threads()\nimport diffeo.kernels\n{script}", OMP_NUM_THREADS="3"
        )
        == "True 1"
    )


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="PyTorch comes with GNU's OpenMP on Linux alone"
)
@pytest.mark.parametrize(
    ("setting", "helps"),
    [({}, True), ({"OMP_WAIT_POLICY": "active"}, False), ({"GOMP_SPINCOUNT": "9"}, False)],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(setting, helps):
    script = (
        f"{FLOW}flow.log_prob(x); print('diffeo-openmp' in [t.name for t in threading.enumerate()])"
    )
    assert run(script, DIFFEO_KERNELS="eager", **setting) == str(helps)


@pytest.mark.parametrize("missing", ["GOMP_parallel", "free", "omp_get_num_procs"])
def test_other_openmp_libraries_are_left_alone(missing, monkeypatch):
    class Library:
        def __getattr__(self, name: str) -> object:
            if name == missing:
                raise AttributeError(name)
            return lambda *_: 2

    monkeypatch.setattr(openmp.ctypes, "CDLL", lambda _: Library())
    monkeypatch.setattr(openmp.threading, "Thread", lambda **_: pytest.fail("started"))
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    openmp.wait_asleep()
