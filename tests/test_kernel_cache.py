"""The cache of compiled kernels: damaged files, folders of others, compilers that fail or hang. A
script plays the compiler.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from diffeo.kernels import build, cache, native

COMPILER = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
echo run >> "{log}"
{action}
"""
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Call it with what the compiler does; `$2` is the file to make. It returns the file that notes
    each run.
    """
    log = tmp_path / "log"

    def install(action: str = 'echo made > "$2"') -> Path:
        script = tmp_path / "fake-c++"
        script.write_text(COMPILER.format(log=log, action=action))
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))
        return log

    monkeypatch.setenv("DIFFEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "SHIPPED", tmp_path / "nothing shipped")
    cache._private.cache_clear()
    install()
    return install


def runs(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(5000))


def one_bit(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def no_digest(path: Path) -> None:
    path.with_name(f"{path.name}.sha256").unlink()


def bad_digest(path: Path) -> None:
    path.with_name(f"{path.name}.sha256").write_bytes(b"\xff\xfe")


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def open_to_others(path: Path) -> None:
    path.chmod(0o666)


def gone(path: Path) -> None:
    path.unlink()


DAMAGE = [empty, cut, garbage, one_bit, no_digest, bad_digest, link, pipe, open_to_others, gone]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_made_again(damage, compiler):
    path = build.binary()
    damage(path)
    assert build.binary() == path
    assert path.read_text() == "made\n"
    assert path.is_file()
    assert not path.is_symlink()
    assert cache.whole(path)


def test_a_whole_file_is_not_made_again(compiler):
    log = compiler()
    build.binary()
    before = runs(log)
    build.binary()
    assert runs(log) == before > 0


def test_what_is_written_is_this_users_alone(compiler):
    umask = os.umask(0)
    try:
        path = build.binary()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    assert sorted(f.name for f in path.parent.iterdir()) == sorted(
        [path.name, f"{path.name}.sha256", path.stem + ".lock"]
    )


@pytest.mark.parametrize(
    "message", [b"\xff\xfe error: \xe9", b"", b"\x00", "error: größer".encode("latin-1")]
)
def test_any_message_of_a_failing_compiler(message, compiler, tmp_path):
    (tmp_path / "message").write_bytes(message)
    compiler(f'cat "{tmp_path}/message" >&2; exit 1')
    with pytest.raises(build.BuildError, match="failed"):
        build.binary()


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("kill -SEGV $$", "failed"),
        ("exit 0", "made nothing"),
        ("yes error | head -c 3000000 >&2; exit 1", "failed: error"),
        ("echo 'No space left on device: error' >&2; exit 1", "No space left"),
    ],
)
def test_other_failures_of_a_compiler(action, says, compiler):
    compiler(action)
    with pytest.raises(build.BuildError, match=says):
        build.binary()


def test_a_compiler_that_cannot_be_started(compiler, tmp_path):
    compiler()
    (tmp_path / "fake-c++").write_bytes(b"\x7fELF nonsense")
    with pytest.raises(build.BuildError, match="cannot be started"):
        build.binary()


@pytest.mark.parametrize(
    "action",
    ["sleep 2; {touch}", "(sleep 2; {touch}) & wait", "trap '' TERM INT; sleep 2; {touch}"],
)
def test_a_compiler_that_hangs_is_ended_with_all_that_it_started(
    action, compiler, monkeypatch, tmp_path
):
    monkeypatch.setattr(build, "TIMEOUT", 0.3)
    compiler(action.format(touch=f'touch "{tmp_path}/survived"'))
    with pytest.raises(build.BuildError, match="did not end within"):
        build.binary()
    time.sleep(2.1)
    assert not (tmp_path / "survived").exists()


def test_the_reference_serves_and_one_warning_says_why(compiler, monkeypatch):
    compiler("echo 'error: not today' >&2; exit 1")
    monkeypatch.setattr(native, "_in_use", None)
    monkeypatch.setenv("DIFFEO_KERNELS", "auto")
    with pytest.warns(RuntimeWarning, match="not today"):
        found = native.kernels()
    assert not found.native
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.kernels() is found


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777, 0o702])
def test_a_folder_that_others_may_write_is_not_used(mode, compiler):
    path = build.binary()
    path.parent.chmod(mode)
    with pytest.warns(RuntimeWarning, match="can be written by others"):
        other = build.binary()
    assert other.parent != path.parent
    assert stat.S_IMODE(other.parent.stat().st_mode) == 0o700
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert build.binary() == other  # nothing is said or compiled twice


@pytest.mark.parametrize("above", ["cache", "a/cache", "a/b/cache"])
def test_a_folder_within_one_that_all_may_write_is_not_used(above, compiler, tmp_path, monkeypatch):
    folder = tmp_path / "open" / above
    folder.mkdir(mode=0o700, parents=True)
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv("DIFFEO_CACHE", str(folder))
    with pytest.warns(RuntimeWarning, match="open can be written by others"):
        assert folder not in build.binary().parents
    (tmp_path / "open").chmod(0o1777)  # as /tmp is
    assert build.binary().parent == folder


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.parametrize("which", ["folder", "above", "target of a link", "file", "digest"])
def test_what_belongs_to_another_user_is_not_used(which, compiler, tmp_path, monkeypatch):
    folder = tmp_path / "home" / "cache"
    monkeypatch.setenv("DIFFEO_CACHE", str(folder))
    path = build.binary()
    path.write_text("evil\n")
    cache._digest(path).write_text(cache.hashlib.sha256(b"evil\n").hexdigest())
    place = {
        "folder": folder,
        "above": folder.parent,
        "file": path,
        "digest": cache._digest(path),
    }.get(which, folder)
    os.chown(place, 12345, 12345)
    if which == "target of a link":
        (tmp_path / "link").symlink_to(folder)
        monkeypatch.setenv("DIFFEO_CACHE", str(tmp_path / "link"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        used = build.binary()
    assert used.read_text() == "made\n"
    assert (used.parent == folder) == (which in ("file", "digest"))
    assert any("belongs to another user" in str(w.message) for w in said) == (used.parent != folder)


def test_a_link_in_place_of_the_lock_is_not_followed(compiler, tmp_path):
    path = build.binary()
    lock = path.with_suffix(".lock")
    lock.unlink()
    lock.symlink_to(tmp_path / "victim")
    gone(path)
    assert build.binary().read_text() == "made\n"
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nothing"])
def test_a_cache_that_cannot_be(place, compiler, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DIFFEO_CACHE", str(tmp_path / place))
    with pytest.raises(build.BuildError, match="set DIFFEO_CACHE to a folder"):
        build.binary()


def test_without_a_home(compiler, monkeypatch):
    def none() -> Path:
        raise RuntimeError

    for name in ("DIFFEO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(build.BuildError, match="no home folder"):
        build.binary()


def test_a_full_disk(compiler, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "publish", full)
    with pytest.raises(build.BuildError, match="No space left"):
        build.binary()
    assert not list(Path(os.environ["DIFFEO_CACHE"]).glob("*.so*"))


def test_several_at_once_compile_once(compiler):
    log = compiler('sleep 0.2; echo made > "$2"')
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(build.binary())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert runs(log) == len(build.sources("*.cpp")) + 1


def test_a_lock_that_is_never_given_back(compiler, monkeypatch):
    path = build.binary()
    gone(path)
    monkeypatch.setattr(build, "TIMEOUT", 5.0)
    command = (
        "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX);"
        " print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", command, str(path.with_suffix(".lock"))], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        with cache.locked(path.with_suffix(".lock"), 0.2):
            pass
        holder.kill()
    assert build.binary().read_text() == "made\n"
