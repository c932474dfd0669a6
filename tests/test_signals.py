"""Signals: save, then end by them; what is sent twice is one request; handlers of the user's are
respected.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import diffeo
from diffeo.core.errors import CheckpointError
from diffeo.runs import signals as module
from diffeo.runs.signals import STOPS, stop_on_signals
from diffeo.training import Progress


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """No handler stays changed."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)
        time.sleep(0)  # Python calls handlers between two of its instructions


def small_fit(
    out: Path | None = None, tell: Callable[[Progress], None] | bool = False
) -> diffeo.training.FitResult:
    flow = diffeo.models.nsf((2,), layers=2, hidden=(8,))
    return diffeo.fit(flow, torch.randn(200, 2), steps=60, eval_every=5, out=out, progress=tell)


@pytest.mark.parametrize("number", STOPS)
def test_a_users_handler_gets_the_signal_once_all_is_saved(number: int, tmp_path: Path) -> None:
    got: list[tuple[int, bool]] = []
    signal.signal(
        number,
        lambda signum, frame: got.append((signum, (tmp_path / "model.safetensors").exists())),
    )
    result = small_fit(tmp_path, lambda p: send(number) if p.step == 10 else None)
    assert got == [(number, True)]
    assert (result.stopped, result.signum) == ("signal", number)
    assert result.steps < 60
    assert list((tmp_path / "checkpoints").iterdir())


def test_a_sigint_raises_keyboard_interrupt_after_saving(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        small_fit(tmp_path, lambda p: send(signal.SIGINT) if p.step == 10 else None)
    assert diffeo.load(tmp_path).metadata["training"]["stopped"] == "signal"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("first", STOPS)
@pytest.mark.parametrize("second", STOPS)
def test_two_signals_close_together_are_one_request(first: int, second: int) -> None:
    with stop_on_signals(send_again=False) as stop:
        send(first, second, second)
    assert stop.signum == first


def test_only_a_later_sigint_stops_without_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with stop_on_signals(send_again=False) as stop:
        send(signal.SIGTERM)
        clock[0] += 1.9
        send(signal.SIGINT)
        clock[0] += 60
        send(signal.SIGTERM, signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert stop.signum == signal.SIGTERM


def test_a_later_sigint_is_raised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAME", -1.0)
    with pytest.raises(KeyboardInterrupt) as caught, stop_on_signals():
        send(signal.SIGINT, signal.SIGINT)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("number", STOPS)
def test_ignored_signals_stay_ignored(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)
    with stop_on_signals() as stop:
        assert signal.getsignal(number) is signal.SIG_IGN
        send(number)
    assert stop.signum is None
    assert signal.getsignal(number) is signal.SIG_IGN


def test_handlers_are_as_before_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in STOPS]
    with pytest.raises(CheckpointError), stop_on_signals():
        raise CheckpointError("the disk is full")
    with stop_on_signals():
        pass
    assert [signal.getsignal(number) for number in STOPS] == before


def test_a_context_within_another_takes_part_in_its_request() -> None:
    with stop_on_signals(send_again=False) as outer:
        with stop_on_signals() as inner:
            send(signal.SIGTERM)
            assert inner is outer
        with stop_on_signals() as next_:
            assert next_.signum == signal.SIGTERM


def test_other_threads_leave_signals_alone() -> None:
    before, seen = [signal.getsignal(number) for number in STOPS], []

    def work() -> None:
        with stop_on_signals():
            seen.extend(signal.getsignal(number) for number in STOPS)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == before


def test_a_child_ends_by_the_signal() -> None:
    with stop_on_signals(send_again=False) as stop:
        child = os.fork()
        if child == 0:
            send(signal.SIGTERM)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert stop.signum is None


SCRIPT = """
import os, signal, sys, torch, diffeo
torch.set_num_threads(1)
calls = [0]
def stop(*_):
    calls[0] += 1
    if calls[0] == 3:
        for number in map(int, sys.argv[2].split(",")):
            os.kill(os.getpid(), number)
def density(x):
    stop() if len(x) == 64 else None
    return -0.5 * x.square().sum(1)
def fit():
    flow = diffeo.models.nsf((2,), layers=2, hidden=(8,))
    diffeo.fit(flow, torch.randn(200, 2), steps=100_000, eval_every=5, out="out", progress=stop)
def infer():
    small = dict(layers=2, hidden=(8,), batch_size=64, samples=100)
    diffeo.infer(density, 2, **small, steps=2000, out="out")
{"fit": fit, "infer": infer}[sys.argv[1]]()
print("went on", flush=True)
"""


@pytest.mark.parametrize("what", ["fit", "infer"])
@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGHUP, signal.SIGTERM)])
def test_a_script_ends_by_the_signal_after_saving(
    what: str, numbers: tuple[int, ...], tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    words = [sys.executable, "script.py", what, ",".join(str(int(n)) for n in numbers)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == -numbers[0], done.stderr
    assert done.stdout == ""
    assert list(tmp_path.rglob("state.safetensors"))


def test_why_a_run_could_not_save_is_said_before_it_ends() -> None:
    code = "import os, signal; from diffeo.runs import stop_on_signals\n"
    code += (
        "with stop_on_signals():\n os.kill(os.getpid(), signal.SIGTERM)\n raise OSError('the disk"
        " is full')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM
    assert "the disk is full" in done.stderr
